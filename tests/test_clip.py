"""Clip: what is written can be read back, and nothing that lies on a disk can hurt us."""

import os
import socket
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import jaxtyping
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import kinetoken.clip
import kinetoken.media
from kinetoken.clip import FORMATS, Clip, ClipWriter, MediaError, check_writable, open_frames, output_format

MOVING = [suffix for suffix in FORMATS if suffix != ".png"]
LOSSLESS = {".webp", ".png"}
WHITE, RED, GREEN, BLUE = (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)
SATURATED = [RED, GREEN, BLUE, (255, 255, 0), (0, 255, 255), (255, 0, 255), WHITE, (0, 0, 0), (200, 30, 90)]


def examples(count: int) -> settings:
    """The same few examples on every run; they may share a temporary folder."""
    shared_folder = [HealthCheck.function_scoped_fixture]
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=shared_folder)


# ------------------------------------------------------------------------------------------------- things to work with


def flat(colour, frames: int = 1, height: int = 16, width: int = 16, fps: float = 8.0) -> Clip:
    return Clip(frames=np.full((frames, height, width, 3), colour, np.uint8), fps=fps)


def waves(frames: int = 5, height: int = 24, width: int = 32, fps: float = 8.0) -> Clip:
    """Smooth colours that drift, so that every frame differs from every other."""
    time, row, column = np.ogrid[:frames, :height, :width]
    red = np.sin(column / 9 + time / 2) + 0 * row
    green = np.cos(row / 8 - time / 3) + 0 * column
    blue = np.sin((row + column) / 12 + time / 4)
    return Clip(frames=(128 + 100 * np.stack([red, green, blue], axis=-1)).astype(np.uint8), fps=fps)


def four_corners(height: int = 32, width: int = 48) -> np.ndarray:
    """Red and green above, blue and white below: every turn and flip of it looks different."""
    picture = np.empty((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    picture[:top, :left], picture[:top, left:], picture[top:, :left], picture[top:, left:] = RED, GREEN, BLUE, WHITE
    return picture


def mean_difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other).mean())


def encode(path: Path, codec: str, pixels: str, pictures: Sequence, times: Iterable[int], rate: int = 10) -> Path:
    """A file as other programs make them: any codec, pixel format and time stamps (in milliseconds)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.pix_fmt, stream.codec_context.time_base = pixels, Fraction(1, 1000)
        stream.height, stream.width = pictures[0].shape[:2]
        for picture, time in zip(pictures, times, strict=True):
            form = "rgba" if picture.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(picture, format=form).reformat(format=pixels)
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def boxes_grown(data: bytearray, kinds: Iterable[bytes], extra: int) -> None:
    for kind in kinds:
        at = data.index(kind) - 4
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + extra)


# ------------------------------------------------------------------------------------------------------------ the value


def test_a_clip_knows_its_size_and_its_length():
    clip = waves(frames=6, height=20, width=30, fps=12.0)
    assert (len(clip), clip.height, clip.width, clip.fps, clip.seconds) == (6, 20, 30, 12.0, 0.5)


@pytest.fixture
def as_installed(monkeypatch):
    """Without the type checks that only our tests turn on."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), None, "fast"])
def test_a_rate_must_be_a_number_above_zero(fps):
    with pytest.raises(ValueError, match="fps is"):
        Clip(frames=np.zeros((1, 2, 2, 3), np.uint8), fps=fps)


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((1, 2, 2, 3)),
        np.zeros((2, 2, 3), np.uint8),
        np.zeros((1, 2, 2, 4), np.uint8),
        np.zeros((0, 2, 2, 3), np.uint8),
        np.zeros((1, 0, 2, 3), np.uint8),
        [[0]],
    ],
    ids=["float", "no time", "four channels", "no frame", "no row", "a list"],
)
def test_frames_must_be_bytes_of_shape_t_h_w_3(frames):
    with pytest.raises(ValueError, match=r"frames (are|have)"):
        Clip(frames=frames, fps=8.0)


def test_resize_stretches_and_crop_to_keeps_the_shape():
    clip = Clip(frames=four_corners(32, 64)[None], fps=8.0)
    stretched, cropped = clip.resize(32, 32), clip.crop_to(32, 32)
    assert (stretched.width, stretched.height, cropped.width, cropped.height) == (32, 32, 32, 32)
    assert mean_difference(stretched.frames[0], four_corners(32, 32)) < 5
    assert mean_difference(cropped.frames[0], four_corners(32, 64)[:, 16:48]) == 0


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (10**6, 10**6)])
def test_resize_refuses_impossible_sizes(size):
    with pytest.raises(ValueError, match="the size is"):
        waves().resize(*size)


def test_a_contact_sheet_shows_the_frames_in_reading_order():
    clip = waves(frames=5, height=8, width=10)
    sheet = clip.contact_sheet(columns=3)
    assert sheet.shape == (8 + 2 + 8, 10 + 2 + 10 + 2 + 10, 3)
    assert np.array_equal(sheet[:8, 12:22], clip.frames[1])
    assert np.array_equal(sheet[10:, :10], clip.frames[3])
    assert (sheet[8:10] == 255).all()
    assert (sheet[10:, 24:] == 255).all()


@pytest.mark.parametrize(
    ("frames", "grid"), [(1, (1, 1)), (4, (2, 2)), (5, (2, 3)), (16, (4, 4)), (17, (3, 6)), (33, (5, 7))]
)
def test_a_contact_sheet_chooses_a_square_or_somewhat_wider_grid(frames, grid):
    height, width = waves(frames=frames, height=30, width=30).contact_sheet().shape[:2]
    assert ((height + 2) // 32, (width + 2) // 32) == grid


def test_a_contact_sheet_of_one_frame_is_that_frame():
    assert np.array_equal(waves(frames=1, height=40).contact_sheet(), waves(frames=1, height=40).frames[0])
    with pytest.raises(ValueError, match="columns is 0"):
        waves().contact_sheet(columns=0)


# ----------------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("suffix", MOVING)
@pytest.mark.parametrize("fps", [8.0, 12.5, 24.0, 24000 / 1001, 30.0, 50.0])
def test_what_is_saved_is_read_back(tmp_path, suffix, fps):
    clip = waves(frames=24, fps=fps)
    back = Clip.read(clip.save(tmp_path / f"clip{suffix.upper()}"))
    assert mean_difference(back.frames, clip.frames) < (6 if suffix == ".gif" else 3)
    assert back.fps == pytest.approx(fps, rel=0.01)


@pytest.mark.parametrize("suffix", MOVING)
@examples(15)
@given(frames=st.integers(1, 12), height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_any_length_and_size_comes_back_exactly(tmp_path, suffix, frames, height, width, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    back = Clip.read(Clip(frames=noise, fps=8.0).save(tmp_path / f"clip{suffix}"))
    assert back.frames.shape == noise.shape
    assert suffix not in LOSSLESS or np.array_equal(back.frames, noise)


@pytest.mark.parametrize("suffix", MOVING)
@examples(6)
@given(frames=st.integers(1, 12), rate=st.floats(0.01, 240))
def test_any_rate_keeps_every_frame(tmp_path, suffix, frames, rate):
    fps = min(rate, FORMATS[suffix].fastest_fps)
    back = Clip.read(waves(frames=frames, fps=fps).save(tmp_path / f"clip{suffix}"))
    assert len(back) == frames


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_image_is_a_clip_of_one_frame(tmp_path, suffix):
    clip = waves(frames=1)
    back = Clip.read(clip.save(tmp_path / f"image{suffix}"))
    assert mean_difference(back.frames, clip.frames) <= (0 if suffix in LOSSLESS else 6)
    assert back.fps == 8.0


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("colour", SATURATED)
def test_saturated_colours_survive(tmp_path, suffix, colour):
    back = Clip.read(flat(colour, height=17, width=15).save(tmp_path / f"flat{suffix}"))
    assert np.abs(back.frames.astype(int) - colour).max() <= 3


def test_a_still_scene_keeps_all_its_frames(tmp_path):
    for suffix in MOVING:
        assert len(Clip.read(flat(RED, frames=10).save(tmp_path / f"still{suffix}"))) == 10


@pytest.mark.parametrize("suffix", FORMATS)
def test_scale_enlarges_every_pixel(tmp_path, suffix):
    clip = Clip(frames=four_corners(10, 14)[None], fps=8.0)
    back = Clip.read(clip.save(tmp_path / f"large{suffix}", scale=3))
    assert mean_difference(back.frames[0], clip.frames[0].repeat(3, axis=0).repeat(3, axis=1)) < 8


def test_an_odd_mp4_is_padded_in_the_file_and_cropped_by_us(tmp_path):
    path = waves(height=31, width=17).save(tmp_path / "odd.mp4")
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.height, frame.width, frame.format.name) == (32, 18, "yuv420p")
        assert (
            mean_difference(frame.to_ndarray(format="rgb24")[:31, 17], waves(height=31, width=17).frames[0, :, 16]) < 9
        )
    assert Clip.read(path).frames.shape == (5, 31, 17, 3)


def test_an_mp4_is_made_to_play_everywhere(tmp_path):
    path = waves().save(tmp_path / "clip.mp4")
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "it can start playing before it is all there"
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt, codec.colorspace, codec.color_range) == ("h264", "yuv420p", 1, 1)


def test_a_png_is_the_contact_sheet(tmp_path):
    clip = waves(frames=6)
    assert np.array_equal(Clip.read(clip.save(tmp_path / "sheet.png")).frames[0], clip.contact_sheet())


def test_ten_thousand_frames_are_read_in_little_memory(tmp_path):
    greys = np.arange(10_000) // 50
    frames = greys[:, None, None, None].repeat(16, axis=1).repeat(16, axis=2).repeat(3, axis=3).astype(np.uint8)
    path = encode(tmp_path / "long.mov", "rawvideo", "rgb24", frames, range(0, 100_000, 10), rate=100)
    tracemalloc.start()
    with open_frames(path) as stream:
        found = [int(frame[0, 0, 0]) for frame in stream]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(found, greys)
    assert most < 2 * 2**20, "all frames together are 7.3 MiB"


@pytest.mark.parametrize("suffix", MOVING)
def test_frames_are_written_in_little_memory(tmp_path, suffix):
    tracemalloc.start()
    with ClipWriter(tmp_path / f"clip{suffix}", fps=25.0, width=96, height=96) as writer:
        for grey in range(150):
            writer.write(np.full((96, 96, 3), grey, np.uint8))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20, "all frames together are 4 MiB"


def test_a_stream_can_be_left_early_and_says_its_size_first(tmp_path):
    path = waves(frames=8, height=18, width=22).save(tmp_path / "clip.webm")
    with open_frames(path) as stream:
        assert (stream.width, stream.height, stream.fps) == (22, 18, 8.0)
        assert next(iter(stream)).shape == (18, 22, 3)
    assert list(stream)[1:] == []


def test_an_error_of_the_reader_of_a_stream_is_its_own(tmp_path):
    with pytest.raises(KeyError), open_frames(waves().save(tmp_path / "clip.mp4")) as stream:
        for _ in stream:
            raise KeyError


def test_reading_stops_at_max_frames(tmp_path):
    path = waves(frames=8).save(tmp_path / "clip.webp")
    assert np.array_equal(Clip.read(path, max_frames=3).frames, waves(frames=8).frames[:3])
    assert len(Clip.read(path, max_frames=100)) == 8
    with pytest.raises(ValueError, match="max_frames is 0"):
        Clip.read(path, max_frames=0)


def test_a_clip_beyond_the_memory_budget_is_refused_with_a_way_out(tmp_path, monkeypatch):
    path = waves(frames=8).save(tmp_path / "clip.webp")
    monkeypatch.setattr(kinetoken.clip, "MAX_CLIP_BYTES", 3 * 24 * 32 * 3)
    with pytest.raises(ValueError, match="max_frames=3 or fewer"):
        Clip.read(path)
    assert len(Clip.read(path, max_frames=3)) == 3


# -------------------------------------------------------------------------------------------- files from other programs


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mov", "mpeg4", "yuv420p"),
        ("a.mov", "prores_ks", "yuv422p10le"),
        ("a.mkv", "libx264", "yuv444p"),
        ("a.mkv", "ffv1", "gray"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.avi", "rawvideo", "bgr24"),
        ("a.mp4", "libx265", "yuv420p10le"),
    ],
)
def test_other_containers_and_codecs(tmp_path, name, codec, pixels):
    clip = waves(frames=6, height=64, width=64)
    back = Clip.read(encode(tmp_path / name, codec, pixels, clip.frames, range(0, 600, 100)))
    assert back.fps == pytest.approx(10, rel=0.01)
    expected = clip.frames.mean(axis=-1, keepdims=True).repeat(3, axis=-1) if pixels == "gray" else clip.frames
    assert mean_difference(back.frames, expected) < (40 if pixels == "gray" else 10)


def test_a_variable_rate_becomes_its_average_and_frames_are_held(tmp_path):
    greys = [0, 50, 100, 150, 200]
    pictures = [np.full((16, 16, 3), grey, np.uint8) for grey in greys]
    clip = Clip.read(encode(tmp_path / "variable.mp4", "libx264", "yuv420p", pictures, [0, 100, 200, 300, 800]))
    shown = [greys[int(np.abs(np.array(greys) - frame.mean()).argmin())] for frame in clip.frames]
    assert clip.fps == 5.0
    assert shown == [0, 100, 150, 150, 200]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_that_rests_on_its_last_frame(tmp_path, suffix):
    first, *others = [Image.new("RGB", (12, 10), colour) for colour in (RED, GREEN, BLUE)]
    delays = [100, 100, 300]
    first.save(tmp_path / f"a{suffix}", save_all=True, append_images=others, duration=delays, lossless=True)
    clip = Clip.read(tmp_path / f"a{suffix}")
    assert clip.fps == 10.0
    assert [tuple(map(int, frame[0, 0])) for frame in clip.frames] == [RED, GREEN, BLUE, BLUE, BLUE]


def test_an_endless_last_frame_is_cut_short(tmp_path):
    first, last = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)
    first.save(tmp_path / "rests.gif", save_all=True, append_images=[last], duration=[10, 600_000])
    clip = Clip.read(tmp_path / "rests.gif")
    assert (clip.fps, len(clip)) == (100.0, 1 + 5 * 100)


@pytest.mark.parametrize("tick", [1e-9, 1e-3, 0.125, 1e6])
@pytest.mark.parametrize("told", [0.0, 1e-6, 8.0, 1e9])
def test_no_clock_makes_a_few_frames_many(tick, told):
    for starts in ([], [0.0], [0.0, tick], [0.0, tick, 3 * tick], [5 * tick, 0.0]):
        fps = kinetoken.media._fps(starts, tick, told)
        assert 0 < fps <= 1000
        assert (max(starts, default=0.0) - min(starts, default=0.0)) * fps <= len(starts) + 1


def test_transparency_is_laid_over_white_or_what_is_said(tmp_path):
    half = np.full((16, 16, 4), (255, 0, 0, 128), np.uint8)
    pink, mask = (255, 127, 127), Image.fromarray(half)
    mask.save(tmp_path / "rgba.png")
    mask.save(tmp_path / "rgba.webp", lossless=True)
    encode(tmp_path / "rgba.mov", "qtrle", "argb", [half] * 3, [0, 100, 200])
    for name in ("rgba.png", "rgba.webp", "rgba.mov"):
        assert np.abs(Clip.read(tmp_path / name).frames.astype(int) - pink).max() <= 1, name
        with open_frames(tmp_path / name, over=(0, 0, 255)) as stream:
            assert np.abs(next(iter(stream)).astype(int) - (128, 0, 127)).max() <= 1, name
    clear = Image.new("P", (4, 4), 0)
    clear.putpalette([255, 0, 0])
    clear.save(tmp_path / "clear.gif", transparency=0)
    assert (Clip.read(tmp_path / "clear.gif").frames == 255).all()


@pytest.mark.parametrize(
    ("turns", "matrix"),
    [(3, (0, 1, 0, -1, 0, 0)), (2, (-1, 0, 0, 0, -1, 0)), (1, (0, -1, 0, 1, 0, 0))],
    ids=["quarter right", "half", "quarter left"],
)
def test_a_phone_held_sideways(tmp_path, turns, matrix):
    picture = four_corners()
    path = encode(tmp_path / "phone.mp4", "libx264", "yuv420p", [picture] * 3, [0, 100, 200])
    data = bytearray(path.read_bytes())
    struct.pack_into(">6i", data, data.index(b"tkhd") + 44, *(part << 16 for part in matrix))
    path.write_bytes(data)
    assert mean_difference(Clip.read(path).frames[0], np.rot90(picture, turns)) < 12


def test_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned a quarter to the left
    Image.fromarray(four_corners()).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert mean_difference(Clip.read(tmp_path / "turned.jpg").frames[0], np.rot90(four_corners(), 3)) < 5


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png(tmp_path, mode):
    grey = np.tile(np.linspace(0, 255, 16).astype(np.uint8), (16, 1))
    if mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(np.where(grey > 99, 255, 0).astype(np.uint8) if mode == "1" else grey).convert(mode)
    picture.save(tmp_path / "a.png")
    expected = np.where(grey > 99, 255, 0) if mode == "1" else grey
    assert mean_difference(Clip.read(tmp_path / "a.png").frames[0], expected[..., None].repeat(3, axis=-1)) < 1


@pytest.mark.parametrize(("name", "mode"), [("a.jpg", "L"), ("a.jpg", "CMYK"), ("a.jpg", "RGB"), ("a.bmp", "RGB")])
def test_every_kind_of_photo(tmp_path, name, mode):
    Image.new("RGB", (20, 10), (200, 60, 90)).convert(mode).save(tmp_path / name, quality=95)
    found = Clip.read(tmp_path / name).frames
    expected = (105, 105, 105) if mode == "L" else (200, 60, 90)
    assert found.shape == (1, 10, 20, 3) and np.abs(found.astype(int) - expected).max() <= 3


def test_a_video_whose_frames_change_size_keeps_the_first_size(tmp_path):
    with av.open(str(tmp_path / "grows.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
        for index, size in enumerate([32, 64, 48]):
            Image.new("RGB", (size, size), RED).save(tmp_path / "frame.jpg", quality=95)
            packet = av.Packet((tmp_path / "frame.jpg").read_bytes())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, Fraction(1, 10)
            packet.is_keyframe = True
            container.mux(packet)
    assert Clip.read(tmp_path / "grows.avi").frames.shape == (3, 32, 32, 3)


# ------------------------------------------------------------------------------------- files that are not what they say


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_renamed_file_is_read_for_what_it_is(tmp_path, suffix):
    path = waves().save(tmp_path / f"clip{suffix}")
    expected = Clip.read(path).frames
    for other in (".mp4", ".png", ".txt", ""):
        assert np.array_equal(Clip.read(path.rename(tmp_path / f"renamed{other}")).frames, expected)
        path = tmp_path / f"renamed{other}"


def test_what_does_not_exist_or_is_no_file_is_a_value_error(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.mp4"))
    (tmp_path / "nowhere.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    for path, words in {
        tmp_path / "missing.mp4": "does not exist",
        tmp_path / "nowhere.mp4": "does not exist",
        tmp_path / "loop.mp4": "loop.mp4",
        tmp_path / "nul\0.mp4": "nul",
        tmp_path / ("long" * 100): "cannot be read",
        tmp_path: "is a folder",
        tmp_path / "pipe.mp4": "not a regular file",
        tmp_path / "socket.mp4": "not a regular file",
        Path("/dev/zero"): "not a regular file",
    }.items():
        with pytest.raises(ValueError, match=words):
            Clip.read(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_an_unreadable_file_is_a_value_error(tmp_path):
    path = waves().save(tmp_path / "clip.mp4")
    path.chmod(0)
    with pytest.raises(ValueError, match="Permission denied"):
        Clip.read(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_truncation_escapes(tmp_path, suffix):
    data = waves().save(tmp_path / f"clip{suffix}").read_bytes()
    for kept in [0, 1, 11, 12, 40, len(data) // 3, len(data) // 2, len(data) - 1]:
        (tmp_path / "cut").write_bytes(data[:kept])
        try:
            clip = Clip.read(tmp_path / "cut")
        except MediaError as error:
            assert str(tmp_path / "cut") in str(error)
        else:
            assert len(clip) <= 5


PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile {target}\n",
    "concat": "file '{target}'\n",
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash": '<?xml version="1.0"?><MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>',
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{target}"/></svg>',
    "eps": "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({target}) run\n",
    "image list": "P6 4 4 255\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".gif", ".ffconcat"])
def test_a_text_that_names_another_file_is_not_followed(tmp_path, kind, suffix):
    target = waves().save(tmp_path / "secret.mp4")
    path = tmp_path / f"list{suffix}"
    path.write_text(PLAYLISTS[kind].format(target=target))
    with pytest.raises(ValueError, match="it must be mp4, mov"):
        Clip.read(path)


def with_samples_elsewhere(mov: bytes, target: Path) -> bytes:
    """The same movie, but its `dref` is a Macintosh alias that says: the samples are in `target`."""
    name = str(target).encode()
    alias = bytes(10) + b"\x03vol".ljust(28, b"\0") + bytes(12) + bytes([4]) + b"name".ljust(63, b"\0") + bytes(16)
    alias += (
        struct.pack(">hh16x", 1, 1) + struct.pack(">HH", 2, len(name)) + name + bytes(len(name) % 2) + b"\xff\xff\0\0"
    )
    dref = struct.pack(">II4sI", 1, len(alias) + 12, b"alis", 0) + alias
    dref = struct.pack(">I4sI", len(dref) + 12, b"dref", 0) + dref
    data, at = bytearray(mov), mov.index(b"dref") - 4
    size = struct.unpack_from(">I", data, at)[0]
    boxes_grown(data, (b"moov", b"trak", b"mdia", b"minf", b"dinf"), len(dref) - size)
    data[at : at + size] = dref
    return bytes(data)


def test_a_mov_may_not_take_its_samples_from_another_file(tmp_path):
    clip = waves(frames=3, height=32, width=32)
    secret = encode(tmp_path / "secret.mov", "mpeg4", "yuv420p", clip.frames, [0, 100, 200])
    thief = tmp_path / "thief.mov"
    thief.write_bytes(with_samples_elsewhere(secret.read_bytes(), secret))
    with av.open(str(thief), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert len(list(container.decode(video=0))) == 3, "the trap works where it is allowed to"
    with pytest.raises(ValueError, match="no frame that can be decoded"):
        Clip.read(thief)


@pytest.mark.parametrize("brand", [b"avif", b"heic", b"mif1"])
def test_heif_pictures_are_not_taken_for_videos(tmp_path, brand):
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(100))
    with pytest.raises(ValueError, match="convert it first"):
        Clip.read(tmp_path / "photo.heic")


# ------------------------------------------------------------------------------------------------------------ too large


def png_that_claims(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(bytes(100))
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, pixels)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("size", [(8193, 8192), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_tiny_png_that_claims_to_be_huge(tmp_path, size):
    (tmp_path / "bomb.png").write_bytes(png_that_claims(*size))
    with pytest.raises(ValueError, match=r"bomb.png (has frames of|cannot be read)"):
        Clip.read(tmp_path / "bomb.png")


def test_a_tiny_avi_that_claims_to_be_huge(tmp_path):
    path = encode(tmp_path / "bomb.avi", "mjpeg", "yuvj420p", waves(height=16, width=16).frames, range(5))
    data = bytearray(path.read_bytes())
    struct.pack_into("<ii", data, data.index(b"strf") + 12, 30_000, 30_000)
    path.write_bytes(data.replace(b"\xff\xc0\x00\x11\x08\x00\x10\x00\x10", b"\xff\xc0\x00\x11\x08\x75\x30\x75\x30"))
    with pytest.raises(ValueError, match=r"bomb.avi (has frames of|cannot be read)"):
        Clip.read(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_measured_before_it_is_decoded(tmp_path, suffix, monkeypatch):
    path = waves(height=64, width=64).save(tmp_path / f"clip{suffix}")
    monkeypatch.setattr(kinetoken.media, "MAX_PIXELS", 64 * 63)
    with pytest.raises(ValueError, match="has frames of"):
        Clip.read(path)


def test_an_animation_of_too_many_pixels(tmp_path, monkeypatch):
    path = waves(frames=5).save(tmp_path / "clip.gif")
    monkeypatch.setattr(kinetoken.media, "MAX_ANIMATION_PIXELS", 4 * 24 * 32)
    with pytest.raises(ValueError, match="has 5 frames of 32x24; convert it to mp4"):
        Clip.read(path)


# ----------------------------------------------------------------------------------------------------------------- fuzz


@examples(60)
@given(
    magic=st.sampled_from([b"", *(bytes(offset) + magic for offset, magic, _ in kinetoken.media._MAGIC)]),
    tail=st.binary(max_size=400),
)
def test_random_bytes_raise_nothing_but_media_error(tmp_path, magic, tail):
    (tmp_path / "random").write_bytes(magic + tail)
    with pytest.raises(MediaError):
        Clip.read(tmp_path / "random")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@examples(25)
@given(data=st.data())
def test_damaged_files_raise_nothing_but_media_error(tmp_path, suffix, data):
    content = bytearray(waves().save(tmp_path / f"clip{suffix}").read_bytes())
    places = st.one_of(st.integers(0, 200), st.integers(0, 2**20))  # an encoder's output may differ in length
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=20)):
        content[place % len(content)] = value
    (tmp_path / "damaged").write_bytes(content)
    try:
        Clip.read(tmp_path / "damaged", max_frames=50)
    except MediaError as error:
        assert "damaged" in str(error)


# ------------------------------------------------------------------------------------------------- mistakes when saving


@pytest.mark.parametrize("name", ["clip", "clip.mkv", "clip.jpeg", ".mp4", "clip.mp4.txt"])
def test_an_unknown_extension_lists_the_known_ones(tmp_path, name):
    for attempt in (output_format, check_writable, waves().save):
        with pytest.raises(ValueError, match=r"\.mp4, \.webm, \.gif, \.webp, \.png"):
            attempt(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_places_where_nothing_can_be_saved(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe.gif")
    before = sorted(tmp_path.rglob("*"))
    for name in ("no/clip.mp4", "file/clip.mp4", "folder.mp4", "pipe.gif", "x" * 300 + ".mp4", "nul\0.mp4"):
        with pytest.raises(ValueError):
            waves().save(tmp_path / name)
        assert sorted(tmp_path.rglob("*")) == before


def test_a_locked_folder_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path)
    with pytest.raises(ValueError, match="is not writable"):
        check_writable(tmp_path / "clip.mp4")


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("a.mp4", {"fps": 0.0}, "fps is 0"),
        ("a.gif", {"fps": 60.0}, "fps is 60; .gif holds 0.01 to 50"),
        ("a.mp4", {"fps": 0.001}, "fps is 0.001"),
        ("a.mp4", {"width": 0}, "0x16"),
        ("a.mp4", {"scale": 0}, "scale is 0"),
        ("a.mp4", {"width": 20_000}, "20000x16"),
        ("a.webp", {"scale": 1100}, "17600x17600"),
        ("a.gif", {"scale": 10**6}, "the size is"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_any_work(tmp_path, name, arguments, words):
    with pytest.raises(ValueError, match=words):
        ClipWriter(tmp_path / name, **{"fps": 8.0, "width": 16, "height": 16, **arguments})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_failure_leaves_nothing_behind_and_the_old_file_alone(tmp_path, suffix):
    old = waves().save(tmp_path / f"clip{suffix}")
    content = old.read_bytes()
    for path in (old, tmp_path / f"new{suffix}"):
        with pytest.raises(KeyError), ClipWriter(path, fps=8.0, width=32, height=24) as writer:
            writer.write(waves().frames)
            raise KeyError
    assert old.read_bytes() == content
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_writer_that_was_given_no_frame(tmp_path, suffix):
    with (
        pytest.raises(ValueError, match="no frame was written"),
        ClipWriter(tmp_path / f"clip{suffix}", fps=8.0, width=4, height=4),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_size_or_kind_are_refused(tmp_path):
    for frames in (np.zeros((4, 6, 3), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8)):
        with (
            pytest.raises(ValueError, match=r"frames (are|have)"),
            ClipWriter(tmp_path / "clip.mp4", fps=8.0, width=4, height=4) as writer,
        ):
            writer.write(frames)
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_of_too_many_frames_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(kinetoken.clip, "MAX_PIXELS", 4 * 24 * 32)
    with pytest.raises(ValueError, match="a contact sheet holds"):
        waves(frames=5).save(tmp_path / "sheet.png")
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_the_target_of_a_link_and_obeys_the_umask(tmp_path):
    real = waves(frames=1).save(tmp_path / "real.mp4")
    (tmp_path / "link.mp4").symlink_to(real)
    umask = os.umask(0o027)
    try:
        waves(frames=3).save(tmp_path / "link.mp4")
    finally:
        os.umask(umask)
    assert (tmp_path / "link.mp4").is_symlink()
    assert len(Clip.read(real)) == 3
    assert real.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["%03d.mp4", "file:a.mp4", "concat:a|b.gif", "-i.webp", "ünï ☃.webm", "a?b#c.png"])
def test_names_that_other_programs_would_interpret(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(Clip.read(waves(frames=1).save(name))) == 1
    assert os.listdir(tmp_path) == [name]


def test_importing_the_module_opens_neither_the_network_nor_the_decoders():
    code = "import sys, kinetoken.clip; print(any(name in sys.modules for name in ('torch', 'av')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_frames_at_another_rate_are_the_nearest_ones(tmp_path: Path) -> None:
    pixels = np.zeros((24, 8, 8, 3), np.uint8) + np.arange(24, dtype=np.uint8)[:, None, None, None] * 10
    path = Clip(frames=pixels, fps=24.0).save(tmp_path / "clip.webp")
    for fps, wanted in ((8.0, range(0, 24, 3)), (10.0, [0, 2, 5, 7, 10, 12, 14, 17, 19, 22])):
        with open_frames(path, fps=fps) as stream:
            assert stream.fps == fps and round(stream.own_fps) == 24
            assert [int(frame[0, 0, 0]) // 10 for frame in stream] == list(wanted)
    with open_frames(path, fps=48.0) as stream:
        assert len(list(stream)) in (47, 48)
    image = Clip(frames=pixels[5:6], fps=1.0).save(tmp_path / "image.png")
    with open_frames(image, fps=60.0) as stream:
        assert len(list(stream)) == 1


def test_frames_may_be_decoded_smaller_but_cover_what_is_asked(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 128, dtype=np.uint8)[None, None, :, None], (6, 64, 128, 3))
    path = Clip(frames=np.ascontiguousarray(ramp), fps=8.0).save(tmp_path / "clip.mp4")
    with open_frames(path, cover=(20, 20)) as stream:
        frames = list(stream)
        assert (stream.width, stream.height, stream.own_size) == (40, 20, (128, 64)) and len(frames) == 6
    wanted = Clip(frames=np.ascontiguousarray(ramp), fps=8.0).resize(40, 20).frames
    assert np.abs(np.stack(frames).astype(int) - wanted).mean() < 3
    with open_frames(path, cover=(500, 20)) as stream:
        assert (stream.width, stream.height) == (128, 64)


def test_an_open_file_is_read_like_a_path(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    path = Clip(frames=pixels, fps=8.0).save(tmp_path / "clip.webp")
    with path.open("rb") as file:
        assert (Clip.read(file).frames == pixels).all()
