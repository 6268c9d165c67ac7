"""Where the pixels of each actor's colour are, frame by frame."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int8, UInt8

from kinetoken.clip import Clip
from kinetoken.data.toybox import Colour
from kinetoken.evaluation.judge_background import Setting
from kinetoken.evaluation.judge_palette import COLOURS, colour_labels

Mask = Bool[np.ndarray, "frames height width"]
Times = Float[np.ndarray, "frames"]

OFF_BACKGROUND: Final = 28
"""Levels, in any channel, by which a pixel must differ from the background to belong to an actor."""
NEIGHBOURS: Final = 4
"""Pixels of its colour, itself included, that a pixel must have among the nine around it: no speck, no blurred edge."""
SMALLEST_AREA: Final = 8
"""Pixels of an actor's colour that make a frame count as showing it."""
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


def find_blobs(clip: Clip, setting: Setting) -> dict[Colour, Blob]:
    """The blobs of every palette colour that the clip shows, in one frame at least."""
    labels = colour_labels(clip.frames)
    labels[~_off_background(clip.frames, setting.canvas)] = -1
    hues = labels % len(COLOURS)
    hues[labels < 0] = -1
    counts = np.bincount(hues[hues >= 0], minlength=len(COLOURS))
    found = {i: _without_specks(hues == i) for i in np.flatnonzero(counts >= SMALLEST_AREA)}
    blobs = [_blob(COLOURS[i], mask, [other for j, other in found.items() if j != i]) for i, mask in found.items()]
    return {blob.colour: blob for blob in blobs if blob.seen.any()}


def _off_background(
    frames: UInt8[np.ndarray, "frames height width 3"], canvas: UInt8[np.ndarray, "views height width 3"]
) -> Mask:
    off = np.maximum(frames, canvas) - np.minimum(frames, canvas)
    return np.maximum(np.maximum(off[..., 0], off[..., 1]), off[..., 2]) > OFF_BACKGROUND


def _without_specks(mask: Mask) -> Mask:
    return mask & (_sum_around(mask) >= NEIGHBOURS)


def _sum_around(mask: Mask) -> Int8[np.ndarray, "frames height width"]:
    """How many of the 3 x 3 pixels around each are in the mask."""
    total = mask.astype(np.int8)
    for axis in (1, 2):
        line = np.moveaxis(total, axis, 0).copy()
        line[1:] += np.moveaxis(total, axis, 0)[:-1]
        line[:-1] += np.moveaxis(total, axis, 0)[1:]
        total = np.moveaxis(line, 0, axis)
    return total


def _blob(colour: Colour, mask: Mask, others: list[Mask]) -> Blob:
    columns, rows = mask.sum(axis=1, dtype=np.float32), mask.sum(axis=2, dtype=np.float32)
    area = columns.sum(axis=1).astype(float)
    x, variance_x = _moments(columns)
    y, variance_y = _moments(rows)
    cut = mask[:, [0, -1]].any(axis=(1, 2)) | mask[:, :, [0, -1]].any(axis=(1, 2))
    beside = np.zeros_like(mask)
    for other in others:
        beside |= _sum_around(other) > 0
    cut |= (mask & (_sum_around(beside) > 0)).any(axis=(1, 2))
    seen = area >= max(SMALLEST_AREA, SMALLEST_SHARE * area.max())
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


def _moments(counts: Float[np.ndarray, "frames places"]) -> tuple[Times, Times]:
    """Mean and variance of the coordinate (of pixel centres) of the counted pixels."""
    places = np.arange(counts.shape[1]) + 0.5
    total = np.maximum(counts.sum(axis=1), 1)
    mean = counts @ places / total
    return mean, np.maximum(counts @ places**2 / total - mean**2, 0.0)
