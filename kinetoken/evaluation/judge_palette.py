"""Which actor colour a pixel has, light or dark tone."""

from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Int8, UInt8

from kinetoken.data.toybox import Colour
from kinetoken.data.toybox_render import DARK_TONE
from kinetoken.data.toybox_scene import COLOUR_RGB

COLOURS: Final = tuple(Colour)
LIGHT_REACH: Final = 70.0
"""Farthest a pixel may be, in RGB, from an actor's colour to be told as that colour."""
DARK_REACH: Final = 40.0
"""Likewise from its dark tone. Dark tones are closer to each other: 53 at the least."""
LIGHT_FROM: Final = 0.75
"""Tone from which a pixel is light. Blurred textures have all tones from DARK_TONE to 1."""
LEVELS: Final = 32
"""Steps per channel of the table that colours are looked up in."""


def colour_labels(frames: UInt8[np.ndarray, "*places 3"]) -> Int8[np.ndarray, "*places"]:
    """Index into COLOURS of the colour that a pixel has; of a dark tone, that plus len(COLOURS); of no colour, -1."""
    red, green, blue = (frames[..., channel].astype(np.uint16) >> 3 for channel in range(3))
    return _table()[(red << 10) | (green << 5) | blue]


@lru_cache(maxsize=1)
def _table() -> Int8[np.ndarray, "entries"]:
    """The label of every colour, each channel in LEVELS steps: that of the nearest line from a dark to a light tone."""
    steps = (np.arange(LEVELS, dtype=np.float32) + 0.5) * (256 / LEVELS)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    light = np.array([COLOUR_RGB[colour] for colour in COLOURS], dtype=np.float32)
    tone = np.clip(grid @ light.T / (light**2).sum(axis=1), DARK_TONE, 1)
    distance = np.sqrt(((grid[:, None] - tone[..., None] * light) ** 2).sum(axis=-1))
    reach = DARK_REACH + (tone - DARK_TONE) / (1 - DARK_TONE) * (LIGHT_REACH - DARK_REACH)
    best = (distance / reach).argmin(axis=1)
    rows = np.arange(len(grid))
    labels = best + np.where(tone[rows, best] < LIGHT_FROM, len(COLOURS), 0)
    return np.where(distance[rows, best] <= reach[rows, best], labels, -1).astype(np.int8)
