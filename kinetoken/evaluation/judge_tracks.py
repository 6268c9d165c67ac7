"""Where the pixels of each actor's colour are, frame by frame."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, UInt8

from kinetoken.clip import Clip
from kinetoken.data.toybox import Colour
from kinetoken.data.toybox_render import DARK_TONE
from kinetoken.data.toybox_scene import COLOUR_RGB
from kinetoken.evaluation.judge_background import Setting
from kinetoken.evaluation.judge_palette import COLOURS, colour_labels

Mask = Bool[np.ndarray, "frames height width"]
Times = Float[np.ndarray, "frames"]

OFF_BACKGROUND: Final = 28
"""Levels, in any channel, by which a pixel must differ from the background to belong to an actor."""
NEIGHBOURS: Final = 4
"""Pixels of its colour, itself included, that a pixel must have among the nine around it: no speck, no blurred edge."""
SOLID: Final = 8
"""Likewise, that SMALLEST_AREA pixels of the clip must have: blurred edges between two others are thinner than that."""
STRAY: Final = 2.7
"""Times the median distance from the middle that a pixel may be away: a star's tips are at 2.4, a triangle's at 2.6."""
SMALLEST_AREA: Final = 8
"""Pixels of an actor's colour that make a frame count as showing it."""
LEAST_TONE: Final = 0.5
"""How light an actor must be, on the way from its dark to its light tone, as a share of what is usual in the clip. A
ghost, which lossy clips leave where something was a moment ago, is as large as what it is of, but dark or pale."""
SMALLEST_SHARE: Final = 0.05
"""Likewise, as a share of its largest area in the clip. Growing multiplies areas by 6.25."""


@dataclass(frozen=True, kw_only=True)
class Blob:
    """The pixels of one colour over time, in pixels, y downwards.

    spread: their standard deviation about the centre, the root of the mean over both axes.
    beside: where other actors are, and next to them.
    clear: nothing cuts the blob off: it is not at the frame's edge, nor beside another actor.
    """

    colour: Colour
    x: Times
    y: Times
    spread: Times
    area: Times
    seen: Bool[np.ndarray, "frames"]
    clear: Bool[np.ndarray, "frames"]
    mask: Mask
    beside: Mask


@dataclass(frozen=True, kw_only=True)
class Regions:
    """The pixels of every palette colour that the clip shows.

    solid: the colours that are more somewhere than a blurred edge between two others, which may be of any colour.
    """

    masks: dict[Colour, Mask]
    solid: frozenset[Colour]


def find_regions(clip: Clip, setting: Setting) -> Regions:
    labels = colour_labels(clip.frames)
    labels[~_off_background(clip.frames, setting.canvas)] = -1
    hues = labels % len(COLOURS)
    hues[labels < 0] = -1
    counts = np.bincount(hues[hues >= 0], minlength=len(COLOURS))
    found = {colour: hues == hue for hue, colour in enumerate(COLOURS) if counts[hue] >= SMALLEST_AREA}
    around = {colour: _sum_around(mask) for colour, mask in found.items()}
    return Regions(
        masks={colour: mask & (around[colour] >= NEIGHBOURS) for colour, mask in found.items()},
        solid=frozenset(colour for colour, sums in around.items() if np.count_nonzero(sums >= SOLID) >= SMALLEST_AREA),
    )


def _off_background(
    frames: UInt8[np.ndarray, "frames height width 3"], canvas: UInt8[np.ndarray, "views height width 3"]
) -> Mask:
    off = np.maximum(frames, canvas) - np.minimum(frames, canvas)
    return np.maximum(np.maximum(off[..., 0], off[..., 1]), off[..., 2]) > OFF_BACKGROUND


def _sum_around(mask: Mask) -> Int8[np.ndarray, "frames height width"]:
    """How many of the 3 x 3 pixels around each are in the mask."""
    rows = mask.astype(np.int8)
    rows[:, 1:] += mask[:, :-1]
    rows[:, :-1] += mask[:, 1:]
    total = rows.copy()
    total[:, :, 1:] += rows[:, :, :-1]
    total[:, :, :-1] += rows[:, :, 1:]
    return total


def find_blob(clip: Clip, regions: Regions, colour: Colour) -> Blob | None:
    """The blob of this colour; None if no frame shows enough of it."""
    if colour not in regions.masks or not regions.masks[colour].any():
        return None
    mask = _without_strays(regions.masks[colour])
    columns, rows = mask.sum(axis=1, dtype=np.float32), mask.sum(axis=2, dtype=np.float32)
    area = columns.sum(axis=1).astype(float)
    seen = area >= max(SMALLEST_AREA, SMALLEST_SHARE * area.max())
    if not seen.any():
        return None
    tone = _tone(clip, colour, mask)
    seen &= tone >= LEAST_TONE * np.percentile(tone[seen], 80)
    x, variance_x = _moments(columns)
    y, variance_y = _moments(rows)
    beside = np.zeros_like(mask)
    for other in regions.solid - {colour}:
        beside |= _sum_around(regions.masks[other]) > 0
    cut = mask[:, [0, -1]].any(axis=(1, 2)) | mask[:, :, [0, -1]].any(axis=(1, 2))
    cut |= (mask & (_sum_around(beside) > 0)).any(axis=(1, 2))
    return Blob(
        colour=colour,
        x=x,
        y=y,
        spread=np.sqrt((variance_x + variance_y) / 2),
        area=area,
        seen=seen,
        clear=seen & ~cut,
        mask=mask,
        beside=beside,
    )


def _tone(clip: Clip, colour: Colour, mask: Mask) -> Times:
    """Mean tone of the masked pixels of each frame: 0 of the dark one, 1 of the light one."""
    frame, row, column = np.nonzero(mask)
    light = np.array(COLOUR_RGB[colour], dtype=np.float32)
    tone = (clip.frames[frame, row, column] @ (light / (light @ light))).clip(DARK_TONE, 1) - DARK_TONE
    return np.bincount(frame, tone / (1 - DARK_TONE), len(mask)) / np.maximum(
        np.bincount(frame, minlength=len(mask)), 1
    )


def _without_strays(mask: Mask) -> Mask:
    """The mask without what lies far from the median of its pixels in the same frame."""
    frame, row, column = np.nonzero(mask)
    counts = np.bincount(frame, minlength=len(mask))
    distance = np.hypot(*(axis - _medians(axis, frame, counts)[frame] for axis in (row, column)))
    far = distance > STRAY * _medians(distance, frame, counts)[frame] + 1
    kept = mask.copy()
    kept[frame[far], row[far], column[far]] = False
    return kept


def _medians(values: np.ndarray, frame: Int[np.ndarray, "pixels"], counts: Int[np.ndarray, "frames"]) -> Times:
    """Median value of each frame's pixels; anything where there are none."""
    middle = np.minimum(np.cumsum(counts) - (counts + 1) // 2, len(values) - 1)
    return values[np.lexsort((values, frame))][middle].astype(float)


def _moments(counts: Float[np.ndarray, "frames places"]) -> tuple[Times, Times]:
    """Mean and variance of the coordinate (of pixel centres) of the counted pixels."""
    places = np.arange(counts.shape[1]) + 0.5
    total = np.maximum(counts.sum(axis=1), 1)
    mean = counts @ places / total
    return mean, np.maximum(counts @ places**2 / total - mean**2, 0.0)
