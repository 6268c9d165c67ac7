"""How an actor moves: every motion at every speed, as the toybox computes it, is laid over its track.

A motion changes one thing of an actor: its place, its radius, its angle or its presence. The cost of a motion is the
sum of the four misfits, each the mean over frames of a squared difference in units of what a lossy clip is off by,
and capped, so that a few bad frames cannot decide.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Final

import numpy as np
from jaxtyping import Bool, Complex, Float

from kinetoken.data.toybox import Actor, Background, Colour, Motion, Path, Scene, Shape, Size, Speed, paths
from kinetoken.data.toybox_motion import DIRECTION, OUTLINE, WRAP_MARGIN
from kinetoken.data.toybox_scene import HAS_SPEED, ORBIT_RADIUS, PACE, RADIUS, SPIN
from kinetoken.evaluation.judge_looks import ANGLES

Times = Float[np.ndarray, "frames"]
Kind = tuple[Motion, Speed]

PLACE_ERROR: Final = 0.015
"""World units: one pixel at 64 x 64."""
RADIUS_ERROR: Final = 0.1
"""Of a radius, relatively."""
ANGLE_ERROR: Final = 0.04
"""Share of a patch that a wrong angle leaves unexplained beyond the right one."""
CAP: Final = 9.0
"""The most that one misfit of one frame can cost."""
MOTION_SHOWN: Final = 7.0
"""Cost up to which a motion is shown: less than 2 in rendered clips, 7 in nearly all lossy ones. Places that have
nothing to do with a motion cost up to CAP, and as much again do radii, angles and absences."""
FAR: Final = 1e4
"""View size, in world units, in which movers never wrap around."""
SURELY_IN: Final = -0.3
SURELY_OUT: Final = 1.4
"""Radii from the view's edge to an actor's centre: below the first it must be seen, beyond the second it cannot be."""
UNCLEAR: Final = 0.3
"""Weight of a frame in which the actor is cut off, against one in which it is clear."""
SMALLEST_DROP: Final = 0.1
"""World units that something must fall to be said to bounce or fall. The toybox drops things by 0.24 at least."""
SPIN_BIAS: Final = 0.4
"""A spin must explain the angles by so much better than standing still. What is plain and round never does."""
DROPS: Final = np.arange(SMALLEST_DROP, 1.5, 0.01)
"""Heights, in world units, that something may drop by."""
DROP_SLACK: Final = 0.06
"""A drop may have started so far from the first height that was seen."""

LONE_KINDS: Final[tuple[Kind, ...]] = tuple(
    (motion, speed)
    for motion in Motion
    if motion not in (Motion.BOUNCES, Motion.FALLS)
    for speed in (Speed if motion in HAS_SPEED else (Speed.USUAL,))
)
BEGINNING_KINDS: Final = tuple(kind for kind in LONE_KINDS if kind[0] in (Motion.SPINS, Motion.BLINKS))
"""Those of which it can be seen when they began."""
BEGUN: Final = np.arange(0.125, 2 * np.pi / (SPIN * PACE[Speed.SLOW]), 0.125)
"""Seconds for which they may have gone on: a turn of the slowest spin, in steps of a fiftieth of it."""
DROP_KINDS: Final[tuple[Kind, ...]] = ((Motion.BOUNCES, Speed.USUAL), (Motion.FALLS, Speed.USUAL))


@dataclass(frozen=True, kw_only=True)
class Track:
    """One actor over time in world units, as measured; places are complex, x + iy. Unseen frames hold nothing of use.

    turned: share of the patch left unexplained by the look at each of ANGLES angles, beyond the best of them.
    area: in pixels, of what is seen.
    clear: seen, and neither cut off by the frame's edge nor touched by another actor.
    view: width and height of what is seen, in world units.
    """

    times: Times
    place: Complex[np.ndarray, "frames"]
    radius: Times
    seen: Bool[np.ndarray, "frames"]
    clear: Bool[np.ndarray, "frames"]
    area: Times
    turned: Float[np.ndarray, "frames angles"]
    shape: Shape
    size: Size
    view: tuple[float, float]

    @property
    def trust(self) -> Times:
        """Weights of the frames, of sum 1: none of unseen ones, little of unclear ones."""
        weights = np.where(self.clear, 1.0, UNCLEAR) * self.seen
        return weights / weights.sum()


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """Paths that may explain a track, one a row, and the kind of each."""

    kinds: tuple[Kind, ...]
    place: Complex[np.ndarray, "guesses frames"]
    radius: Float[np.ndarray, "guesses frames"]
    angle: Float[np.ndarray, "guesses frames"]
    visible: Bool[np.ndarray, "guesses frames"]

    @classmethod
    def of(cls, kinds: tuple[Kind, ...], trajectories: list[Path]) -> "Guesses":
        return cls(
            kinds=kinds,
            place=np.stack([path.x + 1j * path.y for path in trajectories]),
            radius=np.stack([path.radius for path in trajectories]),
            angle=np.stack([path.angle for path in trajectories]),
            visible=np.stack([path.visible for path in trajectories]),
        )


def recognise_motion(track: Track, background: Background, *, midway: bool = False) -> Kind | None:
    """The motion and speed that fit best; None if even they do not fit. midway: as `motion_costs`."""
    costs = motion_costs(track, background, midway=midway)
    best = min(costs, key=costs.__getitem__)
    return best if costs[best] < MOTION_SHOWN else None


def motion_costs(track: Track, background: Background, *, midway: bool = False) -> dict[Kind, float]:
    """The misfit of every motion at every speed, each placed where it fits best. midway: the clip is a part of a longer
    one, so what spins need not begin upright, nor what blinks begin by being there."""
    costs = dict.fromkeys((*LONE_KINDS, *DROP_KINDS), np.inf)
    alone = [_lone_guesses(tuple(track.times), LONE_KINDS)]
    alone += [_lone_guesses(tuple(track.times + begun), BEGINNING_KINDS) for begun in (BEGUN if midway else ())]
    for guesses in (*(_laid_over(track, some) for some in alone), _drops(track, background)):
        for kind, cost in zip(guesses.kinds, _costs(track, guesses), strict=True):
            costs[kind] = min(float(cost), costs[kind])
    return costs


def _costs(track: Track, guesses: Guesses) -> Float[np.ndarray, "guesses"]:
    off_place = np.abs(track.place - guesses.place) / PLACE_ERROR
    off_radius = np.log(track.radius / guesses.radius) / RADIUS_ERROR
    bins = np.round(guesses.angle / (2 * np.pi) * ANGLES).astype(int) % ANGLES
    off_angle = track.turned[np.arange(len(track.times)), bins] / ANGLE_ERROR
    misfit = np.minimum(off_place**2, CAP) + np.minimum(off_radius**2, CAP) + np.minimum(off_angle, CAP)
    bias = np.array([SPIN_BIAS if motion == Motion.SPINS else 0.0 for motion, _ in guesses.kinds])
    return misfit @ track.trust + CAP * _wrongly_there(track, guesses).mean(axis=1) + bias


def _wrongly_there(track: Track, guesses: Guesses) -> Bool[np.ndarray, "guesses frames"]:
    """Where the actor is seen but cannot be, or must be but is not."""
    width, height = track.view
    x, y = guesses.place.real, guesses.place.imag
    beyond = np.maximum(np.abs(x) - width / 2, np.abs(y - height / 2) - height / 2) / guesses.radius
    must = guesses.visible & (beyond < SURELY_IN)
    cannot = ~guesses.visible | (beyond > SURELY_OUT)
    return np.where(track.seen, cannot, must)


@lru_cache(maxsize=64)
def _lone_guesses(times: tuple[float, ...], of: tuple[Kind, ...]) -> Guesses:
    """Motions that neither know of the ground nor end at the view's edge, of an actor somewhere."""
    kinds = [(kind, way) for kind, way in product(of, (False, True)) if not way or kind[0] in TURNING]
    actors = [
        Actor(
            shape=Shape.BALL, colour=Colour.RED, motion=motion, speed=speed, x=0.0, y=FAR / 2, phase=0.0, clockwise=way
        )
        for (motion, speed), way in kinds
    ]
    return Guesses.of(
        tuple(kind for kind, _ in kinds), [_path(actor, Background(), np.array(times)) for actor in actors]
    )


TURNING: Final = (Motion.SPINS, Motion.ORBITS)
"""Motions that can be clockwise or not."""


def _path(actor: Actor, background: Background, times: Times) -> Path:
    (path,) = paths(Scene(actors=(actor,), background=background), times, view_width=FAR, view_height=FAR)
    return path


def _laid_over(track: Track, guesses: Guesses) -> Guesses:
    """Shifted, scaled, turned about the orbit and wrapped around the view, so as to fit the track."""
    seen = track.seen
    place = guesses.place - 1j * FAR / 2
    orbits = np.array([motion == Motion.ORBITS for motion, _ in guesses.kinds])
    moves = np.array([motion in DIRECTION for motion, _ in guesses.kinds])
    place[orbits] *= _orbit_turn(track, place[orbits])
    period = np.where(moves, 1.0, FAR)[:, None] * (np.array(track.view) + 2 * WRAP_MARGIN)
    off = track.place - place
    shift = [_median_shift(part[:, seen], period[:, axis]) for axis, part in enumerate((off.real, off.imag))]
    place = place + (shift[0] + 1j * shift[1])[:, None]
    width, _ = track.view
    low = complex(-width / 2 - WRAP_MARGIN, -WRAP_MARGIN)
    x, y = (place - low).real % period[:, :1] + low.real, (place - low).imag % period[:, 1:] + low.imag
    scale = np.exp(_median(np.log(track.radius / guesses.radius)[:, seen]))
    return Guesses(
        kinds=guesses.kinds,
        place=np.where(moves[:, None], x + 1j * y, place),
        radius=guesses.radius * scale[:, None],
        angle=guesses.angle,
        visible=guesses.visible,
    )


def _median_shift(
    off: Float[np.ndarray, "guesses seen"], period: Float[np.ndarray, "guesses"]
) -> Float[np.ndarray, "guesses"]:
    """The median of differences that are known up to a period."""
    turns = np.round((off - off[:, :1]) / period[:, None])
    return _median(off - turns * period[:, None])


def _orbit_turn(track: Track, place: Complex[np.ndarray, "orbits frames"]) -> Complex[np.ndarray, "orbits 1"]:
    """The turn, of length 1, that brings the orbits nearest to the track."""
    seen, ideal = track.place[track.seen], place[:, track.seen]
    match = ((seen - seen.mean()) * (ideal - ideal.mean(axis=1, keepdims=True)).conj()).sum(axis=1, keepdims=True)
    return match / np.maximum(np.abs(match), ORBIT_RADIUS * 1e-6)


def _drops(track: Track, background: Background) -> Guesses:
    """Bounces and falls from about the height that was seen first, at the radius and above the middle of the track."""
    seen = track.place[track.seen]
    rest = background.ground + OUTLINE[track.shape].below * RADIUS[track.size]
    family = _drop_family(tuple(track.times))
    near = np.abs(family.place[:, 0].imag + rest - seen[0].imag) <= DROP_SLACK
    near |= np.abs(family.place[:, 0].imag - SMALLEST_DROP) < 1e-6  # whatever is lower started from there at least
    return Guesses(
        kinds=tuple(kind for kind, chosen in zip(family.kinds, near, strict=True) if chosen),
        place=family.place[near] + complex(_median(seen.real), rest),
        radius=np.full_like(family.radius[near], _median(track.radius[track.seen])),
        angle=family.angle[near],
        visible=family.visible[near],
    )


@lru_cache(maxsize=8)
def _drop_family(times: tuple[float, ...]) -> Guesses:
    """Bounces and falls by every height, of an actor that rests at the origin."""
    rest = OUTLINE[Shape.BALL].below * RADIUS[Size.USUAL]
    pairs = list(product(DROP_KINDS, DROPS))
    actors = [Actor(shape=Shape.BALL, colour=Colour.RED, motion=kind[0], y=rest + float(drop)) for kind, drop in pairs]
    trajectories = [_path(actor, Background(), np.array(times)) for actor in actors]
    guesses = Guesses.of(tuple(kind for kind, _ in pairs), trajectories)
    return replace(guesses, place=guesses.place - 1j * rest)


def _median(values: Float[np.ndarray, "*places values"]) -> Float[np.ndarray, "*places"]:
    """Along the last axis; the upper one of two."""
    return np.sort(values, axis=-1)[..., values.shape[-1] // 2]
