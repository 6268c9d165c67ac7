"""Frames out of a file: videos by PyAV, images by Pillow. The only place where files from elsewhere are opened.

What a file is, is decided by its first bytes, never by its name. A video's demuxer is pinned by them, reads from the
open file and may open no other: a playlist is no video, and a mov that keeps its samples in another file has none.
Whatever cannot be read raises MediaError, a ValueError.
"""

import math
import os
import re
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from itertools import accumulate, chain, repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

PathLike = str | os.PathLike[str]
Rgb = tuple[int, int, int]

DEFAULT_FPS = 8.0  # of a still image, and of a file that does not say
FASTEST_FPS = 1000.0  # what a file claims beyond is not believed
LONGEST_REST = 5.0  # seconds that the last frame is held, however long the file says
MAX_PIXELS = 8192 * 8192  # of one frame, checked before it is decoded
MAX_ANIMATION_PIXELS = 2**33  # of all frames of a gif, webp or png together, for they are decoded twice
BACKGROUND = 255  # transparent pixels are laid over white, if nothing else is said
SHOWN_SIZE = "kinetoken shows {}x{}"  # the comment in an mp4 whose picture was padded to an even size
SWSCALE_FLAGS = 0x4 | 0x2000 | 0x4000 | 0x40000  # bicubic, full chroma in and out, accurate rounding


class MediaError(ValueError):
    """A file cannot be read as a clip: what is wrong, what was found, what to do."""


@dataclass(frozen=True, kw_only=True)
class FrameStream:
    """What `open_frames` gives: a size, a rate, and the frames (uint8, H x W x 3), which can be iterated once.

    own_fps, own_size: of the file, whatever was asked for; (width, height) before frames are turned.
    """

    width: int
    height: int
    fps: float
    own_fps: float
    own_size: tuple[int, int]
    frames: Iterator[UInt8[np.ndarray, "height width 3"]]

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        return self.frames


class _View(NamedTuple):
    """What frames may be reduced to, as long as they cover it; and what transparent pixels are laid over."""

    cover: tuple[int, int] | None
    over: Rgb


_Picture = Callable[[], np.ndarray]  # H x W x 3 pixels, converted when they are asked for


class _Shown(NamedTuple):
    """One decoded frame: when it appears, for how long (both in seconds), and its picture."""

    start: float
    seconds: float
    picture: _Picture


class _Timed(NamedTuple):
    """Frames per second, (width, height) and the frames of a file."""

    fps: float
    size: tuple[int, int]
    shown: Iterator[_Shown]


@contextmanager
def open_frames(
    source: PathLike | BufferedIOBase,
    *,
    fps: float | None = None,
    cover: tuple[int, int] | None = None,
    over: Rgb = (BACKGROUND, BACKGROUND, BACKGROUND),
) -> Iterator[FrameStream]:
    """Read a file frame by frame, holding a few frames in memory however long it is.

    source: a path, or a file that is open already. fps: another rate than the file's own: the frames nearest to its
    times; a still image stays one frame. cover: (width, height): frames may be given smaller than they are, their
    shape kept, as long as they cover this. Skipped and reduced frames cost little more than their decoding. over: what
    transparent pixels are laid over.

    mp4, mov, mkv, webm and avi; gif, webp and png, animated or not; jpeg and bmp. A still image is one frame at
    DEFAULT_FPS. A variable frame rate becomes its average: a frame is held until the next begins, and dropped where two
    meet; the last is held for LONGEST_REST seconds at most. Frames are turned as their rotation or EXIF tag asks,
    and pixels are taken as square.

    Raises MediaError when the path is no regular file, is of another kind, is damaged, or has frames beyond MAX_PIXELS.
    """
    name = str(source) if isinstance(source, str | os.PathLike) else "the open file"
    with ExitStack() as opened:
        with _clear_errors(name):
            file = opened.enter_context(_opened(source)) if isinstance(source, str | os.PathLike) else source
            own_fps, own_size, shown = opened.enter_context(_opener(file.read(32))(file, _View(cover, over)))
            pictures = opened.enter_context(closing(_at_constant_rate(shown, own_fps)))
            frames = _decoded(pictures if fps is None else _resampled(pictures, own_fps, fps))
            first = next(frames, None)
            if first is None:
                raise MediaError("holds no frame that can be decoded; it may be truncated")
        height, width = first.shape[:2]
        rest = opened.enter_context(closing(_guarded(name, frames)))
        yield FrameStream(
            width=width,
            height=height,
            fps=fps or own_fps,
            own_fps=own_fps,
            own_size=own_size,
            frames=chain([first], rest),
        )


def _opened(path: PathLike) -> BufferedIOBase:
    _check_regular_file(Path(path))
    return open(path, "rb")


@contextmanager
def _clear_errors(name: str) -> Iterator[None]:
    """Decoders meet hostile bytes with any exception at all; callers meet MediaError alone."""
    try:
        yield
    except MediaError as error:
        raise MediaError(f"{name} {error}") from error
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(f"{name} cannot be read ({reason}); check that it is complete and not damaged") from error


def _guarded(name: str, frames: Iterator[np.ndarray]) -> Generator[np.ndarray, None, None]:
    with _clear_errors(name):
        yield from frames


def _check_regular_file(path: Path) -> None:
    if not path.exists():
        raise MediaError("does not exist; check the path")
    if not stat.S_ISREG(path.stat().st_mode):
        raise MediaError(f"is {'a folder' if path.is_dir() else 'not a regular file'}; give one media file")


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise MediaError(f"has frames of {width}x{height}, and {MAX_PIXELS} pixels is the limit; shrink it first")


def _fps(starts: list[float], tick: float, told: float = 0.0) -> float:
    """Frames per second of frames that start at these seconds, rounded to multiples of `tick`.

    What the file told, or else a whole number, if the rounding explains the difference; the average if it does not.
    """
    intervals, span = len(starts) - 1, max(starts, default=0.0) - min(starts, default=0.0)
    if span <= 0:
        return min(told or DEFAULT_FPS, FASTEST_FPS)
    average = min(intervals / span, FASTEST_FPS)
    for rate in (told, float(round(average))):
        if 0 < rate <= FASTEST_FPS and abs(intervals / rate - span) <= 1.5 * min(tick, 1 / rate):
            return rate
    return average


def _at_constant_rate(shown: Iterator[_Shown], fps: float) -> Generator[_Picture, None, None]:
    """Each frame from the multiple of 1/fps nearest to its start, until the next: a constant rate passes unchanged."""
    emitted, last = 0, None
    for frame in shown:
        if last is None:
            last, origin = frame, frame.start
        while emitted < math.floor((frame.start - origin) * fps + 0.5):
            yield last.picture
            emitted += 1
        last = frame
    if last is not None:
        end = last.start - origin + max(1 / fps, min(last.seconds, LONGEST_REST))
        yield from repeat(last.picture, max(1, math.ceil(end * fps - 0.5)) - emitted)


def _resampled(pictures: Iterator[_Picture], fps: float, wanted: float) -> Iterator[_Picture]:
    """Of pictures at one rate, those nearest to the times of another. A single one stays single."""
    first, second = next(pictures, None), next(pictures, None)
    if first is None or second is None:
        yield from () if first is None else (first,)
        return
    emitted = 0
    for number, picture in enumerate(chain([first, second], pictures)):
        while math.floor(emitted * fps / wanted + 0.5) <= number:
            yield picture
            emitted += 1


def _decoded(pictures: Iterator[_Picture]) -> Iterator[np.ndarray]:
    """Pixels of each; a picture that is held is converted once."""
    held, pixels = None, None
    for picture in pictures:
        if pixels is None or picture is not held:
            held, pixels = picture, picture()
        yield pixels


_BT709, _UNSPECIFIED = 1, 2  # FFmpeg's numbers for the kinds of YUV
_DEMUXER_OPTIONS = {
    "protocol_whitelist": "none",
    "enable_drefs": "0",
    "use_absolute_path": "0",
    "max_pixels": str(MAX_PIXELS),
}


@contextmanager
def _open_video(file: BufferedIOBase, view: _View, demuxer: str) -> Iterator[_Timed]:
    with _demuxed(file, demuxer) as (container, stream):
        packets = (packet for packet in container.demux(stream) if packet.size and packet.pts is not None)
        starts = [float(packet.pts * stream.time_base) for packet in packets]
        fps = _fps(starts, float(stream.time_base), told=float(stream.average_rate or 0))
    with _demuxed(file, demuxer) as (container, stream):
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        size = stream.codec_context.width, stream.codec_context.height
        yield _Timed(fps, size, _video_frames(container, stream, fps, view))


@contextmanager
def _demuxed(file: BufferedIOBase, demuxer: str) -> Iterator[tuple[Any, Any]]:
    """An open container and its main video stream."""
    import av

    file.seek(0)
    with av.open(file, "r", format=demuxer, options=_DEMUXER_OPTIONS, metadata_errors="ignore") as container:
        stream: Any = container.streams.best("video")
        if stream is None:
            raise MediaError("has no video stream; give a file with pictures")
        _check_pixels(stream.codec_context.width, stream.codec_context.height)
        yield container, stream


def _video_frames(container: Any, stream: Any, fps: float, view: _View) -> Iterator[_Shown]:
    from av.video.reformatter import VideoReformatter

    width, height = stream.codec_context.width, stream.codec_context.height
    kept = _kept_part(width, height, container.metadata.get("comment", ""))
    own_padding = kept != (slice(height), slice(width))
    cover = None if own_padding else view.cover  # our own writer's padding is a whole pixel of the whole picture
    reformat = partial(VideoReformatter().reformat, interpolation=SWSCALE_FLAGS)
    start = 0.0
    for frame in container.decode(stream):
        turns = round(frame.rotation / 90)
        size = _size_to_cover(width, height, cover if turns % 2 == 0 or cover is None else cover[::-1])
        convert = partial(reformat, width=size[0], height=size[1])
        start = frame.time if frame.time is not None else start
        seconds = float(frame.duration * frame.time_base) if frame.duration else 1 / fps
        yield _Shown(start, seconds, partial(_turned_pixels, frame, convert, kept, turns, view.over))
        start += seconds


def _size_to_cover(width: int, height: int, cover: tuple[int, int] | None) -> tuple[int, int]:
    if cover is None:
        return width, height
    scale = min(1.0, max(cover[0] / width, cover[1] / height))
    return round(width * scale), round(height * scale)


def _turned_pixels(
    frame: Any, convert: Callable[..., Any], kept: tuple[slice, slice], turns: int, over: Rgb
) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(_video_pixels(frame, convert, over)[kept], turns))


def _kept_part(width: int, height: int, comment: str) -> tuple[slice, slice]:
    """The rows and columns of a picture without the padding that our own writer says it added."""
    shown = re.fullmatch(SHOWN_SIZE.format(r"(\d{1,5})", r"(\d{1,5})"), comment)
    if not shown or not {width - int(shown[1]), height - int(shown[2])} <= {0, 1}:
        return slice(height), slice(width)
    return slice(int(shown[2])), slice(int(shown[1]))


def _video_pixels(frame: Any, convert: Callable[..., Any], over: Rgb) -> np.ndarray:
    """H x W x 3. A video that does not say which YUV it uses is BT.709 if it is high definition, BT.601 if not."""
    transparent = any(component.is_alpha for component in frame.format.components)
    colours = _BT709 if frame.colorspace == _UNSPECIFIED and frame.height >= 720 else None
    pixels = convert(frame, format="rgba" if transparent else "rgb24", src_colorspace=colours).to_ndarray()
    return _laid_over(pixels, over) if transparent else pixels


def _laid_over(rgba: UInt8[np.ndarray, "height width 4"], over: Rgb) -> UInt8[np.ndarray, "height width 3"]:
    picture = Image.fromarray(rgba)
    ground = Image.new("RGBA", picture.size, (*over, 255))
    ground.alpha_composite(picture)
    return np.asarray(ground.convert("RGB"))


_TICK = {"GIF": 0.01, "WEBP": 0.001, "PNG": 1e-6}  # what can be animated, and the seconds its delays are rounded to


@contextmanager
def _open_image(file: BufferedIOBase, view: _View, name: str) -> Iterator[_Timed]:
    file.seek(0)
    with Image.open(file, formats=[name]) as image:  # type: ignore[arg-type]  # it reads and seeks: that will do
        size = image.size
        _check_pixels(*size)
        indices = range(int(getattr(image, "default_image", False)), getattr(image, "n_frames", 1))
        if view.cover is not None:
            image.draft(
                "RGB", (max(view.cover),) * 2
            )  # a jpeg is decoded at an eighth, a quarter or half, if that covers
        if name not in _TICK or len(indices) < 2:
            yield _Timed(
                DEFAULT_FPS, size, iter([_Shown(0.0, 1 / DEFAULT_FPS, partial(_image_pixels, image, view.over))])
            )
            return
        if len(indices) * image.width * image.height > MAX_ANIMATION_PIXELS:
            raise MediaError(f"has {len(indices)} frames of {image.width}x{image.height}; convert it to mp4 first")
        seconds = [_seconds_shown(image, index) for index in indices]
        fps = _fps(list(accumulate(seconds[:-1], initial=0.0)), _TICK[name])
        yield _Timed(fps, size, _image_frames(image, indices, seconds, view.over))


def _seconds_shown(image: Image.Image, index: int) -> float:
    image.seek(index)
    image.load()
    return (image.info.get("duration") or 100) / 1000  # browsers too show an unspecified frame for a tenth of a second


def _image_frames(image: Image.Image, indices: range, seconds: list[float], over: Rgb) -> Iterator[_Shown]:
    for index, start, shown in zip(indices, accumulate(seconds, initial=0.0), seconds, strict=False):
        image.seek(index)
        pixels = _image_pixels(image, over)  # now, before the image moves on
        yield _Shown(start, shown, partial(np.asarray, pixels))


def _image_pixels(image: Image.Image, over: Rgb) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel
        image = Image.fromarray((np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        return _laid_over(np.asarray(image.convert("RGBA")), over)
    return np.array(image.convert("RGB"))


_Opener = Callable[[BufferedIOBase, _View], AbstractContextManager[_Timed]]
_MAGIC: list[tuple[int, bytes, _Opener | None]] = [
    # HEIF and AVIF pictures live in the boxes of an mp4, but their tiles are not frames.
    *((4, b"ftyp" + brand, None) for brand in (b"avi", b"hei", b"hev", b"mif", b"msf")),
    *((4, box, partial(_open_video, demuxer="mov")) for box in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    (0, b"\x1a\x45\xdf\xa3", partial(_open_video, demuxer="matroska")),
    (8, b"AVI ", partial(_open_video, demuxer="avi")),
    (8, b"WEBP", partial(_open_image, name="WEBP")),
    (0, b"GIF8", partial(_open_image, name="GIF")),
    (0, b"\x89PNG\r\n\x1a\n", partial(_open_image, name="PNG")),
    (0, b"\xff\xd8\xff", partial(_open_image, name="JPEG")),
    (0, b"BM", partial(_open_image, name="BMP")),
]


def _opener(head: bytes) -> _Opener:
    """How to open a file that begins with these bytes. Raises MediaError when the table above has no answer."""
    opener = next((opener for offset, magic, opener in _MAGIC if head.startswith(magic, offset)), None)
    if opener is None:
        found = f"begins with {head[:12]!r}" if head else "is empty"
        raise MediaError(
            f"{found}; it must be mp4, mov, mkv, webm, avi, gif, webp, png, jpeg or bmp, so convert it first"
        )
    return opener
