"""Joins: how what is made meets what is kept, within frames and in time."""

from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8

FADE = 4  # frames, within which a join in time is evened out
STILL = 0.25  # levels of 255: the mean difference of frames that look the same
TINY = 1e-6  # levels: as good as none
SAFELY = 0.8  # of what is allowed is aimed at, for pixels are rounded


def joined(
    source: UInt8[np.ndarray, "frames height width 3"],
    made: UInt8[np.ndarray, "frames height width 3"],
    kept: Bool[np.ndarray, "frames height width"],
    feather: int,
) -> UInt8[np.ndarray, "frames height width 3"]:
    """The source where it is kept, and elsewhere what was made, evened out towards the source.

    What was made was made together with an image of what is kept, whose error is known. That error, carried on from
    the edge of what is kept and fading over `feather` pixels and FADE frames, is taken off: so at a seam neighbouring
    pixels differ as they do within what was made (as in gradient-domain cloning, Pérez et al. 2003, but local). What
    the source held under a mask is never used.
    """

    @lru_cache(maxsize=4)
    def error(time: int) -> Float[np.ndarray, "height width 3"]:
        return _carried(source[time].astype(np.float32) - made[time], kept[time], feather)

    pinned = np.flatnonzero(kept.any((1, 2)))
    result = source.copy()
    for time in range(len(source)):
        if not kept[time].all():
            weights = {time: 1.0} if kept[time].any() else _fading(time, pinned)
            evened = made[time] + sum(weight * error(near) for near, weight in weights.items())
            pixels = np.asarray(evened).round().clip(0, 255).astype(np.uint8)
            result[time] = np.where(kept[time][..., None], source[time], pixels)
    return result


def softened(
    frames: UInt8[np.ndarray, "frames height width 3"], kept: Bool[np.ndarray, "frames height width"], feather: int
) -> UInt8[np.ndarray, "frames height width 3"]:
    """No edge that stands out where made pixels meet kept ones within a frame. On the mean they may differ as much as
    the 95th percentile of all kept neighbours does, in all of these frames; where they differ by more, the largest
    steps are lowered, and what is taken off fades over `feather` pixels."""
    parted = np.flatnonzero(kept.any((1, 2)) & ~kept.all((1, 2)))
    seams = [_seam(frames[time], kept[time]) for time in parted]
    across, own = (np.concatenate([*(seam[part] for seam in seams), np.zeros(0)]) for part in (0, 1))
    if not len(across):
        return frames
    allowed = max(STILL, float(np.percentile(own, 95)) if len(own) else 0.0)
    if across.mean() <= allowed:
        return frames
    highest = float(np.floor(_highest(across, SAFELY * allowed)))  # in whole levels: less than one would be rounded up
    result = frames.copy()
    for time in parted:
        result[time] = _lowered(frames[time], kept[time], feather, highest)
    return result


def _seam(
    frame: UInt8[np.ndarray, "height width 3"], kept: Bool[np.ndarray, "height width"]
) -> tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]:
    """By how much neighbours differ of which one is kept, and of which both are."""
    across, own = [], []
    for axis in (0, 1):
        steps, first, second = gradients(frame, axis), *_neighbours(kept, axis)
        across.append(steps[first ^ second])
        own.append(steps[first & second])
    return np.concatenate(across), np.concatenate(own)


def _neighbours(image: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    return np.take(image, range(image.shape[axis] - 1), axis), np.take(image, range(1, image.shape[axis]), axis)


def gradients(image: UInt8[np.ndarray, "*frames height width 3"], axis: int) -> Float[np.ndarray, "*frames _ _"]:
    """The mean absolute difference of each pixel from the next along an axis, in levels of 255."""
    return np.abs(np.diff(image.astype(np.int16), axis=axis)).mean(-1)


def widened(places: Bool[np.ndarray, "*places"], axis: int, by: int) -> Bool[np.ndarray, "*places"]:
    """Also the places up to so many before or after along an axis."""
    padded = np.pad(places, [(by, by) if k == axis else (0, 0) for k in range(places.ndim)])
    return np.any([np.take(padded, range(k, k + places.shape[axis]), axis) for k in range(2 * by + 1)], axis=0)


def _highest(steps: Float[np.ndarray, " steps"], mean: float) -> float:
    """What no step may be higher than, if that is to be their mean: it is less than what they have."""
    rising = np.sort(steps)
    below, left = np.concatenate(([0.0], np.cumsum(rising)[:-1])), np.arange(len(rising), 0, -1)
    first = int(np.searchsorted(below + left * rising, mean * len(rising)))  # of those that are lowered
    return float((mean * len(rising) - below[first]) / left[first])


def _lowered(
    frame: UInt8[np.ndarray, "height width 3"], kept: Bool[np.ndarray, "height width"], feather: int, highest: float
) -> UInt8[np.ndarray, "height width 3"]:
    """No made pixel differs from a kept neighbour by more than `highest`, but at corners, where two ask for it."""
    (height, width), pixels = kept.shape, frame.astype(np.float32)
    edged, known = np.pad(pixels, ((1, 1), (1, 1), (0, 0))), np.pad(kept, 1)
    excess, asked = np.zeros_like(pixels), np.zeros((height, width, 1), np.float32)
    for top, left in ((0, 1), (1, 0), (1, 2), (2, 1)):
        beside = slice(top, top + height), slice(left, left + width)
        step, here = pixels - edged[beside], (known[beside] & ~kept)[..., None]
        size = np.abs(step).mean(-1, keepdims=True)
        excess += here * step * (1 - highest / np.maximum(size, max(highest, TINY)))
        asked += here
    taken = _carried(excess / np.maximum(asked, 1), asked[..., 0] > 0, feather - 1)
    return np.where(kept[..., None], frame, (pixels - taken).round().clip(0, 255).astype(np.uint8))


def eased(
    frames: UInt8[np.ndarray, "frames height width 3"], kept: Bool[np.ndarray, " frames"]
) -> UInt8[np.ndarray, "frames height width 3"]:
    """No jump where made frames meet kept ones: what differs from a kept frame by more than the kept ones do from each
    other (the 95th percentile of their mean differences) comes in over up to FADE frames. Where no two kept frames
    follow each other there is no pace to keep to, and nothing changes."""
    steps = step_sizes(frames)[kept[1:] & kept[:-1]]
    if not len(steps) or kept.all():
        return frames
    pace, result = max(STILL, float(np.percentile(steps, 95))), frames.copy()
    for start, stop in _runs(~kept):
        after, before = start > 0, stop < len(frames)
        middle = (start + stop) // 2 if after and before else stop if after else start
        if after:
            _come_in(result, start - 1, range(start, middle), pace)
        if before:
            _come_in(result, stop, range(stop - 1, middle - 1, -1), pace)
    return result


def led_on(
    last: UInt8[np.ndarray, "height width 3"], made: UInt8[np.ndarray, "frames height width 3"], pace: float
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Frames that follow a last one: if they differ from it by more than the pace, they come in over up to FADE."""
    frames = np.concatenate((last[None], made))
    _come_in(frames, 0, range(1, len(frames)), pace)
    return frames[1:]


def _come_in(frames: UInt8[np.ndarray, "frames height width 3"], kept: int, made: range, pace: float) -> None:
    """In place: from the kept frame, each of the first FADE made ones goes as far as the pace allows, or the fade asks
    for."""
    last = frames[kept]
    for share, time in enumerate(made[:FADE], start=1):
        change = frames[time].astype(np.float32) - last
        size = float(np.abs(change).mean())
        if size <= pace:
            return
        part = np.trunc(change * max(pace / size, share / (FADE + 1)))  # never farther: small changes would round up
        last = frames[time] = (last + part).astype(np.uint8)


def step_sizes(frames: UInt8[np.ndarray, "frames height width 3"]) -> Float[np.ndarray, " steps"]:
    """The mean absolute difference of each frame from the one before, in levels of 255."""
    return np.array([np.abs(after.astype(np.int16) - before).mean() for before, after in pairwise(frames)])


def _runs(flags: Bool[np.ndarray, " frames"]) -> list[tuple[int, int]]:
    """[start, stop) of each stretch of true flags."""
    edges = np.flatnonzero(np.diff(np.pad(flags, 1).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _fading(time: int, pinned: np.ndarray) -> dict[int, float]:
    """How much the errors of the last pinned frame before and of the first after still count: 1 beside it, 0 after
    FADE frames, and both together 1 at most."""
    place = int(np.searchsorted(pinned, time))
    near = [int(frame) for frame in pinned[max(0, place - 1) : place + 1]]
    weights = {frame: max(0.0, 1 - (abs(frame - time) - 1) / FADE) for frame in near}
    total = max(1.0, sum(weights.values()))
    return {frame: weight / total for frame, weight in weights.items() if weight}


def _carried(
    error: Float[np.ndarray, "height width 3"], kept: Bool[np.ndarray, "height width"], feather: int
) -> Float[np.ndarray, "height width 3"]:
    """The error where pixels are kept, and ring by ring around them the mean of those that a pixel touches, fading, so
    that the first ring has nearly the whole of it, place for place."""
    if kept.all():
        return error
    result, reached = error * kept[..., None], kept
    for ring in range(1, feather + 1):
        touched = _summed(reached[..., None].astype(np.float32))
        spread = _summed(result) / np.maximum(touched, 1)
        fresh = (touched[..., 0] > 0.5) & ~reached
        fades = (feather + 1 - ring) / (feather + 2 - ring)
        result, reached = np.where(fresh[..., None], fades * spread, result), reached | fresh
    return result


def _summed(image: Float[np.ndarray, "height width channels"]) -> Float[np.ndarray, "height width channels"]:
    """Over 3 x 3 pixels; beyond the edge there is nothing."""
    planes = torch.from_numpy(image).movedim(2, 0)[None]
    return F.avg_pool2d(planes, 3, stride=1, padding=1, divisor_override=1)[0].movedim(0, 2).numpy()
