"""Media that tests make: tiny, and different from each other."""

from pathlib import Path

import numpy as np

from kinetoken.clip import Clip


def moving(seed: int, frames: int = 8, side: int = 24, fps: float = 8.0) -> Clip:
    """A bright square that goes across a dark ground of its own colour."""
    rng = np.random.default_rng(seed)
    pixels = np.tile(rng.integers(0, 90, 3, dtype=np.uint8), (frames, side, side, 1))
    colour, row = rng.integers(160, 256, 3, dtype=np.uint8), int(rng.integers(0, side - 8))
    for time, frame in enumerate(pixels):
        left = time * (side - 8) // max(1, frames - 1)
        frame[row : row + 8, left : left + 8] = colour
    return Clip(frames=pixels, fps=fps)


def flat(value: int, frames: int = 8, side: int = 24) -> Clip:
    return Clip(frames=np.full((frames, side, side, 3), value, np.uint8), fps=8.0)


def write_mixed(folder: Path) -> None:
    """Two good clips and a picture, and one file for every reason to drop one."""
    folder.mkdir()
    moving(0).save(folder / "a red square.webp")
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 4)
    flat(3).save(folder / "dark.webp")
    moving(1).save(folder / "good.mp4")
    moving(0).save(folder / "once more.webp")
    moving(2, frames=1).save(folder / "picture.png")
    moving(3, frames=3).save(folder / "short.gif")
    flat(120).save(folder / "still.webp")
    (folder / "words.webm").write_text("#EXTM3U\nfile:///etc/passwd\n")
