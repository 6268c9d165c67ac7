"""Parts of a clip, at the size that a model sees: a stretch of time, and a window of the picture."""

import numpy as np
from jaxtyping import Int

from kinetoken.clip import Clip


def starts(length: int, frames: int, count: int) -> Int[np.ndarray, " starts"]:
    """First frames of at most `count` different stretches of `frames`, evenly spaced over `length`; none, if it is
    shorter."""
    if length < frames:
        return np.zeros(0, np.int64)
    return np.unique(np.linspace(0, length - frames, count).round().astype(np.int64))


def window(clip: Clip, width: int, height: int, rng: np.random.Generator | None) -> Clip:
    """A window of the shape of width x height, resized to it. rng: draws its size, from the whole picture down to as
    many pixels as are wanted, and its place; if None, it is as large as fits and in the middle."""
    if rng is None:
        return clip.crop_to(width, height)
    largest = min(clip.width / width, clip.height / height)
    scale = rng.uniform(min(1.0, largest), largest)
    across, down = round(scale * width), round(scale * height)
    left, top = rng.integers(0, clip.width - across + 1), rng.integers(0, clip.height - down + 1)
    return Clip(frames=clip.frames[:, top : top + down, left : left + across], fps=clip.fps).resize(width, height)


def crops(width: int, height: int, to_width: int, to_height: int, count: int) -> int:
    """How many of `count` windows differ: one, of a picture that has not more pixels than are wanted."""
    return count if width > to_width and height > to_height else 1


def stretch(clip: Clip, start: int, frames: int) -> Clip:
    """`frames` frames from the one at `start`."""
    return Clip(frames=clip.frames[start : start + frames], fps=clip.fps)
