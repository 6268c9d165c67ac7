"""Files of any kind become clips of one rate and one size, in tar shards.

    for progress in prepare(DataSet(folder), shards, PrepareConfig(), workers=2): ...

Each file is read once, by a process of its own, which leaves finished clips in a spool folder; this process puts them
into the shards in the order of the files. So memory does not grow with the data, and the shards do not depend on how
many processes there were, nor on how often the work was interrupted.
"""

import json
import multiprocessing
import shutil
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from kinetoken.clip import Clip, open_frames
from kinetoken.config import from_flat, to_flat
from kinetoken.data.filters import Reason, check_can_cut, reason_to_drop, stretches
from kinetoken.data.sources import DataSet, Source
from kinetoken.data.tar_shards import Dropped, Record, ShardWriter, records, write_places

SETTINGS, SPOOL = "prepare.json", ".spool-"
_AHEAD = 4  # sources that each process may be ahead of the one that is awaited


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """fps, width, height: of every clip. fit: whether another shape is cropped to the middle or padded with black.
    cuts: split where the scene changes. shortest, longest: frames of a clip; longer scenes are cut into pieces, and
    pictures are clips of one frame. format: webp loses nothing, so that a model does not learn what H.264 does to small
    pictures; mp4 takes about a tenth of the room. picture_fps: of folders of pictures; `fps` if None."""

    fps: float = 8.0
    width: int = 80
    height: int = 80
    fit: Literal["crop", "pad"] = "crop"
    cuts: bool = True
    shortest: int = 17
    longest: int = 80
    format: Literal["webp", "mp4"] = "webp"
    picture_fps: float | None = None
    clips_per_shard: int = 1000

    def __post_init__(self) -> None:
        if not 0.1 <= self.fps <= 240 or not (self.picture_fps is None or 0.1 <= self.picture_fps <= 240):
            raise ValueError(f"fps is 0.1 to 240, found {self.fps} and, of folders of pictures, {self.picture_fps}")
        if not (4 <= self.width <= 4096 and 4 <= self.height <= 4096):
            raise ValueError(f"the size is 4x4 to 4096x4096, found {self.width}x{self.height}")
        if not 2 <= self.shortest <= self.longest:
            raise ValueError(f"clips have 2 frames at least; found shortest {self.shortest}, longest {self.longest}")
        if self.clips_per_shard < 1:
            raise ValueError(f"a shard has at least 1 clip, found {self.clips_per_shard}")


def prepare(data: DataSet, folder: Path, config: PrepareConfig, *, workers: int) -> Iterator[Record | None]:
    """Write the shards of what is not in them yet, yielding for each source, in order, its record, or None if it was
    done before.

    workers: processes that read; with 0, this one does. Raises ValueError when the folder has shards of other settings,
    and as `DataSet` does.
    """
    if config.cuts:
        check_can_cut()
    _settle(folder, config)
    done = {(record.source, record.bytes) for record in records(folder)}
    seen = {clip.sha256 for record in records(folder) for clip in record.clips}
    with (
        TemporaryDirectory(prefix=SPOOL, dir=folder) as spool,
        ShardWriter(folder, config.clips_per_shard) as writer,
        closing(_in_order(_tasks(data, done, Path(spool), config), workers)) as readings,
    ):
        for task, reading in readings:
            yield _stored(writer, task.source, reading, seen) if reading else None
    write_places(folder)


def settings(folder: Path) -> PrepareConfig:
    """What the shards were prepared with. Raises ValueError when there are none."""
    try:
        return from_flat(PrepareConfig, json.loads((folder / SETTINGS).read_text()))
    except OSError as error:
        raise ValueError(f"{folder} holds no shards ({error.strerror}): run kinetoken data prepare first") from None


def _settle(folder: Path, config: PrepareConfig) -> None:
    """Make the folder one of these settings, without what an earlier run may have left half done."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder for the shards")
    if not (folder / SETTINGS).exists():
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} holds other files: name a new folder for the shards")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SETTINGS).write_text(json.dumps(to_flat(config), indent=2) + "\n")
    before, now = to_flat(settings(folder)), to_flat(config)
    if changed := [f"{name} {before[name]}, not {now[name]}" for name in now if before[name] != now[name]]:
        raise ValueError(f"{folder} was prepared with {'; '.join(changed)}: name another folder, or delete this one")
    for left in folder.glob(f"{SPOOL}*"):
        shutil.rmtree(left, ignore_errors=True)


# What a process does


@dataclass(frozen=True)
class _Task:
    """A source to be read; spool: where its clips go; None if it is in the shards already."""

    source: Source
    spool: Path | None
    config: PrepareConfig


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A clip in the spool folder."""

    path: Path
    about: dict[str, Any]


@dataclass
class _Reading:
    """What came of reading a source."""

    fps: float = 0.0
    height: int = 0
    width: int = 0
    seconds: float = 0.0
    found: list[_Found] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)


def _read(task: _Task) -> _Reading:
    """One bad file is a reason, never a crash: whatever a decoder or a file system may raise ends here."""
    try:
        reading = _Reading()
        _read_source(task, reading)
        return reading
    except Exception as error:
        said = str(error).replace(str(task.source.path), task.source.name)
        detail = " ".join(said.split()) or type(error).__name__
        return _Reading(dropped=[Dropped(reason=Reason.CORRUPT, detail=detail[:300])])


def _read_source(task: _Task, reading: _Reading) -> None:
    config, frames_read = task.config, _frames(task, reading)
    beginning = list(islice(frames_read, 2))
    shortest = 1 if len(beginning) == 1 else config.shortest  # a single frame is a picture
    whole = chain(beginning, frames_read)
    for first, frames in stretches(whole, longest=config.longest, fps=config.fps, cuts=config.cuts):
        second, seconds = round(first / config.fps, 3), round(len(frames) / config.fps, 3)
        reading.seconds = second + seconds
        if reason := reason_to_drop(frames, shortest):
            reading.dropped.append(Dropped(reason=reason, second=second, seconds=seconds))
        else:
            reading.found.append(_spooled(frames, second, task, len(reading.found)))


def _spooled(frames: UInt8[np.ndarray, "frames height width 3"], second: float, task: _Task, number: int) -> _Found:
    assert task.spool is not None
    path = task.spool.with_name(f"{task.spool.name}-{number}.{task.config.format}")
    clip = Clip(frames=frames, fps=task.config.fps)
    clip.save(path)
    about = {
        "source": task.source.name,
        "second": second,
        "fps": clip.fps,
        "frames": len(clip),
        "height": clip.height,
        "width": clip.width,
        "captions_from": task.source.origin,
        "sha256": sha256(frames.tobytes()).hexdigest(),
    }
    return _Found(path=path, about=about)


def _frames(task: _Task, reading: _Reading) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Of the wanted rate and size."""
    config, path = task.config, task.source.path
    for frame in _frames_of_folder(task, reading) if path.is_dir() else _frames_of_file(path, config, reading):
        clip = Clip(frames=frame[None], fps=config.fps)
        fit = clip.crop_to if config.fit == "crop" else clip.pad_to
        yield fit(config.width, config.height).frames[0]


def _frames_of_file(path: Path, config: PrepareConfig, reading: _Reading) -> Iterator[np.ndarray]:
    with open_frames(path, fps=config.fps, cover=(config.width, config.height)) as stream:
        reading.fps, (reading.width, reading.height) = stream.own_fps, stream.own_size
        yield from stream


def _frames_of_folder(task: _Task, reading: _Reading) -> Iterator[np.ndarray]:
    config, pictures = task.config, task.source.pictures()
    reading.fps = config.picture_fps or config.fps
    step = reading.fps / config.fps
    for number in range(max(1, round(len(pictures) / step))):
        picture = pictures[min(int(number * step + 0.5), len(pictures) - 1)]
        with open_frames(picture, cover=(config.width, config.height)) as stream:
            reading.width, reading.height = stream.own_size
            yield next(iter(stream))


# What the process that writes does


def _tasks(data: DataSet, done: set[tuple[str, int]], spool: Path, config: PrepareConfig) -> Iterator[_Task]:
    for number, source in enumerate(data):
        yield _Task(source, None if (source.name, source.bytes) in done else spool / str(number), config)


def _stored(writer: ShardWriter, source: Source, reading: _Reading, seen: set[str]) -> Record:
    placed, dropped = [], list(reading.dropped)
    for found in reading.found:
        about = found.about
        if about["sha256"] in seen:
            seconds = round(about["frames"] / about["fps"], 3)
            dropped.append(Dropped(reason=Reason.DUPLICATE, second=about["second"], seconds=seconds))
        else:
            placed.append(writer.add(about, source.captions, found.path))
            seen.add(about["sha256"])
        found.path.unlink()
    record = Record(
        source=source.name,
        bytes=source.bytes,
        captions=source.captions,
        origin=source.origin,
        fps=reading.fps,
        height=reading.height,
        width=reading.width,
        seconds=reading.seconds,
        clips=tuple(placed),
        dropped=tuple(dropped),
    )
    writer.commit(record)
    return record


def _in_order(tasks: Iterable[_Task], workers: int) -> Generator[tuple[_Task, _Reading | None], None, None]:
    """Every task and what came of it, or None if there was nothing to do, in order."""
    if not workers:
        yield from ((task, _read(task) if task.spool else None) for task in tasks)
        return
    with _Pool(workers) as pool:
        waiting: deque[_Task] = deque()
        for task in tasks:
            pool.start(task)
            waiting.append(task)
            if len(waiting) > workers * _AHEAD:
                yield pool.ended(waiting.popleft())
        while waiting:
            yield pool.ended(waiting.popleft())


class _Pool:
    """Processes that read. A file that kills its process is corrupt; its neighbours are read again."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._running: dict[_Task, Future[_Reading]] = {}

    def __enter__(self) -> "_Pool":
        self._executor = self._processes(self._workers)
        return self

    def __exit__(self, *failure: Any) -> None:
        self._executor.shutdown(cancel_futures=True)

    def start(self, task: _Task) -> None:
        if task.spool is not None:
            try:
                self._running[task] = self._executor.submit(_read, task)
            except BrokenProcessPool:
                self._restart()
                self._running[task] = self._executor.submit(_read, task)

    def ended(self, task: _Task) -> tuple[_Task, _Reading | None]:
        if task.spool is None:
            return task, None
        future = self._running.pop(task)
        try:
            return task, future.result()
        except BrokenProcessPool:
            self._restart()
            return task, self._alone(task)

    def _restart(self) -> None:
        self._executor.shutdown()
        self._executor = self._processes(self._workers)
        for task, future in self._running.items():
            if not future.done() or future.exception() is not None:
                self._running[task] = self._executor.submit(_read, task)

    def _alone(self, task: _Task) -> _Reading:
        """Whether it was this one that killed the process."""
        with self._processes(1) as executor:
            try:
                return executor.submit(_read, task).result()
            except BrokenProcessPool:
                return _Reading(dropped=[Dropped(reason=Reason.CORRUPT, detail="its decoder crashed")])

    @staticmethod
    def _processes(count: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of ours may hold
        ending = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends them without a word
        return ProcessPoolExecutor(count, mp_context=context, initializer=ending)
