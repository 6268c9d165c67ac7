"""Prepared clips as token shards: tokenized once, several stretches and windows of each, then trained on for long.

A folder of tokens holds `tokens.json` (shape, rate, and what it was made of), the `tokenizer` that made it, and token
shards named by their shape: those of clips and, if there are any, those of loops and of pictures.
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
from kinetoken.grid import around
from kinetoken.loops import loops
from kinetoken.tokenizer.video_tokenizer import VideoTokenizer

TOKENS, TOKENIZER, LOOPS = "tokens.json", "tokenizer", "loops"
CLIPS_AT_ONCE = 8

Plan = Int[np.ndarray, "_ 3"]
"""Of each window: the clip, its first frame, and which of the clip's crops it is; 0 is all of the picture that fits."""
NEARLY = 1 / 8
"""By how much a clip may be shorter or longer than a circle on which it is laid."""


@dataclass(frozen=True, kw_only=True)
class TokensConfig:
    """frames, width, height: of what is tokenized. offsets: stretches of a clip, at most; crops: windows of each, the
    first of them the whole picture. loops: frames of the circles of time on which those clips are laid, too, that lead
    from their end to their beginning and are about as long; 0 if none shall be."""

    frames: int = 17
    width: int = 64
    height: int = 64
    offsets: int = 4
    crops: int = 2
    loops: int = 0
    seed: int = 0
    clips_per_shard: int = 4096

    def __post_init__(self) -> None:
        if (least := min(self.frames, self.width, self.height, self.offsets, self.crops, self.clips_per_shard)) < 1:
            raise ValueError(f"frames, sizes, offsets and crops are at least 1, found {least}")
        if self.loops < 0:
            raise ValueError(f"loops have at least 0 frames, found {self.loops}")


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
    if config.loops % (layer := tokenizer.config.cell.frames) or config.loops == layer:
        raise ValueError(f"loops are of whole layers of {layer} frames, of two at least: found {config.loops} frames")
    clips, pictures, skipped = _plans(shards, config)
    if not (some := len(clips) + len(pictures)):
        raise ValueError(f"none of the {len(shards)} clips in {shards.folder} has a caption and {config.frames} frames")
    circles = _circles(shards, clips, config)
    total = some + len(circles)
    plans = _named("clips", clips, config.frames, config) | _named(LOOPS, circles, config.loops, config)
    plans |= _named("pictures", pictures, 1, config)
    digest = weights_sha256(tokenizer)
    _settle(folder, TokensCard(config=config, fps=fps, clips=len(shards), tokenizer=digest, shards=tuple(plans)))
    done = 0
    for name, plan in plans.items():
        if not (folder / name).exists():
            loop = name.startswith(LOOPS)
            pairs, codes = _tokenized(tokenizer, shards, plan, config, loop), tokenizer.config.quantizer.codes
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
    """Those of clips first, then those of loops, then those of pictures. Raises ValueError when not all that were
    planned are there."""
    shards = [TokenShard(folder / name, loop=name.startswith(LOOPS)) for name in tokens_card(folder).shards]
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


def _circles(shards: TarShards, clips: Plan, config: TokensConfig) -> Plan:
    """Of the windows of clips those that begin a whole clip which is a loop, of about the length that is wanted."""
    begun = clips[clips[:, 1] == 0]
    fitting = np.abs(shards.lengths[begun[:, 0]] - config.loops) <= NEARLY * config.loops
    looping = [number for number in np.unique(begun[fitting, 0]) if loops(shards[int(number)].clip)]
    return begun[np.isin(begun[:, 0], looping)]


def _named(kind: str, plan: Plan, frames: int, config: TokensConfig) -> dict[str, Plan]:
    """The plan in shards of nearly equal length, by their names."""
    if not len(plan):
        return {}
    parts = np.array_split(plan, -(-len(plan) // config.clips_per_shard))
    shape = f"{frames}x{config.height}x{config.width}"
    return {f"{kind}-{shape}-{k:05}-of-{len(parts):05}": part for k, part in enumerate(parts)}


def _tokenized(
    tokenizer: VideoTokenizer, shards: TarShards, plan: Plan, config: TokensConfig, loop: bool
) -> Iterator[tuple[Int[np.ndarray, "time rows columns"], Sequence[str]]]:
    windows = _windows(shards, plan, config, loop)
    while some := list(islice(windows, CLIPS_AT_ONCE)):
        frames = torch.from_numpy(np.stack([clip.frames for clip, _ in some]))
        codes = tokenizer.encode(frames.to(tokenizer.device).float() / 127.5 - 1, loop=loop).cpu().numpy()
        yield from zip(codes, (captions for _, captions in some), strict=True)


def _windows(shards: TarShards, plan: Plan, config: TokensConfig, loop: bool) -> Iterator[tuple[Clip, Sequence[str]]]:
    """A clip is read once for all of its windows."""
    for number, rows in groupby(plan.tolist(), key=lambda row: row[0]):
        stored = shards[number]
        for _, start, crop in rows:
            rng = np.random.default_rng((config.seed, number, start, crop)) if crop else None
            part = stored.clip
            if loop:
                part = Clip(frames=part.frames[around(len(part), config.loops)], fps=part.fps)
            else:
                part = stretch(part, start, 1 if len(part) == 1 else config.frames)
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
