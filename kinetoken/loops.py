"""Loops of clips: which frames of a clip are made anew so that its end meets its beginning, how they join it, and where
a circle is cut."""

from dataclasses import dataclass
from math import ceil

import numpy as np

from kinetoken.clip import Clip
from kinetoken.grid import CellSize, layers_of_loop, picked
from kinetoken.joins import step_sizes


@dataclass(frozen=True, kw_only=True)
class LoopPlan:
    """A clip on a circle of `layers` layers of codes, of which the last `anew` are not known. The first `kept` frames
    are the clip's own."""

    layers: int
    anew: int
    kept: int

    @classmethod
    def of_clip(cls, clip: Clip, cell: CellSize, seconds: float | None) -> "LoopPlan":
        """seconds: how much of the clip's end is made anew, at least; a quarter of the clip if None.

        Raises: ValueError for a clip that is too short, or seconds that leave nothing to keep or to make.
        """
        layers = layers_of_loop(len(clip), cell)
        if layers < 2:
            raise ValueError(
                f"a clip of {len(clip)} frames is too short to be made a loop: give {cell.frames + 1} at least"
            )
        if seconds is not None and not 0 < seconds < clip.seconds:
            raise ValueError(
                f"a loop's new end must be shorter than the clip's {clip.seconds:g} s, found {seconds:g} s"
            )
        share = 0.25 if seconds is None else seconds / clip.seconds
        anew = min(ceil(share * layers), layers - 1)
        shown = picked(len(clip), layers * cell.frames)
        kept = int(np.searchsorted(shown, (layers - anew) * cell.frames))
        return cls(layers=layers, anew=anew, kept=kept)


def closed(source: Clip, made: Clip, *, kept: int) -> Clip:
    """The source's first `kept` frames, bit for bit, and what was made after them, at the source's size.

    The codec loses something of every frame, and at the two joins that would be seen as a step. What it lost of the
    last frame before the join and of the first frame after it is known: both are added to the new frames, fading from
    the one to the other.
    """
    if (made.width, made.height) != (source.width, source.height):
        made = made.resize(source.width, source.height)
    before, after = (
        source.frames[index].astype(np.float32) - made.frames[index].astype(np.float32) for index in (kept - 1, 0)
    )
    count = len(source) - kept
    share = (np.arange(1, count + 1, dtype=np.float32) / (count + 1))[:, None, None, None]
    joined = made.frames[kept:] + (1 - share) * before + share * after
    frames = np.concatenate((source.frames[:kept], joined.round().clip(0, 255).astype(np.uint8)))
    return Clip(frames=frames, fps=source.fps)


def cut(circle: Clip) -> Clip:
    """A circle of frames, begun where that shows least: at the frame nearest to its first to which the step is no
    larger than the median step of the rest. A circle has no end; a player that goes back to its first frame has to
    stop for a moment, and any other place of it would do as well."""
    steps = step_sizes(np.concatenate((circle.frames[-1:], circle.frames)))
    count = len(steps)
    for begin in sorted(range(count), key=lambda k: min(k, count - k)):
        rest = np.delete(steps, begin)
        if not len(rest) or steps[begin] <= np.median(rest):
            return Clip(frames=np.roll(circle.frames, -begin, axis=0), fps=circle.fps)
    raise AssertionError("the smallest step of all is no larger than the median of the others")


def seam(clip: Clip) -> tuple[float, float]:
    """(the step from the last frame to the first, the median step of the clip): mean absolute differences of pixels in
    [0, 255]."""
    last_to_first = float(step_sizes(clip.frames[[-1, 0]])[0])
    return last_to_first, float(np.median(step_sizes(clip.frames))) if len(clip) > 1 else last_to_first


def loops(clip: Clip) -> bool:
    """Whether the step from the last frame to the first is no larger than the median step."""
    last_to_first, median = seam(clip)
    return last_to_first <= median
