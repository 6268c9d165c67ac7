"""Token shards: clips that were tokenized once, as memory-mapped codes beside their captions.

A shard is a folder: `codes.npy` (uint16 or int32, clips x time x rows x columns), `captions.jsonl` (for each clip a
list of captions) and, if somebody knows them, `layouts.npy` (int16, clips x time x things x digits; layout.py).
Training reads them without ever touching a pixel. One without codes teaches to write layouts, for about a twelfth
of the price.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, Integer
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from kinetoken.layout import EIGHTHS, MARGIN, SIZE, X, digits
from kinetoken.processes.masking import CanvasBatch
from kinetoken.transformer import TransformerConfig
from kinetoken.vocabulary import TextCodec, Vocabulary

LAYOUT_PRICE = 160  # of words and layout alone, in codes: such batches take two thirds of the others' time


@dataclass(frozen=True)
class TokenShard:
    """layers: only so many layers of cells of each clip; all of them if None. The video tokenizer is causal, so these
    are the codes of the clip's beginning, and one layer is those of an image. side: only a square window of so many
    rows and columns of each clip, where something is; all of the picture if None. silent: without captions, which are
    most of the price of small windows, and say nothing of how to paint what a layout tells. loop: time is a circle."""

    folder: Path
    layers: int | None = None
    side: int | None = None
    silent: bool = False
    loop: bool = False

    @property
    def price(self) -> int:
        """What a clip costs in training, in codes."""
        return self.codes[0].size or LAYOUT_PRICE

    @property
    def excerpt(self) -> bool:
        """Whether this is only a part of each clip."""
        return self.layers is not None or self.side is not None

    @cached_property
    def codes(self) -> Integer[np.ndarray, "clips time rows columns"]:
        if self.side is None:
            return self._whole
        windows = np.empty((*self._whole.shape[:2], self.side, self.side), self._whole.dtype)
        for window, clip, (row, column) in zip(windows, self._whole, self._corners, strict=True):
            window[:] = clip[:, row : row + self.side, column : column + self.side]
        return windows

    @cached_property
    def layouts(self) -> Integer[np.ndarray, "clips time things digits"] | None:
        """None if nobody has told them."""
        if not (self.folder / "layouts.npy").exists():
            return None
        layouts = np.load(self.folder / "layouts.npy", mmap_mode="r")[:, : self.layers]
        return layouts if self.side is None else seen_from(layouts, self._corners, self.side)

    @cached_property
    def _whole(self) -> Integer[np.ndarray, "clips time rows columns"]:
        if not (self.folder / "codes.npy").exists():
            clips, layers = np.load(self.folder / "layouts.npy", mmap_mode="r").shape[:2]
            return np.zeros((clips, layers, 0, 0), np.uint16)[:, : self.layers]
        return np.load(self.folder / "codes.npy", mmap_mode="r")[:, : self.layers]

    @cached_property
    def _corners(self) -> Int[np.ndarray, "clips 2"]:
        assert self.side is not None
        return corners_of_interest(self._whole, self.side)

    @cached_property
    def captions(self) -> list[list[str]]:
        with (self.folder / "captions.jsonl").open() as lines:
            return [json.loads(line) for line in lines]

    def __len__(self) -> int:
        return len(self.codes)


def corners_of_interest(codes: Integer[np.ndarray, "clips time rows columns"], side: int) -> Int[np.ndarray, "clips 2"]:
    """(row, column) where, in each clip, a square window with much information begins: the sum of -log frequency over
    its codes, small where plain background is. One of the windows that have at least 80% of what the best has above the
    worst; at even rows and columns, so that squares of codes stay whole.

    Objects cover a tenth of a picture and most of such a window, so a network sees ten of them for the price of two.
    Raises: ValueError if the clips are smaller than the window.
    """
    if side > min(codes.shape[2:]):
        raise ValueError(f"windows of {side}x{side} cells do not fit into {codes.shape[2]}x{codes.shape[3]}")
    counts = np.bincount(codes.ravel())
    surprise = -np.log(counts.clip(1) / counts.sum())
    rng = np.random.default_rng(0)
    corners = np.empty((len(codes), 2), np.int64)
    for number, clip in enumerate(codes):
        places = sliding_window_view(surprise[clip].sum(0), (side, side))[::2, ::2].sum((2, 3))
        good = np.argwhere(places >= places.min() + 0.8 * (places.max() - places.min()))
        corners[number] = 2 * good[rng.integers(len(good))]
    return corners


def seen_from(
    layouts: Integer[np.ndarray, "clips time things digits"], corners: Int[np.ndarray, "clips 2"], side: int
) -> Integer[np.ndarray, "clips time things digits"]:
    """The layouts of square windows: places count from their corners, and what lies farther than twice its radius from
    a window is not there."""
    seen = np.array(layouts)
    places, radii = seen[..., X:SIZE], seen[..., SIZE]
    places -= EIGHTHS * corners[:, None, None, ::-1].astype(seen.dtype)
    away = np.maximum(MARGIN - places, places - MARGIN - EIGHTHS * side).max(-1)
    out = (away > np.minimum(2 * radii, MARGIN)) & (seen[..., 0] > 0)
    seen[out] = 0
    seen[seen[..., 0] == 0] = 0
    return seen


def write_shard(
    folder: Path,
    clips: Iterable[tuple[Int[np.ndarray, "time rows columns"], Sequence[str]]],
    *,
    count: int,
    visual_codes: int,
    layouts: Integer[np.ndarray, "clips time things digits"] | None = None,
) -> Iterator[int]:
    """Write `count` clips' codes and captions, and layouts if they are known, yielding how many are done. The shard
    appears when it is complete: until then it has another name."""
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    if layouts is not None:
        np.save(partial / "layouts.npy", layouts.astype(np.int16))
    codes = None
    with (partial / "captions.jsonl").open("w") as captions:
        for done, (grid, texts) in enumerate(clips, start=1):
            if codes is None:
                codes = np.lib.format.open_memmap(
                    partial / "codes.npy",
                    mode="w+",
                    dtype=np.uint16 if visual_codes <= 2**16 else np.int32,
                    shape=(count, *grid.shape),
                )
            codes[done - 1] = grid
            captions.write(json.dumps(list(texts)) + "\n")
            yield done
    assert codes is not None and done == count, "a shard has the length that it was planned for"
    codes.flush()
    partial.rename(folder)


def write_layouts(
    folder: Path, layouts: Integer[np.ndarray, "clips time things digits"], texts: Iterable[Sequence[str]]
) -> None:
    """A shard without codes."""
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    np.save(partial / "layouts.npy", layouts.astype(np.int16))
    (partial / "captions.jsonl").write_text("".join(json.dumps(list(some)) + "\n" for some in texts))
    partial.rename(folder)


class ShardBatches:
    """Batches over shards of several shapes. A pure function of the step: shards take turns in a fixed pattern, each
    goes through its clips in an order of its own for every epoch, and every clip brings one of its captions.

    Within a window of `window` batches of a shard, clips are sorted by the length of their captions, so that rows of
    text are hardly padded. Of whole clips a share of the batches is there for captioning: their rows have the full
    length, which says nothing of the text's, and the clip's first caption: toybox's says all that is to be seen.
    """

    def __init__(
        self,
        shards: Sequence[TokenShard],
        *,
        turns: Sequence[int],
        codec: TextCodec,
        network: TransformerConfig,
        batch_clips: int,
        captioning: float = 0.15,
        seed: int = 0,
        window: int = 16,
    ) -> None:
        """turns: the index of the shard that each step of a round reads. batch_clips: of the first shard; of the others
        as many clips as make no more codes, or all that they have. network: whose canvases these are."""
        if len(shards[0]) < batch_clips:
            found = f"found {len(shards[0])} in {shards[0].folder}"
            raise ValueError(f"a batch has {batch_clips} clips, {found}: tokenize more, or take smaller batches")
        for shard in shards if network.slots else ():
            if shard.layouts is None or shard.layouts.shape[2:] != (network.slots, len(digits(network.looks))):
                raise ValueError(f"{shard.folder} does not say what is where, as this network learns: tokenize anew")
        prices = [shard.price for shard in shards]
        fitting = [max(1, batch_clips * prices[0] // price) for price in prices]
        self.batch_clips = [min(most, len(shard)) for most, shard in zip(fitting, shards, strict=True)]
        self.shards, self.turns, self.codec, self.network = list(shards), list(turns), codec, network
        self.words, self.captioning = network.words, captioning
        self.seed, self.window = seed, window
        self._rows: dict[str, list[int]] = {}
        self._windows: dict[int, tuple[int, list[list[tuple[int, str]]]]] = {}

    def batch(self, step: int, rank: int = 0, world: int = 1) -> CanvasBatch:
        which = self.turns[step % len(self.turns)]
        visit = step // len(self.turns) * self.turns.count(which) + self.turns[: step % len(self.turns)].count(which)
        members = self._window(which, visit // self.window)[visit % self.window]
        rng = np.random.default_rng((self.seed, step))
        captioning = rng.random() < self.captioning and not self.shards[which].excerpt
        told = [self._fitting(which, clip)[0] if captioning else caption for clip, caption in members]
        rows = [self._ids(caption) for caption in told]
        length = self.words if captioning else min(self.words, -(-max(map(len, rows)) // 4) * 4)
        text = [(row + [Vocabulary.PAD] * length)[:length] for row in rows]
        grids = np.stack([self.shards[which].codes[clip] for clip, _ in members]).astype(np.int64)
        seeds = rng.integers(0, 2**62, len(members))
        layout = self._layouts(which, [clip for clip, _ in members])
        mine = slice(rank, None, world)
        return CanvasBatch(
            text=torch.tensor(text, dtype=torch.int64)[mine],
            grid=torch.from_numpy(grids + self.network.vocabulary.text_end)[mine],
            layout=layout[mine],
            seeds=torch.from_numpy(seeds)[mine],
            captioning=torch.full((len(members),), captioning)[mine],
            loop=torch.full((len(members),), self.shards[which].loop)[mine],
        )

    def _layouts(self, which: int, clips: Sequence[int]) -> Int[Tensor, "clips time things digits"]:
        shard = self.shards[which]
        if shard.layouts is None or not self.network.slots:
            return self.network.untold(len(clips), shard.codes.shape[1])
        return torch.from_numpy(shard.layouts[clips].astype(np.int64))

    def _window(self, which: int, number: int) -> list[list[tuple[int, str]]]:
        """The (clip, caption) pairs of `window` successive batches of a shard."""
        if self._windows.get(which, (-1, []))[0] != number:
            rng = np.random.default_rng((self.seed, which, number))
            members = [(int(clip), self._caption(which, int(clip), rng)) for clip in self._clips(which, number)]
            members.sort(key=lambda member: len(self._ids(member[1])))
            count = self.batch_clips[which]
            batches = [members[i : i + count] for i in range(0, len(members), count)]
            self._windows[which] = number, [batches[i] for i in rng.permutation(self.window)]
        return self._windows[which][1]

    def _clips(self, which: int, number: int) -> list[int]:
        """Clips of a window: a stretch of the endless row of epochs, each a permutation of the shard."""
        size, count = len(self.shards[which]), self.window * self.batch_clips[which]
        places = range(number * count, (number + 1) * count)
        epochs = {epoch: self._permutation(which, epoch) for epoch in {place // size for place in places}}
        return [int(epochs[place // size][place % size]) for place in places]

    def _permutation(self, which: int, epoch: int) -> Int[np.ndarray, " clips"]:
        return np.random.default_rng((self.seed, which, epoch, 1)).permutation(len(self.shards[which]))

    def _caption(self, which: int, clip: int, rng: np.random.Generator) -> str:
        """One of the clip's captions that fit the row."""
        if self.shards[which].silent:
            return ""
        fitting = self._fitting(which, clip)
        return fitting[int(rng.integers(len(fitting)))]

    def _fitting(self, which: int, clip: int) -> list[str]:
        captions = self.shards[which].captions[clip]
        return [text for text in captions if len(self._ids(text)) <= self.words] or [min(captions, key=len)]

    def _ids(self, caption: str) -> list[int]:
        if caption not in self._rows:
            self._rows[caption] = self.codec.encode(caption) if caption else []
        return self._rows[caption]
