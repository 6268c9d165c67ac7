"""Where every actor is at any time: closed forms for lone motions, pymunk where bodies meet."""

from dataclasses import dataclass, replace
from math import ceil, dist
from typing import Final

import numpy as np
import pymunk
from jaxtyping import Bool, Float

from kinetoken.data.toybox_scene import (
    BLINK,
    CAMERA_SECONDS,
    GRAVITY,
    GROWTH,
    GROWTH_SECONDS,
    ORBIT,
    ORBIT_RADIUS,
    PACE,
    PAN,
    RADIUS,
    SCENE_SECONDS,
    SPIN,
    VELOCITY,
    ZOOM,
    Actor,
    Camera,
    Motion,
    Relation,
    Scene,
    Shape,
)

Times = Float[np.ndarray, "frames"]


@dataclass(frozen=True, kw_only=True)
class Outline:
    """How far a shape of radius 1 goes from its centre: sideways, down, up, and in any direction."""

    half_width: float
    below: float
    above: float
    reach: float


OUTLINE: Final[dict[Shape, Outline]] = {
    Shape.BALL: Outline(half_width=1.0, below=1.0, above=1.0, reach=1.0),
    Shape.SQUARE: Outline(half_width=0.9, below=0.9, above=0.9, reach=1.273),
    Shape.TRIANGLE: Outline(half_width=1.17, below=0.675, above=1.35, reach=1.35),
    Shape.STAR: Outline(half_width=1.284, below=1.092, above=1.35, reach=1.35),
    Shape.HEART: Outline(half_width=1.117, below=0.962, above=1.08, reach=1.22),
    Shape.RING: Outline(half_width=1.1, below=1.1, above=1.1, reach=1.1),
}
HULL: Final[dict[Shape, tuple[tuple[float, float], ...]]] = {
    Shape.SQUARE: ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    Shape.TRIANGLE: ((-1.17, -0.675), (1.17, -0.675), (0.0, 1.35)),
    Shape.STAR: tuple((1.35 * float(np.sin(a)), 1.35 * float(np.cos(a))) for a in np.arange(5) * 2 * np.pi / 5),
    Shape.HEART: (
        *((0.0, -0.96), (0.92, -0.04), (1.117, 0.42), (0.9, 0.92), (0.46, 1.08)),
        *((-0.46, 1.08), (-0.9, 0.92), (-1.117, 0.42), (-0.92, -0.04)),
    ),
}
"""The convex outline by which a shape of radius 1 collides; balls and rings collide as circles."""

DIRECTION: Final[dict[Motion, tuple[float, float]]] = {
    Motion.LEFT: (-1.0, 0.0),
    Motion.RIGHT: (1.0, 0.0),
    Motion.UP: (0.0, 1.0),
    Motion.DOWN: (0.0, -1.0),
}
WRAP_MARGIN: Final = 0.35
"""Movers that have gone this far beyond an edge come back at the opposite one, so that they move for ever."""
PHYSICS_STEP: Final = 1 / 240
PHYSICS_SCALE: Final = 100.0
"""pymunk's tolerances are meant for bodies of tens of units."""
CALM_STEPS: Final = 10
"""Steps without a change of velocity after which a collision is over."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """One actor over time: centre and radius in world units, angle in radians anticlockwise, whether it is there."""

    x: Times
    y: Times
    radius: Times
    angle: Times
    visible: Bool[np.ndarray, "frames"]


@dataclass(frozen=True, kw_only=True)
class CameraPath:
    """The world's point at the view's pivot is (x, 0.5); zoom: how many times larger than usual."""

    x: Times
    zoom: Times


def paths(
    scene: Scene, times: Times, *, view_width: float = 1.0, view_height: float = 1.0, circle: float | None = None
) -> list[Path]:
    """Where the actors are at `times`. The view's size, in world units, is where movers wrap around.

    circle: so many seconds after it has begun, all is again as it was. What spins, orbits, blinks or bounces does so a
    whole number of times, a bounce as high as it takes for that; all else goes on for half of the circle, and back.
    """
    ground = scene.background.ground
    if circle is None:
        if scene.relation == Relation.BUMPS_INTO:
            return _collision(scene.actors, times)
        return [_path(actor, ground, times, view_width, view_height) for actor in scene.actors]
    if scene.relation:
        return paths(scene, _there_and_back(times, circle), view_width=view_width, view_height=view_height)
    return [
        _path(fitting, ground, own_times, view_width, view_height)
        for fitting, own_times in (_on_a_circle(actor, ground, times, circle) for actor in scene.actors)
    ]


def _on_a_circle(actor: Actor, ground: float, times: Times, circle: float) -> tuple[Actor, Times]:
    """An actor and the times of its own motion at which it is seen, so that it comes round in `circle` seconds."""
    if actor.motion == Motion.BOUNCES:
        rest, fall_seconds = _fall(actor, ground)
        fall_seconds = circle / ceil(circle / (2 * fall_seconds)) / 2
        return replace(actor, y=rest + GRAVITY * fall_seconds**2 / 2), times
    turn = {Motion.SPINS: 2 * np.pi / SPIN, Motion.ORBITS: 2 * np.pi / ORBIT, Motion.BLINKS: 1 / BLINK}
    if actor.motion not in turn:
        return actor, _there_and_back(times, circle)
    seconds = turn[actor.motion] / PACE[actor.speed]
    return actor, times % circle * (max(1, round(circle / seconds)) * seconds / circle)


def _there_and_back(times: Times, circle: float) -> Times:
    return circle / 2 - np.abs(times % circle - circle / 2)


def camera_path(camera: Camera, times: Times, *, circle: float | None = None) -> CameraPath:
    """circle: it comes back within so many seconds."""
    if circle is not None:
        times = _there_and_back(times, circle)
    seconds = np.minimum(times, CAMERA_SECONDS)
    pan = {Camera.PANS_LEFT: -PAN, Camera.PANS_RIGHT: PAN}.get(camera, 0.0)
    zoom = {Camera.ZOOMS_IN: ZOOM, Camera.ZOOMS_OUT: 1 / ZOOM}.get(camera, 1.0)
    return CameraPath(x=pan * seconds, zoom=zoom**seconds)


def velocity(actor: Actor) -> tuple[float, float]:
    """Units per second, sideways and up, of an actor that moves straight; (0, 0) of others."""
    dx, dy = DIRECTION.get(actor.motion, (0.0, 0.0))
    pace = VELOCITY * PACE[actor.speed]
    return dx * pace, dy * pace


def _path(actor: Actor, ground: float, times: Times, view_width: float, view_height: float) -> Path:
    x, y = _centre(actor, ground, times)
    if actor.motion in DIRECTION:
        x = _wrap(x, -view_width / 2, view_width / 2)
        y = _wrap(y, 0.0, view_height)
    return Path(
        x=x,
        y=y,
        radius=RADIUS[actor.size] * _growth(actor, times),
        angle=_turned(actor, SPIN, times) if actor.motion == Motion.SPINS else np.zeros_like(times),
        visible=_visible(actor, times),
    )


def _centre(actor: Actor, ground: float, times: Times) -> tuple[Times, Times]:
    here = np.full_like(times, actor.x)
    if actor.motion in (Motion.BOUNCES, Motion.FALLS):
        return here, _under_gravity(actor, ground, times)
    if actor.motion == Motion.ORBITS:
        angle = actor.phase + _turned(actor, ORBIT, times)
        return actor.x + ORBIT_RADIUS * np.cos(angle), actor.y + ORBIT_RADIUS * np.sin(angle)
    speed_x, speed_y = velocity(actor)
    return actor.x + speed_x * times, actor.y + speed_y * times


def _under_gravity(actor: Actor, ground: float, times: Times) -> Times:
    """Height of the centre: dropped from rest at time 0; lands for good (falls) or bounces up to where it began."""
    rest, fall_seconds = _fall(actor, ground)
    if actor.motion == Motion.FALLS:
        since_apex = np.minimum(times, fall_seconds)
    else:
        since_apex = (times + fall_seconds) % (2 * fall_seconds) - fall_seconds
    return rest + GRAVITY * (fall_seconds**2 - since_apex**2) / 2


def _fall(actor: Actor, ground: float) -> tuple[float, float]:
    """(the height of its centre once it has landed, how many seconds it falls from where it begins)."""
    rest = ground + OUTLINE[actor.shape].below * RADIUS[actor.size]
    return rest, (2 * max(actor.y - rest, 1e-6) / GRAVITY) ** 0.5


def _turned(actor: Actor, rate: float, times: Times) -> Times:
    return (-1 if actor.clockwise else 1) * rate * PACE[actor.speed] * times


def _growth(actor: Actor, times: Times) -> Times:
    power = {Motion.GROWS: 1.0, Motion.SHRINKS: -1.0}.get(actor.motion, 0.0)
    return GROWTH ** (power * np.minimum(times * PACE[actor.speed] / GROWTH_SECONDS, 1.0))


def _visible(actor: Actor, times: Times) -> Bool[np.ndarray, "frames"]:
    if actor.motion != Motion.BLINKS:
        return np.ones(times.shape, dtype=bool)
    return (times * BLINK * PACE[actor.speed] + 1e-6) % 1.0 < 0.5


def _wrap(values: Times, low: float, high: float) -> Times:
    low, high = low - WRAP_MARGIN, high + WRAP_MARGIN
    return (values - low) % (high - low) + low


def mass(actor: Actor) -> float:
    """Of a disc as large as the actor, in units in which the usual size weighs 1."""
    return (RADIUS[actor.size] / RADIUS[type(actor.size).USUAL]) ** 2


def _collision(actors: tuple[Actor, ...], times: Times) -> list[Path]:
    """Bodies that move straight until they meet, elastically and without friction, and do not turn."""
    knots, places, speeds = _meeting(actors)
    after = np.maximum(times - knots[-1], 0.0)
    return [
        Path(
            x=np.interp(times, knots, places[:, i, 0]) + speeds[i, 0] * after,
            y=np.interp(times, knots, places[:, i, 1]) + speeds[i, 1] * after,
            radius=np.full_like(times, RADIUS[actor.size]),
            angle=np.zeros_like(times),
            visible=np.ones(times.shape, dtype=bool),
        )
        for i, actor in enumerate(actors)
    ]


def _meeting(
    actors: tuple[Actor, ...],
) -> tuple[Times, Float[np.ndarray, "knots actors 2"], Float[np.ndarray, "actors 2"]]:
    """The times at which a velocity changed (and 0), where both were then, and the velocities from the last on."""
    space = pymunk.Space()
    space.collision_slop = 0.01
    bodies = [_body(actor, space) for actor in actors]
    knots, places, calm_steps = [0.0], [[body.position for body in bodies]], 0
    lonely_steps = _lonely_steps(*actors)
    for body in bodies:
        body.position += body.velocity * (lonely_steps * PHYSICS_STEP)
    for step in range(lonely_steps + 1, round(SCENE_SECONDS / PHYSICS_STEP) + 1):
        before = bodies[-1].velocity
        space.step(PHYSICS_STEP)
        if bodies[-1].velocity != before:
            knots.append(step * PHYSICS_STEP)
            places.append([body.position for body in bodies])
            calm_steps = 0
        elif len(knots) > 1 and (calm_steps := calm_steps + 1) == CALM_STEPS:
            break
    speeds = np.array([body.velocity for body in bodies])
    return np.array(knots), np.array(places) / PHYSICS_SCALE, speeds / PHYSICS_SCALE


def _lonely_steps(one: Actor, other: Actor) -> int:
    """Steps in which the bodies cannot touch yet, so that nothing needs simulating."""
    reaches = sum(OUTLINE[actor.shape].reach * RADIUS[actor.size] for actor in (one, other))
    gap = dist((one.x, one.y), (other.x, other.y)) - reaches
    speed = max(dist(velocity(one), velocity(other)), 1e-6)
    return int(min(max(gap / speed, 0.0), SCENE_SECONDS) / PHYSICS_STEP)


def _body(actor: Actor, space: pymunk.Space) -> pymunk.Body:
    body = pymunk.Body(mass(actor), float("inf"))
    body.position = actor.x * PHYSICS_SCALE, actor.y * PHYSICS_SCALE
    speed_x, speed_y = velocity(actor)
    body.velocity = speed_x * PHYSICS_SCALE, speed_y * PHYSICS_SCALE
    scale = RADIUS[actor.size] * PHYSICS_SCALE
    outline: pymunk.Shape
    if actor.shape in HULL:
        outline = pymunk.Poly(body, [(scale * x, scale * y) for x, y in HULL[actor.shape]])
    else:
        outline = pymunk.Circle(body, scale * OUTLINE[actor.shape].reach)
    outline.elasticity = 1.0
    outline.friction = 0.0
    space.add(body, outline)
    return body
