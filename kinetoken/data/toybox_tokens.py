"""Toybox as token shards: rendered and tokenized once, then trained on as often as one likes."""

from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import DataLoader, Dataset

from kinetoken.data.token_shards import write_layouts, write_shard
from kinetoken.data.toybox import captions, sample_scene
from kinetoken.data.toybox_captions import Style
from kinetoken.data.toybox_clips import ClipShape
from kinetoken.data.toybox_scene import Motion, Scene
from kinetoken.grid import CellSize
from kinetoken.tokenizer.video_tokenizer import VideoTokenizer
from kinetoken.vocabulary import TextCodec

CLIPS_AT_ONCE = 8
READ_AS_OFTEN: tuple[Style, ...] = ("full", "full", "reworded", "shuffled", "terse")
"""Styles of the captions that a clip is stored with; training picks one at random, and for captioning the first."""
HARD = (Motion.ORBITS, Motion.BOUNCES, Motion.FALLS, Motion.BLINKS)
"""Motions whose layouts take long to learn."""
EASY = 3
"""Of scenes that are learned soon one in so many is planned."""


def toybox_codec(ids: int, scenes: int = 4000) -> TextCodec:
    """A text codec learned from toybox's captions."""
    return TextCodec.train(
        (caption.text for seed in range(scenes) for caption in captions(sample_scene(seed), seed)), ids
    )


def tokenize_toybox(
    tokenizer: VideoTokenizer,
    folder: Path,
    *,
    shape: ClipShape,
    clips: int,
    first_seed: int,
    actors: int | None = None,
    workers: int = 2,
) -> Iterator[int]:
    """Write a shard of training scenes, yielding how many of `clips` are done. actors: of each scene; as they come if
    None."""
    rendered = DataLoader(
        _Rendered(shape, clips, first_seed, actors),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
    )
    scenes = (sample_scene(seed, actors=actors) for seed in range(first_seed, first_seed + clips))
    return write_shard(
        folder,
        islice(_tokenized(tokenizer, rendered, shape.loop), clips),
        count=clips,
        visual_codes=tokenizer.config.quantizer.codes,
        layouts=np.stack([shape.layout(scene, tokenizer.config.cell) for scene in scenes]),
    )


def plan_toybox(folder: Path, cell: CellSize, *, shape: ClipShape, scenes: int, first_seed: int) -> None:
    """Write a shard of nothing but the captions and layouts of training scenes: of those in which no motion is HARD
    and nobody has to do with anybody one in EASY. Nothing is rendered."""
    layouts, texts = [], []
    told = ((seed, sample_scene(seed)) for seed in count(first_seed))
    hard = (each for each in told if _is_hard(each[1]) or not each[0] % EASY)
    for seed, scene in islice(hard, scenes):
        layouts.append(shape.layout(scene, cell))
        texts.append(_texts(scene, seed))
    write_layouts(folder, np.stack(layouts), texts)


def _is_hard(scene: Scene) -> bool:
    return bool(scene.relation) or any(actor.motion in HARD for actor in scene.actors)


def _texts(scene: Scene, seed: int) -> list[str]:
    told = {caption.style: caption.text for caption in captions(scene, seed)}
    return [told[style] for style in READ_AS_OFTEN]


class _Rendered(Dataset[Any]):
    """Batches of (frames, captions of each clip)."""

    def __init__(self, shape: ClipShape, clips: int, first_seed: int, actors: int | None) -> None:
        self.shape, self.clips, self.first_seed = shape, clips, first_seed
        self.scene = partial(sample_scene, actors=actors)

    def __len__(self) -> int:
        return -(-self.clips // CLIPS_AT_ONCE)

    def __getitem__(self, batch: int) -> tuple[torch.Tensor, list[list[str]]]:
        if batch >= len(self):
            raise IndexError(batch)
        first = self.first_seed + batch * CLIPS_AT_ONCE
        scenes = [self.scene(seed) for seed in range(first, first + CLIPS_AT_ONCE)]
        frames = [self.shape.of(scene) for scene in scenes]
        return torch.from_numpy(np.stack(frames)), [_texts(scene, seed) for seed, scene in enumerate(scenes, first)]


def _tokenized(
    tokenizer: VideoTokenizer, batches: DataLoader[Any], loop: bool
) -> Iterator[tuple[Int[np.ndarray, "time rows columns"], list[str]]]:
    for frames, texts in batches:
        codes = tokenizer.encode(frames.to(tokenizer.device).float() / 127.5 - 1, loop=loop).cpu().numpy()
        yield from zip(codes, texts, strict=True)
