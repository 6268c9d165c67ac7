"""What is to be seen of one actor: its look, and its track in the world."""

from dataclasses import dataclass

import numpy as np

from kinetoken.clip import Clip
from kinetoken.data.toybox import Colour, Motion, Shape, Size, Speed, Texture, camera_path
from kinetoken.data.toybox_scene import GROWTH, GROWTH_SECONDS, PACE, RADIUS
from kinetoken.evaluation.judge_background import Setting
from kinetoken.evaluation.judge_looks import FRAMES, LOOKS, SCALES, SHIFTS, TURNED, UPRIGHT, cut_patches, picture_of
from kinetoken.evaluation.judge_motion import Track, motion_costs
from kinetoken.evaluation.judge_tracks import Blob

TURN_PENALTY = 1.25


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What one actor is seen to be. size: at the clip's beginning; left: share of its patch left unexplained."""

    colour: Colour
    shape: Shape
    texture: Texture
    size: Size
    motion: Motion
    speed: Speed
    track: Track
    left: float


def see(clip: Clip, setting: Setting, blob: Blob) -> Sight:
    patches = cut_patches(clip, setting, blob)
    chosen = _clearest(blob, patches.frames)
    upright = patches.unexplained(UPRIGHT, chosen).min(axis=2)
    turned = patches.unexplained(TURNED, chosen).min(axis=2)
    left = np.minimum(upright, TURN_PENALTY * turned).mean(axis=1)
    best = int(left.argmin())
    look = LOOKS[best]
    spin = patches.unexplained_by(look, TURNED)
    fits = patches.unexplained_by(look, UPRIGHT)
    track = _track(clip, setting, blob, patches, look, spin, fits)
    costs = motion_costs(track, setting.background)
    motion, speed = min(costs, key=costs.__getitem__)
    return Sight(
        colour=blob.colour,
        shape=look[0],
        texture=look[1],
        size=_size(track, motion, speed),
        motion=motion,
        speed=speed,
        track=track,
        left=float(left[best]),
    )


def _size(track: Track, motion: Motion, speed: Speed) -> Size:
    """The size at the clip's beginning."""
    power = {Motion.GROWS: 1.0, Motion.SHRINKS: -1.0}.get(motion, 0.0)
    growth = GROWTH ** (power * np.minimum(track.times * PACE[speed] / GROWTH_SECONDS, 1.0))
    radius = np.median((track.radius / growth)[track.seen])
    return min(Size, key=lambda size: abs(np.log(radius / RADIUS[size])))


def _clearest(blob: Blob, frames: np.ndarray) -> np.ndarray:
    """Indices into `frames` of those where the blob is clear and large, as many as are looked at."""
    order = np.lexsort((-blob.area[frames], ~blob.clear[frames]))
    clear = int(blob.clear[frames].sum())
    return np.sort(order[: min(FRAMES, max(clear, 1))])


def _track(clip, setting, blob, patches, look, spin, fits) -> Track:
    count, frames = len(clip), patches.frames
    times = np.arange(count) / clip.fps
    camera = camera_path(setting.camera, times)
    short = min(clip.width, clip.height)
    picture = picture_of(look, patches.level)
    table = fits.reshape(-1, len(SCALES), len(SHIFTS), len(SHIFTS))
    best = fits.argmin(axis=1)
    si, di, ri = np.unravel_index(best, table.shape[1:])
    rows = np.arange(len(frames))
    log_scale = _vertex(np.log(np.array(SCALES)), table[rows, :, di, ri], si)
    down = _vertex(np.array(SHIFTS), table[rows, si, :, ri], di)
    right = _vertex(np.array(SHIFTS), table[rows, si, di, :], ri)
    good = fits.min(axis=1) < 0.3
    scale = np.where(good, np.exp(log_scale), 1.0)
    right, down = np.where(good, right, 0.0), np.where(good, down, 0.0)
    spread = blob.spread[frames]
    x = blob.x[frames] + spread * (-picture.middle[0] / picture.spread - right) / scale
    y = blob.y[frames] + spread * (-picture.middle[1] / picture.spread - down) / scale
    r = spread / (scale * picture.spread)
    place, radius = np.zeros(count, dtype=complex), np.ones(count)
    zoom = camera.zoom[frames] * short
    place[frames] = (x - clip.width / 2) / zoom + camera.x[frames] + 1j * (0.5 + (clip.height - short / 2 - y) / zoom)
    radius[frames] = r / zoom
    turned = np.zeros((count, spin.shape[1]))
    turned[frames] = spin - spin.min(axis=1, keepdims=True)
    return Track(
        times=times,
        place=place,
        radius=radius,
        seen=blob.seen,
        turned=turned,
        shape=look[0],
        size=min(Size, key=lambda size: abs(np.log(np.median(radius[frames]) / RADIUS[size]))),
        view=(clip.width / short, clip.height / short),
    )


def _vertex(steps, values, index):
    """Where the parabola through the best step and its neighbours is lowest."""
    rows = np.arange(len(values))
    inner = np.clip(index, 1, len(steps) - 2)
    before, at, after = (values[rows, inner + k] for k in (-1, 0, 1))
    bend = np.maximum(before - 2 * at + after, 1e-6)
    offset = np.clip((before - after) / (2 * bend), -1, 1)
    width = np.where(offset > 0, steps[inner + 1] - steps[inner], steps[inner] - steps[inner - 1])
    return steps[inner] + offset * width
