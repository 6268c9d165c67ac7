"""Clip: what is written can be read back, and nothing that lies on a disk can hurt us."""

import numpy as np
import pytest

from kinetoken.clip import FORMATS, Clip


def moving_square(frames: int = 5, height: int = 24, width: int = 32) -> Clip:
    """A smooth background that a bright square crosses."""
    rows, columns = np.mgrid[:height, :width]
    background = np.stack([rows * 200 // height, columns * 200 // width, np.full_like(rows, 90)], axis=-1)
    pixels = np.repeat(background[None], frames, axis=0).astype(np.uint8)
    for index in range(frames):
        left = index * max(1, width - 6) // frames
        pixels[index, height // 3 : height // 3 + 6, left : left + 6] = (250, 230, 30)
    return Clip(frames=pixels, fps=8.0)


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMATS if suffix != ".png"])
def test_what_is_saved_is_read_back(tmp_path, suffix):
    clip = moving_square()
    back = Clip.read(clip.save(tmp_path / f"clip{suffix}"))
    assert back.frames.shape == clip.frames.shape
    assert back.fps == clip.fps
    assert np.abs(back.frames.astype(int) - clip.frames).mean() < 6


def test_a_png_is_the_contact_sheet(tmp_path):
    clip = moving_square(frames=6)
    assert np.array_equal(Clip.read(clip.save(tmp_path / "sheet.png")).frames[0], clip.contact_sheet())
