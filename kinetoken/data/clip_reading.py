"""One file becomes clips of one rate and one size, in a spool folder: the work of one process."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, Literal
from zlib import crc32

import numpy as np
from jaxtyping import UInt8

from kinetoken.clip import Clip
from kinetoken.data.filters import Reason, reason_to_drop, stretches
from kinetoken.data.sources import Source
from kinetoken.data.tar_shards import Dropped
from kinetoken.media import Rgb, open_frames

BACKDROPS: Final[dict[str, Rgb]] = {
    "white": (255, 255, 255),
    "black": (16, 16, 18),
    "grey": (128, 128, 130),
    "red": (200, 40, 45),
    "orange": (240, 140, 40),
    "yellow": (250, 215, 70),
    "green": (60, 160, 80),
    "blue": (50, 95, 215),
    "purple": (130, 70, 180),
    "pink": (245, 160, 195),
}
"""Plain colours to lay what is transparent over, by what captions call them."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """fps, width, height: of every clip. fit: whether another shape is cropped to the middle or padded with black.
    cuts: split where the scene changes. shortest, longest: frames of a clip; longer scenes are cut into pieces, and
    pictures are clips of one frame. format: webp loses nothing, so that a model does not learn what H.264 does to small
    pictures; mp4 takes about a tenth of the room. picture_fps: of folders of pictures; `fps` if None. backdrops: what
    is transparent becomes so many clips, each before another plain colour, which its captions say; with 0 it is laid
    over white."""

    fps: float = 8.0
    width: int = 80
    height: int = 80
    fit: Literal["crop", "pad"] = "crop"
    cuts: bool = True
    shortest: int = 17
    longest: int = 80
    format: Literal["webp", "mp4"] = "webp"
    picture_fps: float | None = None
    backdrops: int = 0
    clips_per_shard: int = 1000

    def __post_init__(self) -> None:
        if not 0.1 <= self.fps <= 240 or not (self.picture_fps is None or 0.1 <= self.picture_fps <= 240):
            raise ValueError(f"fps is 0.1 to 240, found {self.fps} and, of folders of pictures, {self.picture_fps}")
        if not (4 <= self.width <= 4096 and 4 <= self.height <= 4096):
            raise ValueError(f"the size is 4x4 to 4096x4096, found {self.width}x{self.height}")
        if not 2 <= self.shortest <= self.longest:
            found = f"found {self.shortest} and {self.longest} frames at {self.fps:g} fps"
            raise ValueError(f"the shortest clip has 2 frames at least and the longest no fewer: {found}")
        if not 0 <= self.backdrops <= len(BACKDROPS):
            raise ValueError(f"there are {len(BACKDROPS)} backdrops, found {self.backdrops}")
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
    captions: tuple[str, ...]


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
    for backdrop in _backdrops(task):
        _read_before(backdrop, task, reading)


def _backdrops(task: Task) -> list[str | None]:
    """Names of the colours to lay the source over; None alone if it is not transparent, or none are wanted. Each
    source's own, chosen by its name."""
    count, path = task.config.backdrops, task.source.path
    if not count or path.is_dir() or not is_transparent(path):
        return [None]
    first = crc32(task.source.name.encode("utf-8", "surrogateescape"))
    step = len(BACKDROPS) // count
    return [list(BACKDROPS)[(first + step * number) % len(BACKDROPS)] for number in range(count)]


def _read_before(backdrop: str | None, task: Task, reading: Reading) -> None:
    config, frames_read = task.config, _frames(task, reading, backdrop)
    beginning = list(islice(frames_read, 2))
    shortest = 1 if len(beginning) == 1 else config.shortest  # a single frame is a picture
    whole = chain(beginning, frames_read)
    for first, frames in stretches(whole, longest=config.longest, fps=config.fps, cuts=config.cuts):
        second, seconds = round(first / config.fps, 3), round(len(frames) / config.fps, 3)
        reading.seconds = second + seconds
        if reason := reason_to_drop(frames, shortest):
            reading.dropped.append(Dropped(reason=reason, second=second, seconds=seconds))
        else:
            reading.found.append(_spooled(frames, second, task, len(reading.found), backdrop))


def _spooled(
    frames: UInt8[np.ndarray, "frames height width 3"], second: float, task: Task, number: int, backdrop: str | None
) -> Found:
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
    if backdrop is None:
        return Found(path=path, about=about, captions=task.source.captions)
    article = "an" if backdrop[0] in "aeiou" else "a"
    told = tuple(f"{caption} on {article} {backdrop} background" for caption in task.source.captions)
    return Found(path=path, about=about | {"backdrop": backdrop}, captions=told)


def _frames(task: Task, reading: Reading, backdrop: str | None) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Of the wanted rate and size."""
    config, path, over = task.config, task.source.path, BACKDROPS[backdrop or "white"]
    for frame in _frames_of_folder(task, reading) if path.is_dir() else _frames_of_file(path, config, reading, over):
        clip = Clip(frames=frame[None], fps=config.fps)
        fit = clip.crop_to if config.fit == "crop" else clip.pad_to
        yield fit(config.width, config.height).frames[0]


def _frames_of_file(path: Path, config: PrepareConfig, reading: Reading, over: Rgb) -> Iterator[np.ndarray]:
    with open_frames(path, fps=config.fps, cover=(config.width, config.height), over=over) as stream:
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


def is_transparent(path: Path) -> bool:
    """Whether what is behind the first frame can be seen."""
    seen = []
    for over in ("white", "black"):
        with open_frames(path, over=BACKDROPS[over]) as stream:
            seen.append(next(iter(stream)))
    return bool((seen[0] != seen[1]).any())
