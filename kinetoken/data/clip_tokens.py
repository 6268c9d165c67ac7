"""Prepared clips as token shards: tokenized once, several stretches and windows of each, then trained on for long.

A folder of tokens holds `tokens.json` (shape, rate, and what it was made of), the `tokenizer` that made it, and token
shards named by their shape: those of clips and, if there are any, those of pictures.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from kinetoken.clip import Clip
from kinetoken.config import from_flat, to_flat
from kinetoken.data.tar_shards import TarShards, records
from kinetoken.data.token_shards import TokenShard, write_shard
from kinetoken.data.windows import crops, starts, stretch, window
from kinetoken.tokenizer.video_tokenizer import VideoTokenizer

TOKENS, TOKENIZER = "tokens.json", "tokenizer"
CLIPS_AT_ONCE = 8

Plan = Int[np.ndarray, "_ 3"]
"""Of each window: the clip, its first frame, and which of the clip's crops it is; 0 is all of the picture that fits."""


@dataclass(frozen=True, kw_only=True)
class TokensConfig:
    """frames, width, height: of what is tokenized. offsets: stretches of a clip, at most; crops: windows of each, the
    first of them the whole picture."""

    frames: int = 17
    width: int = 64
    height: int = 64
    offsets: int = 4
    crops: int = 2
    seed: int = 0
    clips_per_shard: int = 4096

    def __post_init__(self) -> None:
        if (least := min(self.frames, self.width, self.height, self.offsets, self.crops, self.clips_per_shard)) < 1:
            raise ValueError(f"frames, sizes, offsets and crops are at least 1, found {least}")


@dataclass(frozen=True, kw_only=True)
class TokensCard:
    """What a folder of tokens is. clips: how many there were to make it of; tokenizer: sha256 of its weights; shards:
    their names, those of clips first."""

    config: TokensConfig
    fps: float
    clips: int
    tokenizer: str
    shards: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Tokenizing:
    """How far it is. skipped: clips that no caption tells of, or that are shorter than what is tokenized."""

    done: int
    total: int
    skipped: int


def tokenize_clips(
    tokenizer: VideoTokenizer, shards: TarShards, folder: Path, config: TokensConfig, *, fps: float
) -> Iterator[Tokenizing]:
    """Write the token shards that are not there yet, yielding after every window. fps: of the clips.

    Raises ValueError when nothing is left to tokenize, or the folder has tokens of other clips, settings or tokenizer.
    """
    clips, pictures, skipped = _plans(shards, config)
    total = len(clips) + len(pictures)
    if not total:
        raise ValueError(f"none of the {len(shards)} clips in {shards.folder} has a caption and {config.frames} frames")
    plans = _named(clips, config.frames, config) | _named(pictures, 1, config)
    digest = weights_sha256(tokenizer)
    _settle(folder, TokensCard(config=config, fps=fps, clips=len(shards), tokenizer=digest, shards=tuple(plans)))
    done = 0
    for name, plan in plans.items():
        if not (folder / name).exists():
            pairs, codes = _tokenized(tokenizer, shards, plan, config), tokenizer.config.quantizer.codes
            for written in write_shard(folder / name, pairs, count=len(plan), visual_codes=codes):
                yield Tokenizing(done=done + written, total=total, skipped=skipped)
        done += len(plan)
        yield Tokenizing(done=done, total=total, skipped=skipped)


def tokens_card(folder: Path) -> TokensCard:
    """Raises ValueError when the folder holds no tokens."""
    try:
        return from_flat(TokensCard, json.loads((folder / TOKENS).read_text()))
    except OSError as error:
        raise ValueError(f"{folder} holds no tokens ({error.strerror}): run kinetoken data tokenize first") from None


def token_shards(folder: Path) -> list[TokenShard]:
    """Those of clips first, then those of pictures. Raises ValueError when not all that were planned are there."""
    shards = [TokenShard(folder / name) for name in tokens_card(folder).shards]
    if missing := [shard.folder.name for shard in shards if not shard.folder.exists()]:
        raise ValueError(f"{folder} lacks {len(missing)} of {len(shards)} shards: run kinetoken data tokenize again")
    return shards


def weights_sha256(tokenizer: VideoTokenizer) -> str:
    digest = sha256()
    for name, tensor in sorted(tokenizer.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _plans(shards: TarShards, config: TokensConfig) -> tuple[Plan, Plan, int]:
    """Windows of clips, windows of pictures, and how many clips give none."""
    told = np.array([bool(record.captions) for record in records(shards.folder) for _ in record.clips], bool)
    rows: dict[bool, list[tuple[int, int, int]]] = {False: [], True: []}
    used = 0
    for number in np.flatnonzero(told[: len(shards)]):
        *_, length, height, width = shards.places[number]
        frames = 1 if length == 1 else config.frames
        windows = [
            (int(number), int(start), crop)
            for start in starts(int(length), frames, config.offsets)
            for crop in range(crops(int(width), int(height), config.width, config.height, config.crops))
        ]
        used += bool(windows)
        rows[frames == 1] += windows
    clips, pictures = (np.array(rows[kind], np.int64).reshape(-1, 3) for kind in (False, True))
    return clips, pictures, len(shards) - used


def _named(plan: Plan, frames: int, config: TokensConfig) -> dict[str, Plan]:
    """The plan in shards of nearly equal length, by their names."""
    if not len(plan):
        return {}
    parts = np.array_split(plan, -(-len(plan) // config.clips_per_shard))
    kind = "pictures" if frames == 1 else "clips"
    shape = f"{frames}x{config.height}x{config.width}"
    return {f"{kind}-{shape}-{k:05}-of-{len(parts):05}": part for k, part in enumerate(parts)}


def _tokenized(
    tokenizer: VideoTokenizer, shards: TarShards, plan: Plan, config: TokensConfig
) -> Iterator[tuple[Int[np.ndarray, "time rows columns"], Sequence[str]]]:
    windows = _windows(shards, plan, config)
    while some := list(islice(windows, CLIPS_AT_ONCE)):
        frames = torch.from_numpy(np.stack([clip.frames for clip, _ in some]))
        codes = tokenizer.encode(frames.to(tokenizer.device).float() / 127.5 - 1).cpu().numpy()
        yield from zip(codes, (captions for _, captions in some), strict=True)


def _windows(shards: TarShards, plan: Plan, config: TokensConfig) -> Iterator[tuple[Clip, Sequence[str]]]:
    """A clip is read once for all of its windows."""
    for number, rows in groupby(plan.tolist(), key=lambda row: row[0]):
        stored = shards[number]
        for _, start, crop in rows:
            rng = np.random.default_rng((config.seed, number, start, crop)) if crop else None
            part = stretch(stored.clip, start, 1 if len(stored.clip) == 1 else config.frames)
            yield window(part, config.width, config.height, rng), stored.captions


def _settle(folder: Path, card: TokensCard) -> None:
    """Make the folder one of these tokens."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder for the tokens")
    if not (folder / TOKENS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TOKENS).write_text(json.dumps(to_flat(card), indent=2) + "\n")
    before, now = to_flat(tokens_card(folder)), to_flat(card)
    if changed := [f"{name} {before[name]}, not {now[name]}" for name in now if before[name] != now[name]]:
        raise ValueError(f"{folder} was made with {'; '.join(changed)}: name another folder, or delete this one")
