"""Clip: frames and a rate. With media.py, which reads, the only file that opens media.

Clip.read("in.gif").resize(64, 64).save("out.mp4")      a whole clip, in memory
with open_frames("long.mp4") as stream: ...             one frame at a time, any length
with ClipWriter("out.webm", fps=8, ...) as writer: ...  likewise, the other way
"""

import math
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from io import BufferedIOBase
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from kinetoken.media import BACKGROUND, MAX_PIXELS, SHOWN_SIZE, SWSCALE_FLAGS, MediaError, PathLike, open_frames

__all__ = ["FORMATS", "Clip", "ClipWriter", "MediaError", "check_writable", "open_frames", "output_format"]

MAX_CLIP_BYTES = 2**31  # of a clip in memory
SLOWEST_FPS = 0.01
GAP = 2  # pixels between the frames of a contact sheet


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """frames: uint8 RGB, T x H x W x 3; fps: frames per second. An image is a clip of one frame.

    Raises ValueError when the frames have another dtype or shape, or fps is not a finite number above 0.
    """

    frames: UInt8[np.ndarray, "frames height width 3"]
    fps: float

    def __post_init__(self) -> None:
        _check_frames(self.frames)
        object.__setattr__(self, "fps", _checked_fps(self.fps))

    @classmethod
    def read(cls, path: PathLike | BufferedIOBase, *, max_frames: int | None = None) -> "Clip":
        """Read a video, an animation or a still image, at most `max_frames` frames of it. path: or an open file.

        Raises MediaError as `open_frames` does, and when the frames would take more than MAX_CLIP_BYTES.
        """
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"max_frames is {max_frames}; it must be at least 1, or None for all frames")
        pixels = bytearray()
        with open_frames(path) as stream:
            for frame in islice(stream, max_frames):
                if len(pixels) + frame.nbytes > MAX_CLIP_BYTES:
                    fit = MAX_CLIP_BYTES // frame.nbytes
                    raise MediaError(
                        f"{path} holds more than {MAX_CLIP_BYTES / 2**30:.3g} GiB of {stream.width}x{stream.height} "
                        f"frames; read its beginning with max_frames={fit} or fewer, or stream it with open_frames"
                    )
                pixels += frame.data
        frames = np.frombuffer(pixels, np.uint8).reshape(-1, stream.height, stream.width, 3)
        return cls(frames=frames, fps=stream.fps)

    def save(self, path: PathLike, *, scale: int = 1) -> Path:
        """Write the clip in the format that the extension names (see FORMATS) and return the path.

        scale: enlarge every pixel to scale x scale. Raises ValueError as `ClipWriter` does, before anything is written.
        """
        with ClipWriter(path, fps=self.fps, width=self.width, height=self.height, scale=scale) as writer:
            writer.write(self.frames)
        return writer.path

    def resize(self, width: int, height: int) -> "Clip":
        """The same clip, stretched to width x height with Pillow's antialiased Lanczos filter."""
        return self._each_frame(width, height, partial(Image.Image.resize, resample=Image.Resampling.LANCZOS))

    def crop_to(self, width: int, height: int) -> "Clip":
        """The middle of the clip, with its shape kept: scaled (Lanczos) to just cover width x height, then cut."""
        return self._each_frame(width, height, partial(ImageOps.fit, method=Image.Resampling.LANCZOS))

    def pad_to(self, width: int, height: int) -> "Clip":
        """The whole clip, with its shape kept: scaled (Lanczos) to just fit into width x height, black around it."""
        return self._each_frame(width, height, partial(ImageOps.pad, method=Image.Resampling.LANCZOS))

    def _each_frame(self, width: int, height: int, change: Callable[..., Image.Image]) -> "Clip":
        _check_size(width, height)
        changed = [np.asarray(change(Image.fromarray(frame), (width, height))) for frame in self.frames]
        return Clip(frames=np.stack(changed), fps=self.fps)

    def contact_sheet(self, columns: int | None = None) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
        """All frames in reading order on one picture, GAP white pixels apart; one frame is the picture itself.

        columns: frames in a row; by default, what leaves the fewest gaps in a sheet that is square or somewhat wider.
        """
        if columns is not None and columns < 1:
            raise ValueError(f"columns is {columns}; it must be at least 1, or None to let the sheet choose")
        columns = min(len(self), columns or self._columns_with_fewest_gaps())
        rows = math.ceil(len(self) / columns)
        down, right = self.height + GAP, self.width + GAP
        sheet = np.full((rows * down - GAP, columns * right - GAP, 3), BACKGROUND, np.uint8)
        for index, frame in enumerate(self.frames):
            top, left = index // columns * down, index % columns * right
            sheet[top : top + self.height, left : left + self.width] = frame
        return sheet

    def _columns_with_fewest_gaps(self) -> int:
        square = math.ceil(math.sqrt(len(self) * self.height / self.width))
        return min(range(square, square * 3 // 2 + 1), key=lambda columns: -len(self) % columns)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def height(self) -> int:
        return self.frames.shape[1]

    @property
    def width(self) -> int:
        return self.frames.shape[2]

    @property
    def seconds(self) -> float:
        return len(self) / self.fps


def _check_frames(frames: Any) -> None:
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        found = frames.dtype if isinstance(frames, np.ndarray) else type(frames).__name__
        raise ValueError(f"frames are {found}; give a numpy array of uint8, 0 to 255")
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"frames have shape {frames.shape}; give T x H x W x 3 with at least one frame and one pixel")


def _checked_fps(fps: Any) -> float:
    if not isinstance(fps, Real) or not 0 < float(fps) < math.inf:
        raise ValueError(f"fps is {fps!r}; give a finite number of frames per second above 0")
    return float(fps)


def _check_size(width: int, height: int) -> None:
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise ValueError(f"the size is {width}x{height}; give at least 1x1 and at most {MAX_PIXELS} pixels")


@dataclass(frozen=True, kw_only=True)
class VideoFormat:
    """A container, the encoders that suit it (the first one present is taken), and what they can hold."""

    container: str
    codecs: tuple[str, ...]
    pixels: str
    fastest_fps: float = 240.0
    widest: int = 16383
    codec_options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)

    def open(self, path: Path, fps: float, width: int, height: int) -> "_VideoSink":
        return _VideoSink(self, path, Fraction(fps).limit_denominator(1001), width, height)


@dataclass(frozen=True, kw_only=True)
class SheetFormat:
    """A contact sheet as PNG; of one frame, the image itself."""

    fastest_fps: float = math.inf
    widest: int = 65535

    def open(self, path: Path, fps: float, width: int, height: int) -> "_SheetSink":
        return _SheetSink(path, fps)


FORMATS: dict[str, VideoFormat | SheetFormat] = {
    # H.264 in 4:2:0 plays everywhere but holds even sizes only: an odd size is padded by repeating its last row or
    # column, and a comment in the file tells our reader to leave the padding out.
    ".mp4": VideoFormat(
        container="mp4",
        codecs=("libx264", "libopenh264"),
        pixels="yuv420p",
        codec_options={"crf": "16", "chroma_sample_location": "center"},
        container_options={"movflags": "+faststart"},
    ),
    ".webm": VideoFormat(
        container="webm",
        codecs=("libvpx-vp9", "libvpx"),
        pixels="yuv420p",
        codec_options={"crf": "18", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"},
    ),
    # A palette of 256 colours for each frame. Browsers slow down anything faster than 50 frames per second.
    ".gif": VideoFormat(container="gif", codecs=("gif",), pixels="pal8", fastest_fps=50.0, widest=65535),
    # Every pixel is kept. Against the default level of 4, files are 3% larger and written in a quarter of the time.
    ".webp": VideoFormat(
        container="webp",
        codecs=("libwebp",),
        pixels="bgra",
        codec_options={"lossless": "1", "compression_level": "1"},
        container_options={"loop": "0"},
    ),
    ".png": SheetFormat(),
}


def output_format(path: PathLike) -> VideoFormat | SheetFormat:
    """The format that the path's extension names. Raises ValueError, listing the known ones, for any other."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        found = f"the extension {suffix}" if suffix else "no extension"
        raise ValueError(f"{path} has {found}; end its name in one of {', '.join(FORMATS)}")
    return FORMATS[suffix]


def check_writable(path: PathLike) -> Path:
    """The path, if a clip can be saved there. Touches nothing, so that it can be asked before hours of work.

    Raises ValueError when the extension is unknown, the folder is missing or read-only, or something is in the way.
    """
    output_format(path)
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise ValueError(f"the folder {target.parent} does not exist; create it, or save {target.name} elsewhere")
    if os.path.exists(target) and not target.is_file():
        raise ValueError(f"{path} exists and is not a regular file; choose another name")
    try:
        target.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ValueError(f"{path} cannot be a file ({error.strerror}); choose another name") from error
    locked = [place for place in (target.parent, target) if os.path.exists(place) and not os.access(place, os.W_OK)]
    if locked:
        raise ValueError(f"{locked[0]} is not writable; change its permissions, or save elsewhere")
    return Path(path)


class ClipWriter:
    """Write a clip frame by frame: `with ClipWriter(...) as writer: writer.write(frames)`.

    The file appears under its name when the block ends well; until then it has a temporary name in the same folder, and
    when the block fails it is removed. An existing file is replaced only by a complete one.

    fps, width, height: of the frames that will be written. scale: enlarge every pixel to scale x scale.
    The constructor touches nothing. It raises ValueError as `check_writable` does, and when the format cannot hold the
    rate or the size.
    """

    def __init__(self, path: PathLike, *, fps: float, width: int, height: int, scale: int = 1) -> None:
        self.path = check_writable(path)
        self.fps = _checked_fps(fps)
        self.width, self.height, self.scale = width, height, scale
        self._format = output_format(path)
        self._check_scale_and_size()
        self._check_rate()

    def _check_scale_and_size(self) -> None:
        if self.scale < 1:
            raise ValueError(f"scale is {self.scale}; it must be a whole number of at least 1")
        _check_size(self.width * self.scale, self.height * self.scale)
        if max(self.width, self.height) * self.scale > self._format.widest:
            size = f"{self.width * self.scale}x{self.height * self.scale}"
            raise ValueError(
                f"{self.path} would be {size}; a side of {self.path.suffix} is {self._format.widest} at most"
            )

    def _check_rate(self) -> None:
        fastest = self._format.fastest_fps
        if not SLOWEST_FPS <= self.fps <= fastest:
            raise ValueError(f"fps is {self.fps:g}; {self.path.suffix} holds {SLOWEST_FPS} to {fastest:g}")

    def __enter__(self) -> "ClipWriter":
        self._written = 0
        self._temporary = Path(os.path.realpath(self.path)).with_name(f".{uuid.uuid4().hex}.part")
        size = self.width * self.scale, self.height * self.scale
        self._sink = self._format.open(self._temporary, self.fps, *size)
        return self

    def write(self, frames: np.ndarray) -> None:
        """Append one frame (H x W x 3) or several (T x H x W x 3). Raises ValueError unless uint8 and of our size."""
        frames = frames[None] if frames.ndim == 3 else frames
        _check_frames(frames)
        if frames.shape[1:3] != (self.height, self.width):
            found = f"{frames.shape[2]}x{frames.shape[1]}"
            raise ValueError(f"frames are {found}, {self.path} was opened for {self.width}x{self.height}; resize them")
        for frame in frames:
            self._sink.add(frame.repeat(self.scale, axis=0).repeat(self.scale, axis=1))
        self._written += len(frames)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if kind is None:
                self._finish()
            else:
                with suppress(Exception):
                    self._sink.close()
        finally:
            self._temporary.unlink(missing_ok=True)

    def _finish(self) -> None:
        self._sink.close()
        if not self._written:
            raise ValueError(f"no frame was written to {self.path}; write at least one")
        os.replace(self._temporary, os.path.realpath(self.path))


class _SheetSink:
    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, fps
        self._frames: list[np.ndarray] = []

    def add(self, frame: np.ndarray) -> None:
        if (len(self._frames) + 1) * frame.shape[0] * frame.shape[1] > MAX_PIXELS:
            raise ValueError(f"a contact sheet holds {MAX_PIXELS} pixels at most; write fewer frames, or an .mp4")
        self._frames.append(frame)

    def close(self) -> None:
        if self._frames:
            sheet = Clip(frames=np.stack(self._frames), fps=self._fps).contact_sheet()
            Image.fromarray(sheet).save(self._path, format="PNG")


class _VideoSink:
    def __init__(self, form: VideoFormat, path: Path, rate: Fraction, width: int, height: int) -> None:
        import av

        self._form, self._rate, self._count = form, rate, 0
        self._pad = (height % 2, width % 2) if form.container == "mp4" else (0, 0)
        codec = next((name for name in form.codecs if name in av.codecs_available), form.codecs[0])
        self._container: Any = av.open(str(path), "w", format=form.container, options=form.container_options)
        stream: Any = self._container.add_stream(codec, rate=rate, options=form.codec_options)
        stream.width, stream.height = width + self._pad[1], height + self._pad[0]
        stream.pix_fmt = form.pixels
        if any(self._pad):
            self._container.metadata["comment"] = SHOWN_SIZE.format(width, height)
        if form.pixels == "yuv420p":
            for tag in ("color_range", "colorspace", "color_primaries", "color_trc"):
                setattr(stream.codec_context, tag, 1)  # limited range, and BT.709 for the other three
        self._stream = stream

    def add(self, frame: np.ndarray) -> None:
        if any(self._pad):
            frame = np.pad(frame, ((0, self._pad[0]), (0, self._pad[1]), (0, 0)), mode="edge")
        picture = _PICTURE[self._form.pixels](frame)
        picture.pts, picture.duration, picture.time_base = self._count, 1, 1 / self._rate
        self._count += 1
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        if self._count:
            self._container.mux(self._stream.encode(None))
        self._container.close()


def _paletted(frame: np.ndarray) -> Any:
    from av import VideoFrame

    image = Image.fromarray(frame).quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette = np.full((256, 4), 255, np.uint8)  # alpha, red, green, blue
    palette[: len(colours), 1:] = colours
    return VideoFrame.from_ndarray((np.asarray(image), palette), format="pal8")  # type: ignore[arg-type]


def _bt709(frame: np.ndarray) -> Any:
    """YUV 4:2:0 of BT.709 and limited range, as the tags of the stream say."""
    from av import VideoFrame
    from av.video.reformatter import ColorRange, Colorspace

    return VideoFrame.from_ndarray(frame).reformat(
        format="yuv420p",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=SWSCALE_FLAGS,
    )


def _bgra(frame: np.ndarray) -> Any:
    from av import VideoFrame

    return VideoFrame.from_ndarray(frame).reformat(format="bgra")


_PICTURE: dict[str, Callable[[np.ndarray], Any]] = {"pal8": _paletted, "yuv420p": _bt709, "bgra": _bgra}
