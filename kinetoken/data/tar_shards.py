"""Clips in WebDataset's tar shards, with an index that says after a crash where the last whole source ended.

A folder of shards holds

    clips-000000.tar …    for each clip KEY.json, KEY.txt (its first caption) and KEY.webp or KEY.mp4
    index.jsonl           a line for each source that is done: its clips, and what was dropped of it and why
    places.npy            int64, clips x (shard, start, end, frames, height, width): memory-mapped by whoever reads
    prepare.json          the settings; report.html
"""

import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Int

from kinetoken.clip import Clip
from kinetoken.data.filters import Reason

INDEX, PLACES = "index.jsonl", "places.npy"
_BLOCK = 512  # tar's unit
_TRAILER = bytes(2 * _BLOCK)  # what ends an archive


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A clip in a shard: bytes [start, end) of the tar are its members. second: where in the source it begins; sha256:
    of its pixels."""

    key: str
    shard: int
    start: int
    end: int
    second: float
    frames: int
    height: int
    width: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """second, seconds: which part of the source; all of it if seconds is None. detail: what the reader said."""

    reason: Reason
    second: float = 0.0
    seconds: float | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A line of the index: what became of a source. bytes: its size; fps, height, width: as it was found, 0 if it
    could not be opened; seconds: how much was read."""

    source: str
    bytes: int
    captions: tuple[str, ...]
    origin: str
    fps: float = 0.0
    height: int = 0
    width: int = 0
    seconds: float = 0.0
    clips: tuple[Placed, ...] = ()
    dropped: tuple[Dropped, ...] = ()


def records(folder: Path) -> Iterator[Record]:
    """The whole lines of the index."""
    if (folder / INDEX).exists():
        with (folder / INDEX).open(encoding="utf-8") as lines:
            yield from (_record(line) for line in lines if line.endswith("\n"))


def _record(line: str) -> Record:
    values = json.loads(line)
    clips = tuple(Placed(**clip) for clip in values.pop("clips"))
    dropped = tuple(Dropped(**{**part, "reason": Reason(part["reason"])}) for part in values.pop("dropped"))
    return Record(**{**values, "captions": tuple(values["captions"])}, clips=clips, dropped=dropped)


def check_apart(folder: Path, trained_on: Sequence[Path]) -> None:
    """Raises ValueError if a clip of a folder is also in one of the others, by the hash of its pixels, or if one of
    those holds no shards."""
    own = {clip.sha256 for record in records(folder) for clip in record.clips}
    for other in trained_on:
        known = own & {clip.sha256 for record in records(TarShards(other).folder) for clip in record.clips}
        if known:
            raise ValueError(f"{len(known)} of {len(own)} clips are also in {other}: measure on clips that are not")


def shard_path(folder: Path, shard: int) -> Path:
    return folder / f"clips-{shard:06}.tar"


@dataclass
class ShardWriter:
    """Appends clips to the last shard and, once all of a source are there, its record to the index.

    A line of the index is the promise that the bytes before it are in the shards. Whatever is beyond the last promise
    was cut short and is cut off, so that going on gives the shards that an undisturbed run gives.
    """

    folder: Path
    clips_per_shard: int
    clips: int = 0
    _end: int = 0
    _tar: BinaryIO | None = None
    _placed: list[Placed] = field(default_factory=list)

    def __enter__(self) -> "ShardWriter":
        last = None
        for record in records(self.folder):
            self.clips += len(record.clips)
            last = record.clips[-1] if record.clips else last
        _cut_torn_line(self.folder / INDEX)
        self._cut_torn_shards(last)
        self._index = (self.folder / INDEX).open("a", encoding="utf-8")
        full = self.clips % self.clips_per_shard == 0
        self._end = 0 if full or last is None else last.end
        return self

    def add(self, clip: dict[str, Any], captions: Sequence[str], media: Path) -> Placed:
        """Write a clip's members. clip: what `Placed` says of it beside its place."""
        tar = self._open_tar()
        key, start = f"{self.clips:08}", self._end
        told = json.dumps({**clip, "captions": list(captions)}, indent=1).encode()
        self._write_member(tar, f"{key}.json", told)
        self._write_member(tar, f"{key}.txt", "".join(captions[:1]).encode("utf-8", "replace"))
        self._write_member(tar, f"{key}{media.suffix}", media.read_bytes())
        own = {name: clip[name] for name in ("second", "frames", "height", "width", "sha256")}
        placed = Placed(key=key, shard=self.clips // self.clips_per_shard, start=start, end=self._end, **own)
        self._placed.append(placed)
        self.clips += 1
        if self.clips % self.clips_per_shard == 0:
            self._close_tar()
        return placed

    def commit(self, record: Record) -> None:
        assert list(record.clips) == self._placed, "a record has the clips that were added for it"
        self._placed = []
        if self._tar is not None:
            self._tar.flush()
        self._index.write(json.dumps(asdict(record)) + "\n")
        self._index.flush()

    def __exit__(self, *failure: Any) -> None:
        self._close_tar()
        self._index.close()

    def _cut_torn_shards(self, last: Placed | None) -> None:
        for path in self.folder.glob("clips-*.tar"):
            if last is None or path > shard_path(self.folder, last.shard):
                path.unlink()
        if last is not None:
            with shard_path(self.folder, last.shard).open("r+b") as tar:
                tar.seek(last.end)
                if tar.read() != _TRAILER:
                    tar.truncate(last.end)
                    tar.seek(last.end)
                    tar.write(_TRAILER)

    def _open_tar(self) -> BinaryIO:
        if self._tar is None:
            path = shard_path(self.folder, self.clips // self.clips_per_shard)
            path.touch()
            self._tar = path.open("r+b")
            self._tar.truncate(self._end)
            self._tar.seek(self._end)
        return self._tar

    def _write_member(self, tar: BinaryIO, name: str, content: bytes) -> None:
        header = tarfile.TarInfo(name)  # no owner and no date: the same clips give the same bytes
        header.size = len(content)
        padded = header.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % _BLOCK)
        tar.write(padded)
        self._end += len(padded)

    def _close_tar(self) -> None:
        if self._tar is not None:
            self._tar.write(_TRAILER)
            self._tar.close()
        self._tar, self._end = None, 0


def _cut_torn_line(index: Path) -> None:
    """A process that was killed may have written half of its last line."""
    if index.exists():
        content = index.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(index, content.rfind(b"\n") + 1)


def write_places(folder: Path) -> None:
    """Write places.npy, from the index, unless it is right already."""
    rows = [(c.shard, c.start, c.end, c.frames, c.height, c.width) for record in records(folder) for c in record.clips]
    content, temporary = io.BytesIO(), folder / f".{PLACES}"
    np.save(content, np.array(rows, np.int64).reshape(-1, 6))
    if not (folder / PLACES).exists() or (folder / PLACES).read_bytes() != content.getvalue():
        temporary.write_bytes(content.getvalue())
        temporary.replace(folder / PLACES)


@dataclass(frozen=True, kw_only=True)
class StoredClip:
    """second: where in the source it begins."""

    clip: Clip
    captions: tuple[str, ...]
    source: str
    second: float


@dataclass(frozen=True)
class TarShards:
    """Clips of prepared shards, by number. Places are memory-mapped and one file is open at a time, so that a worker
    holds nothing, however many clips there are.

    Raises ValueError when the folder holds no finished shards.
    """

    folder: Path

    def __post_init__(self) -> None:
        if not (self.folder / PLACES).is_file():
            raise ValueError(f"{self.folder} holds no finished shards: run kinetoken data prepare … -o {self.folder}")

    @cached_property
    def places(self) -> Int[np.ndarray, "clips 6"]:
        return np.load(self.folder / PLACES, mmap_mode="r")

    @property
    def lengths(self) -> Int[np.ndarray, " clips"]:
        """Frames of each clip."""
        return self.places[:, 3]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> StoredClip:
        told, media = self._members(number)
        clip = Clip(frames=Clip.read(io.BytesIO(media)).frames, fps=told["fps"])  # a file rounds its rate
        return StoredClip(clip=clip, captions=tuple(told["captions"]), source=told["source"], second=told["second"])

    def _members(self, number: int) -> tuple[dict[str, Any], bytes]:
        shard, start, end, *_ = (int(value) for value in self.places[number])
        with shard_path(self.folder, shard).open("rb") as tar:
            tar.seek(start)
            window = io.BytesIO(tar.read(end - start))
        with tarfile.open(fileobj=window, mode="r:") as members:
            contents = {Path(member.name).suffix: members.extractfile(member).read() for member in members}  # type: ignore[union-attr]
        told = json.loads(contents.pop(".json"))
        contents.pop(".txt")
        return told, contents.popitem()[1]
