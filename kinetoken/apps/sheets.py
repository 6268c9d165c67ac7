"""Sheets: many clips on one picture, to be looked at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from kinetoken.clip import Clip

_BLACK, _RED, _WHITE = (0, 0, 0), (255, 40, 40), (255, 255, 255)


def save_sheet(
    clips: Sequence[Clip],
    path: Path,
    *,
    frames: int = 6,
    scale: int = 2,
    across: int = 2,
    marks: Sequence[bool] | None = None,
    below: Sequence[Clip] = (),
) -> None:
    """A strip of evenly spaced frames for each clip, `across` strips beside each other. marks: False frames a clip in
    red. below: a clip to stand under each, framed in white."""
    marks = [True] * len(clips) if marks is None else marks
    strips = [_strip(clip, frames, _BLACK if mark else _RED) for clip, mark in zip(clips, marks, strict=True)]
    if below:
        pairs = zip(strips, below, strict=True)
        strips = [np.concatenate([strip, _strip(clip, frames, _WHITE)]) for strip, clip in pairs]
    height, width = max(strip.shape[0] for strip in strips), max(strip.shape[1] for strip in strips)
    sheet = np.zeros((-(-len(strips) // across) * height, across * width, 3), dtype=np.uint8)
    for number, strip in enumerate(strips):
        top, left = number // across * height, number % across * width
        sheet[top : top + strip.shape[0], left : left + strip.shape[1]] = strip
    Image.fromarray(sheet.repeat(scale, 0).repeat(scale, 1)).save(path)


def _strip(clip: Clip, frames: int, edge: tuple[int, int, int]) -> np.ndarray:
    times = np.linspace(0, len(clip.frames) - 1, frames).round().astype(int)
    tiles = []
    for frame in clip.frames[times]:
        tile = np.full((frame.shape[0] + 2, frame.shape[1] + 2, 3), edge, dtype=np.uint8)
        tile[1:-1, 1:-1] = frame
        tiles.append(tile)
    return np.concatenate(tiles, axis=1)
