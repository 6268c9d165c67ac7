"""Loops of clips: which frames of a clip are made anew so that its end meets its beginning, how they join it, and where
a circle is cut."""

from dataclasses import dataclass
from math import ceil

import numpy as np

from kinetoken.clip import Clip
from kinetoken.grid import CellSize, layers_of_loop, picked
from kinetoken.joins import led_on, step_sizes

ALIKE = 16.0
"""By how much of 255 a pixel may differ from what it was for nothing of what the codec lost there to be lost again."""


@dataclass(frozen=True, kw_only=True)
class LoopPlan:
    """A clip on a circle of `layers` layers of codes, of which the last `anew` are not known. The first `kept` frames
    are the clip's own."""

    layers: int
    anew: int
    kept: int

    @classmethod
    def of_clip(cls, clip: Clip, cell: CellSize, seconds: float | None) -> "LoopPlan":
        """seconds: how much of the clip's end is made anew, at least; half of the clip if None.

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
        share = 0.5 if seconds is None else seconds / clip.seconds
        anew = min(ceil(share * layers), layers - 1)
        shown = picked(len(clip), layers * cell.frames)
        kept = int(np.searchsorted(shown, (layers - anew) * cell.frames))
        return cls(layers=layers, anew=anew, kept=kept)


def there_and_back(source: Clip, kept: int) -> Clip:
    """The source's first `kept` frames, then the same backwards until the second, evenly: what its beginning is like if
    something leads to it. A leap from an end that is going to be replaced is not that."""
    back = np.linspace(kept - 1, min(1, kept - 1), len(source) - kept + 1)[1:].round().astype(int)
    return Clip(frames=source.frames[[*range(kept), *back]], fps=source.fps)


def closed(source: Clip, made: Clip, *, kept: int, first: Clip) -> Clip:
    """The source's first `kept` frames, bit for bit, and what was made after them, at the source's size.

    The codec loses something of every frame, and at the two joins that would be seen as a step. What it lost of the
    last frame before the join and of the first frame after it is known: both are added to the new frames, fading from
    the one to the other, and only where a pixel is as it was there. The last of the new frames come to the first one no
    faster than the median pace. first: the source's first frame, as the codec has it.
    """
    made, first = (clip.resize(source.width, source.height) for clip in (made, first))
    new, joined = made.frames[kept:].astype(np.float32), made.frames[kept:].astype(np.float32)
    share = (np.arange(1, len(new) + 1, dtype=np.float32) / (len(new) + 1))[:, None, None, None]
    for lost_of, coded, fading in (
        (source.frames[kept - 1], made.frames[kept - 1], 1 - share),
        (source.frames[0], first.frames[0], share),
    ):
        pixels = coded.astype(np.float32)
        alike = (1 - np.abs(new - pixels).max(-1, keepdims=True) / ALIKE).clip(0)
        joined += fading * alike * (lost_of - pixels)
    joined = joined.round().clip(0, 255).astype(np.uint8)
    steps = step_sizes(np.concatenate((source.frames[:kept], joined)))
    pace = min(float(np.median(steps)), float(np.median(steps[: kept - 1]))) if kept > 1 else 0.0
    backwards = led_on(source.frames[0], joined[::-1], pace)
    return Clip(frames=np.concatenate((source.frames[:kept], backwards[::-1])), fps=source.fps)


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
