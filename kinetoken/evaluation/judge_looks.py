"""Shape, texture and radius of a blob: every look is rendered, and the one that explains the pixels best is taken.

A look is a shape with a texture. Where a look covers a pixel by c, and lets through the actor's colour L at the
strength s (c, less on its dark tone), the pixel before a background B is B - c B + s L. The squared difference from the
pixels p, summed over a patch with weights w, is linear in products of the patch and of the look,

    sum w |p - B|^2 + w |B|^2 c^2 + w |L|^2 s^2 + 2 w (p - B).B c - 2 w (p - B).L s - 2 w B.L c s,

so that one matrix product compares a patch with every look at every place, scale and angle.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from kinetoken.clip import Clip
from kinetoken.data.toybox import Actor, Background, BackgroundColour, Colour, Scene, Shape, Size, Texture, render
from kinetoken.data.toybox_scene import BACKGROUND_RGB, COLOUR_RGB, RADIUS
from kinetoken.evaluation.judge_background import Setting
from kinetoken.evaluation.judge_tracks import Blob

Look = tuple[Shape, Texture]
LOOKS: Final[tuple[Look, ...]] = tuple(product(Shape, Texture))
PATCH: Final = 14
"""Places along each side of a patch."""
REACH: Final = 3.3
"""From a patch's middle to its edge, in spreads: a ball's radius is 2 of them, a star's 2.9."""
SHIFTS: Final = (-0.5, 0.0, 0.5)
"""By how many spreads a look may lie off the blob's centre, either way: a blob that is cut off is lopsided."""
SCALES: Final = (0.75, 0.84, 0.92, 1.0, 1.08, 1.17, 1.34)
ANGLES: Final = 24
"""Of a full turn."""
TURNED_SCALES: Final = (1.0, 1.12)
ODDITY: Final = 0.02
TURN_ODDITY: Final = 0.01
LEVELS: Final = (2.5, 4.0, 6.5, 10.5, 17.0)
"""Radii, in pixels, for which looks are blurred as pixels blur them."""
PICTURE: Final = 512
"""Side of the pictures that looks are sampled from, in pixels; the actor's radius is 0.19 of that."""


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How a look lies on a patch: shift in spreads, right and down; scale against the blob's spread; angle."""

    right: float = 0.0
    down: float = 0.0
    scale: float = 1.0
    angle: float = 0.0

    @property
    def oddity(self) -> float:
        """What a pose must explain more than the plain one, as a share of the patch, to be preferred. What is cut off
        by the frame's edge may be a part of many things; it is taken to be the one that its pixels suggest."""
        steps = np.array([self.right / SHIFTS[-1], self.down / SHIFTS[-1], np.log(self.scale) / np.log(SCALES[-1])])
        return float(ODDITY * (steps @ steps) + (TURN_ODDITY if self.angle else 0.0))


UPRIGHT: Final = tuple(Pose(right=x, down=y, scale=s) for s, y, x in product(SCALES, SHIFTS, SHIFTS))
TURNED: Final = tuple(Pose(scale=s, angle=2 * np.pi * k / ANGLES) for s, k in product(TURNED_SCALES, range(ANGLES)))
POSES: Final = UPRIGHT + TURNED


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A look rendered large. cover and shade: c and s above, of PICTURE x PICTURE pixels.

    middle: from the actor's centre to the centre of its pixels (right, down), and spread: both in radii.
    """

    cover: Float[np.ndarray, "rows columns"]
    shade: Float[np.ndarray, "rows columns"]
    middle: tuple[float, float]
    spread: float


@dataclass(frozen=True, kw_only=True)
class Patches:
    """A blob's surroundings in every frame that shows it, as the sum above needs them.

    frames: their indices; energy: the constant term; features: the factors of c^2, s^2, c, s and c s, place by place.
    """

    frames: Int[np.ndarray, "seen"]
    energy: Float[np.ndarray, "seen"]
    features: Float[np.ndarray, "seen features"]

    def left_by_all(self, level: float, chosen: Int[np.ndarray, "chosen"]) -> Float[np.ndarray, "chosen looks poses"]:
        """The squared difference that every look in every pose leaves, as a share of that of the bare background."""
        return self._left(_bank(level), chosen).reshape(len(chosen), len(LOOKS), len(POSES))

    def left_by(self, look: Look, level: float) -> Float[np.ndarray, "seen poses"]:
        """Likewise, by one look in every frame."""
        first = LOOKS.index(look) * len(POSES)
        return self._left(_bank(level)[:, first : first + len(POSES)], slice(None))

    def _left(self, bank: Float[np.ndarray, "features templates"], chosen: slice | np.ndarray) -> np.ndarray:
        energy = np.maximum(self.energy[chosen, None], 1.0)
        return 1 + self.features[chosen] @ bank / energy


def cut_patches(clip: Clip, setting: Setting, blob: Blob) -> Patches:
    frames = np.flatnonzero(blob.seen)
    energy, features = _features(_sampled(clip, setting, blob, frames), blob.colour)
    return Patches(frames=frames, energy=energy, features=features)


def levels_of(blob: Blob) -> tuple[float, float]:
    """The blurs in which the blob's look may be found: as sharp as its size allows, and as a lossy clip is."""
    radius = float(np.median(blob.spread[blob.seen])) / 0.53
    sharp = min(range(1, len(LEVELS)), key=lambda i: abs(np.log(LEVELS[i] / max(radius, 1.0))))
    return LEVELS[sharp], LEVELS[sharp - 1]


def _sampled(clip: Clip, setting: Setting, blob: Blob, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, background and weights at the places of each frame's patch, between pixels interpolated."""
    places = _places()
    x = blob.x[frames, None] + blob.spread[frames, None] * places[:, 0] - 0.5
    y = blob.y[frames, None] + blob.spread[frames, None] * places[:, 1] - 0.5
    height, width = clip.height, clip.width
    inside = (x > -0.5) & (y > -0.5) & (x < width - 0.5) & (y < height - 0.5)
    left, top = (np.clip(np.floor(axis).astype(int), 0, size - 2) for axis, size in ((x, width), (y, height)))
    right, down = (np.clip(axis - low, 0, 1)[..., None].astype(np.float32) for axis, low in ((x, left), (y, top)))
    at = frames[:, None]
    views = at if len(setting.canvas) > 1 else np.zeros_like(at)
    pixels = sum(
        weight * clip.frames[at, top + dy, left + dx]
        for dy, dx, weight in (
            (0, 0, (1 - down) * (1 - right)),
            (0, 1, (1 - down) * right),
            (1, 0, down * (1 - right)),
            (1, 1, down * right),
        )
    )
    nearest = (top + (down[..., 0] > 0.5), left + (right[..., 0] > 0.5))
    background = setting.canvas[(views, *nearest)].astype(np.float32)
    weights = (inside & ~blob.beside[(at, *nearest)]).astype(np.float32)
    return pixels, background, weights


def _features(patches: tuple[np.ndarray, np.ndarray, np.ndarray], colour: Colour) -> tuple[np.ndarray, np.ndarray]:
    """Energy: the constant term of the sum above. Features: the factors of c^2, s^2, c, s and c s."""
    pixels, background, weights = patches
    light = np.array(COLOUR_RGB[colour], dtype=np.float32)
    off = pixels - background
    ones = np.ones(3, dtype=np.float32)
    columns = (
        (background**2) @ ones,
        np.full_like(weights, light @ light),
        2 * ((off * background) @ ones),
        -2 * (off @ light),
        -2 * (background @ light),
    )
    energy = (weights * ((off**2) @ ones)).sum(axis=1)
    return energy, np.concatenate([weights * column for column in columns], axis=1)


@lru_cache(maxsize=1)
def _places() -> Float[np.ndarray, "places 2"]:
    """(right, down) of a patch's places, in spreads."""
    steps = (np.arange(PATCH) + 0.5) / PATCH * 2 * REACH - REACH
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


@lru_cache(maxsize=len(LEVELS))
def _bank(level: float) -> Float[np.ndarray, "features templates"]:
    """c^2, s^2, c, s and c s at the places of a patch, of every look in every pose, look by look."""
    return np.concatenate([_templates(picture_of(look, level)) for look in LOOKS], axis=1)


def _templates(picture: Picture) -> Float[np.ndarray, "features poses"]:
    right, down, scale, angle = (
        np.array([getattr(pose, name) for pose in POSES]) for name in ("right", "down", "scale", "angle")
    )
    x, y = (picture.spread * (scale * _places()[:, axis, None] + shift) for axis, shift in enumerate((right, down)))
    cos, sin = np.cos(angle), np.sin(angle)  # anticlockwise, with y downwards
    x, y = cos * x - sin * y + picture.middle[0], sin * x + cos * y + picture.middle[1]
    column, row = (
        np.clip(axis * RADIUS[Size.BIG] * PICTURE + PICTURE / 2, 0, PICTURE - 1).astype(int) for axis in (x, y)
    )
    cover, shade = picture.cover[row, column], picture.shade[row, column]
    return np.concatenate([cover**2, shade**2, cover, shade, cover * shade])


@lru_cache(maxsize=len(LOOKS) * len(LEVELS))
def picture_of(look: Look, level: float) -> Picture:
    """The look as pixels of 1 / level radii show it."""
    shape, texture = look
    actor = Actor(shape=shape, colour=Colour.WHITE, size=Size.BIG, texture=texture)
    dark, pale = BackgroundColour.BLACK, BackgroundColour.BEIGE
    over = {
        colour: render(
            Scene(actors=(actor,), background=Background(colours=(colour,))), frames=1, width=PICTURE, height=PICTURE
        )
        .frames[0, ..., 0]
        .astype(np.float32)
        for colour in (dark, pale)
    }
    behind = {colour: float(BACKGROUND_RGB[colour][0]) for colour in over}
    cover = 1 - (over[pale] - over[dark]) / (behind[pale] - behind[dark])
    shade = (over[dark] - behind[dark] * (1 - cover)) / COLOUR_RGB[Colour.WHITE][0]
    pixel = RADIUS[Size.BIG] * PICTURE / level
    rows, columns = (np.indices(cover.shape) + 0.5 - PICTURE / 2) / (RADIUS[Size.BIG] * PICTURE)
    middle_x, middle_y = (float((cover * axis).sum() / cover.sum()) for axis in (columns, rows))
    squared = (columns - middle_x) ** 2 + (rows - middle_y) ** 2
    return Picture(
        cover=_blurred(cover, pixel),
        shade=_blurred(shade, pixel),
        middle=(middle_x, middle_y),
        spread=float(((cover * squared).sum() / cover.sum() / 2) ** 0.5),
    )


def _blurred(picture: Float[np.ndarray, "rows columns"], pixel: float) -> Float[np.ndarray, "rows columns"]:
    """Averaged over a pixel, and again over the pixels between which a patch interpolates."""
    for _ in range(2):
        for axis in (0, 1):
            picture = _averaged(picture, max(1, round(pixel)), axis)
    return picture.astype(np.float32)


def _averaged(picture: np.ndarray, length: int, axis: int) -> np.ndarray:
    """Mean over `length` neighbours along an axis."""
    before = length // 2 + 1
    pads = [(before, length - before + 1) if i == axis else (0, 0) for i in (0, 1)]
    sums = np.cumsum(np.pad(picture.astype(np.float64), pads, mode="edge"), axis=axis)
    size = picture.shape[axis]
    ahead, behind = np.take(sums, range(length, length + size), axis=axis), np.take(sums, range(size), axis=axis)
    return (ahead - behind) / length
