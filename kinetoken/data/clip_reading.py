"""One file becomes clips of one rate and one size, in a spool folder: the work of one process."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from kinetoken.clip import Clip, open_frames
from kinetoken.data.filters import Reason, reason_to_drop, stretches
from kinetoken.data.sources import Source
from kinetoken.data.tar_shards import Dropped


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
            found = f"found {self.shortest} and {self.longest} frames at {self.fps:g} fps"
            raise ValueError(f"the shortest clip has 2 frames at least and the longest no fewer: {found}")
        if self.clips_per_shard < 1:
            raise ValueError(f"a shard has at least 1 clip, found {self.clips_per_shard}")


@dataclass(frozen=True)
class Task:
    """A source to be read; spool: where its clips go; None if it is in the shards already."""

    source: Source
    spool: Path | None
    config: PrepareConfig


@dataclass(frozen=True, kw_only=True)
class Found:
    """A clip in the spool folder."""

    path: Path
    about: dict[str, Any]


@dataclass
class Reading:
    """What came of reading a source."""

    fps: float = 0.0
    height: int = 0
    width: int = 0
    seconds: float = 0.0
    found: list[Found] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)


def read(task: Task) -> Reading:
    """One bad file is a reason, never a crash: whatever a decoder or a file system may raise ends here."""
    try:
        reading = Reading()
        _read_source(task, reading)
        return reading
    except Exception as error:
        said = str(error).replace(str(task.source.path), task.source.name)
        detail = " ".join(said.split()) or type(error).__name__
        return Reading(dropped=[Dropped(reason=Reason.CORRUPT, detail=detail[:300])])


def _read_source(task: Task, reading: Reading) -> None:
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


def _spooled(frames: UInt8[np.ndarray, "frames height width 3"], second: float, task: Task, number: int) -> Found:
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
    return Found(path=path, about=about)


def _frames(task: Task, reading: Reading) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Of the wanted rate and size."""
    config, path = task.config, task.source.path
    for frame in _frames_of_folder(task, reading) if path.is_dir() else _frames_of_file(path, config, reading):
        clip = Clip(frames=frame[None], fps=config.fps)
        fit = clip.crop_to if config.fit == "crop" else clip.pad_to
        yield fit(config.width, config.height).frames[0]


def _frames_of_file(path: Path, config: PrepareConfig, reading: Reading) -> Iterator[np.ndarray]:
    with open_frames(path, fps=config.fps, cover=(config.width, config.height)) as stream:
        reading.fps, (reading.width, reading.height) = stream.own_fps, stream.own_size
        yield from stream


def _frames_of_folder(task: Task, reading: Reading) -> Iterator[np.ndarray]:
    config, pictures = task.config, task.source.pictures()
    reading.fps = config.picture_fps or config.fps
    step = reading.fps / config.fps
    for number in range(max(1, round(len(pictures) / step))):
        picture = pictures[min(int(number * step + 0.5), len(pictures) - 1)]
        with open_frames(picture, cover=(config.width, config.height)) as stream:
            reading.width, reading.height = stream.own_size
            yield next(iter(stream))
