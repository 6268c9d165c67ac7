"""Which actor colour a pixel has, light or dark tone."""

from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Float, Int8, UInt8

from kinetoken.data.toybox import Colour
from kinetoken.data.toybox_render import DARK_TONE
from kinetoken.data.toybox_scene import COLOUR_RGB

COLOURS: Final = tuple(Colour)
LIGHT_REACH: Final = 70.0
"""Farthest a pixel may be, in RGB, from an actor's colour to be told as that colour."""
DARK_REACH: Final = 40.0
"""Likewise from its dark tone. Dark tones are closer to each other: 53 at the least."""
LEVELS: Final = 32
"""Steps per channel of the table that colours are looked up in."""


def tones() -> Float[np.ndarray, "tones 3"]:
    """The palette's light tones, then its dark ones, in the order of COLOURS."""
    light = np.array([COLOUR_RGB[colour] for colour in COLOURS], dtype=np.float32)
    return np.concatenate([light, light * np.float32(DARK_TONE)])


def colour_labels(frames: UInt8[np.ndarray, "*places 3"]) -> Int8[np.ndarray, "*places"]:
    """Index into `tones` of the tone that a pixel has, or -1."""
    red, green, blue = (frames[..., channel].astype(np.uint16) >> 3 for channel in range(3))
    return _table()[(red << 10) | (green << 5) | blue]


@lru_cache(maxsize=1)
def _table() -> Int8[np.ndarray, "entries"]:
    steps = (np.arange(LEVELS, dtype=np.float32) + 0.5) * (256 / LEVELS)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    distances = np.sqrt(((grid - tones()) ** 2).sum(axis=-1))
    reach = np.repeat((LIGHT_REACH, DARK_REACH), len(COLOURS))
    best = (distances / reach).argmin(axis=1)
    inside = np.take_along_axis(distances, best[:, None], axis=1)[:, 0] <= reach[best]
    return np.where(inside, best, -1).astype(np.int8)
