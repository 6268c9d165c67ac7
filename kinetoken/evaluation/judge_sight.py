"""What is to be seen of one actor: its look, and its track in the world."""

from dataclasses import dataclass
from operator import itemgetter
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from kinetoken.clip import Clip
from kinetoken.data.toybox import Colour, Motion, Shape, Size, Speed, Texture, camera_path
from kinetoken.data.toybox_scene import GROWTH, GROWTH_SECONDS, PACE, RADIUS
from kinetoken.evaluation.judge_background import Setting, recognise_setting
from kinetoken.evaluation.judge_looks import (
    ANGLES,
    LOOKS,
    POSES,
    SCALES,
    SHIFTS,
    UPRIGHT,
    Look,
    Patches,
    Picture,
    cut_patches,
    levels_of,
    picture_of,
)
from kinetoken.evaluation.judge_motion import Kind, Track, recognise_motion
from kinetoken.evaluation.judge_tracks import Blob, find_blob, find_regions

LEFT_SHOWN: Final = 0.5
"""Share of a patch that the best look may leave unexplained, for there to be an actor: less than 0.2 in rendered clips,
0.4 in lossy ones; more than 0.5 of what is only the edge of something else, or a ghost."""
SHARP_ENOUGH: Final = 0.05
"""Likewise, if blurred looks need not be tried."""
FRAMES_TRIED: Final = 9
FRAMES: Final = 5
"""Of the frames tried, so many count: those that are explained best."""

SIZE_SHOWN: Final = 1.35
"""Times that a radius may be off that of its size. Sizes are 1.45 times apart."""
ROUND: Final = (Shape.BALL, Shape.RING)

Values = Float[np.ndarray, "seen"]

ODDITIES: Final = np.array([pose.oddity for pose in POSES])


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What one actor is seen to be; None where it is nothing that has a name.

    size: at the clip's beginning; left: share of its patch that is left unexplained.
    """

    colour: Colour
    shape: Shape
    texture: Texture
    size: Size | None
    motion: Motion | None
    speed: Speed | None
    track: Track
    left: float


class Witness:
    """Has seen one clip, and can be asked about it again and again. midway: it is a part of a longer one, and what is
    going on may have begun before."""

    def __init__(self, clip: Clip, *, midway: bool = False) -> None:
        self.clip, self.midway = clip, midway
        self.setting = recognise_setting(clip)
        self._regions = find_regions(clip, self.setting)
        self._sights: dict[Colour, Sight | None] = {}

    @property
    def by_size(self) -> list[Colour]:
        """The colours that the clip may show an actor in, the smallest area first."""
        return sorted(self._regions.solid, key=lambda colour: self._regions.masks[colour].sum())

    def sight(self, colour: Colour) -> Sight | None:
        """What is seen of the actor of this colour; None if the clip does not show it."""
        if colour not in self._sights:
            blob = find_blob(self.clip, self._regions, colour)
            found = _see(self.clip, self.setting, blob, self.midway) if blob else None
            self._sights[colour] = found if found and found.left < LEFT_SHOWN else None
        return self._sights[colour]


def _see(clip: Clip, setting: Setting, blob: Blob, midway: bool) -> Sight:
    patches = cut_patches(clip, setting, blob)
    chosen = _clearest(blob, patches.frames)
    sharp, blurred = levels_of(blob)
    level, look, left = _best_look(patches, sharp, chosen)
    if left > SHARP_ENOUGH:
        level, look, left = min((level, look, left), _best_look(patches, blurred, chosen), key=itemgetter(2))
    track = _track(clip, setting, blob, patches, look, level)
    kind = recognise_motion(track, setting.background, midway=midway)
    return Sight(
        colour=blob.colour,
        shape=look[0],
        texture=look[1],
        size=_size(track, kind),
        motion=kind and kind[0],
        speed=kind and kind[1],
        track=track,
        left=left,
    )


def _best_look(patches: Patches, level: float, chosen: Int[np.ndarray, "chosen"]) -> tuple[float, Look, float]:
    """The level, the look that explains the chosen frames best at it, and the mean share that this leaves."""
    by_frame = (patches.left_by_all(level, chosen) + ODDITIES).min(axis=2)
    fitting = np.argsort(by_frame.min(axis=1))[:FRAMES]
    left = by_frame[fitting].mean(axis=0)
    best = int(left.argmin())
    return level, LOOKS[best], float(left[best])


def _size(track: Track, kind: Kind | None) -> Size | None:
    """The size that is nearest to the radius at the clip's beginning; None if that is none of them."""
    motion, speed = kind or (Motion.STILL, Speed.USUAL)
    power = {Motion.GROWS: 1.0, Motion.SHRINKS: -1.0}.get(motion, 0.0)
    growth = GROWTH ** (power * np.minimum(track.times * PACE[speed] / GROWTH_SECONDS, 1.0))
    radius = float(np.median((track.radius / growth)[track.clear if track.clear.any() else track.seen]))
    size = nearest_size(radius)
    return size if abs(np.log(radius / RADIUS[size])) < np.log(SIZE_SHOWN) else None


def nearest_size(radius: float) -> Size:
    return min(Size, key=lambda size: abs(np.log(radius / RADIUS[size])))


def _clearest(blob: Blob, frames: Int[np.ndarray, "seen"]) -> Int[np.ndarray, "chosen"]:
    """Indices into `frames` of those where the blob is clear, or else of all: the larger ones, as many as are tried."""
    clear = np.flatnonzero(blob.clear[frames])
    clear = clear if len(clear) else np.arange(len(frames))
    large = clear[blob.spread[frames][clear] >= np.median(blob.spread[frames][clear])]
    return large[np.unique(np.linspace(0, len(large) - 1, FRAMES_TRIED).round().astype(int))]


def _track(clip: Clip, setting: Setting, blob: Blob, patches: Patches, look: Look, level: float) -> Track:
    """Where the look lies in every frame, in the world's units."""
    count, frames = len(clip), patches.frames
    left = patches.left_by(look, level)
    x, y, pixels = _placed(blob, frames, picture_of(look, level), left)
    times, short = np.arange(count) / clip.fps, min(clip.width, clip.height)
    camera = camera_path(setting.camera, times)
    zoom = camera.zoom[frames] * short
    place, radius, turned = np.zeros(count, dtype=complex), np.ones(count), np.zeros((count, ANGLES))
    place.real[frames] = (x - clip.width / 2) / zoom + camera.x[frames]
    place.imag[frames] = (clip.height - short / 2 - y) / zoom + 0.5
    radius[frames] = pixels / zoom
    angles = left[:, len(UPRIGHT) :].reshape(len(frames), -1, ANGLES).min(axis=1)
    if not (look[0] in ROUND and look[1] == Texture.PLAIN):
        turned[frames] = angles - angles.min(axis=1, keepdims=True)
    return Track(
        times=times,
        place=place,
        radius=radius,
        seen=blob.seen,
        clear=blob.clear,
        area=blob.area,
        turned=turned,
        shape=look[0],
        size=nearest_size(float(np.median(radius[frames]))),
        view=(clip.width / short, clip.height / short),
    )


def _placed(
    blob: Blob, frames: Int[np.ndarray, "seen"], picture: Picture, left: Float[np.ndarray, "seen poses"]
) -> tuple[Values, Values, Values]:
    """Centre (x and y) and radius of the look, in pixels, in its best pose; between upright poses, interpolated."""
    best = (left + ODDITIES).argmin(axis=1)
    right, down, scale, angle = (
        np.array([getattr(pose, name) for pose in POSES])[best] for name in ("right", "down", "scale", "angle")
    )
    upright = np.flatnonzero(best < len(UPRIGHT))
    table = (left + ODDITIES)[upright, : len(UPRIGHT)].reshape(-1, len(SCALES), len(SHIFTS), len(SHIFTS))
    rows = np.arange(len(upright))
    at_scale, at_down, at_right = np.unravel_index(best[upright], table.shape[1:])
    scale[upright] = np.exp(_lowest(np.log(SCALES), table[rows, :, at_down, at_right], at_scale))
    down[upright] = _lowest(np.array(SHIFTS), table[rows, at_scale, :, at_right], at_down)
    right[upright] = _lowest(np.array(SHIFTS), table[rows, at_scale, at_down, :], at_right)
    spread, (middle_x, middle_y) = blob.spread[frames], picture.middle
    cos, sin = np.cos(angle), np.sin(angle)
    across = (cos * middle_x + sin * middle_y) / picture.spread
    along = (cos * middle_y - sin * middle_x) / picture.spread
    return (
        blob.x[frames] - spread * (across + right) / scale,
        blob.y[frames] - spread * (along + down) / scale,
        spread / (scale * picture.spread),
    )


def _lowest(
    steps: Float[np.ndarray, "steps"], values: Float[np.ndarray, "rows steps"], best: Int[np.ndarray, "rows"]
) -> Values:
    """Where the parabola through each row's best step and its neighbours is lowest."""
    rows = np.arange(len(values))
    inner = np.clip(best, 1, len(steps) - 2)
    before, at, after = (values[rows, inner + k] for k in (-1, 0, 1))
    bend = np.maximum(before - 2 * at + after, 1e-6)
    offset = np.clip((before - after) / (2 * bend), -1, 1)
    width = np.where(offset > 0, steps[inner + 1] - steps[inner], steps[inner] - steps[inner - 1])
    return steps[inner] + offset * width
