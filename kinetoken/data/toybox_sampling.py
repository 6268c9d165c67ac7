"""Seed to scene: the plan and the words are drawn first, then places until everything can be seen."""

from collections.abc import Callable
from dataclasses import replace
from math import dist
from random import Random
from typing import Final, Literal

import numpy as np
from jaxtyping import Float

from kinetoken.data.toybox_motion import DIRECTION, OUTLINE, Path, camera_path, paths, velocity
from kinetoken.data.toybox_render import background_rgb, dark_tone, floor_rgb
from kinetoken.data.toybox_scene import (
    COLOUR_RGB,
    FLOOR_HEIGHT,
    GROWTH,
    HAS_SPEED,
    ORBIT_RADIUS,
    RADIUS,
    SCENE_SECONDS,
    Actor,
    Background,
    BackgroundColour,
    Camera,
    Colour,
    Motion,
    Relation,
    Scene,
    Shape,
    Size,
    Speed,
    Texture,
    holds_out,
)

Split = Literal["train", "held-out"]

ACTORS_SHARE: Final = {1: 0.55, 2: 0.35, 3: 0.10}
RELATION_SHARE: Final = 0.3
"""Of scenes of two."""
CAMERA_SHARE: Final = 0.14
"""Of scenes without a relation: one in eight of all."""
GRADIENT_SHARE: Final = 0.35
FLOOR_SHARE: Final = 0.45
MARKS_SHARE: Final = 0.1
"""Of scenes whose camera stands still. Where it moves there are always marks to see that by."""

SIZES: Final = (Size.SMALL, Size.USUAL, Size.USUAL, Size.BIG)
SIZES_THAT_FIT: Final = {Motion.GROWS: (Size.SMALL, Size.USUAL), Motion.SHRINKS: (Size.USUAL, Size.BIG)}
TEXTURES: Final = (Texture.PLAIN, Texture.PLAIN, Texture.STRIPED, Texture.SPOTTED)
SPEEDS: Final = (Speed.SLOW, Speed.USUAL, Speed.USUAL, Speed.QUICK)
CAMERAS: Final = tuple(camera for camera in Camera if camera)
RELATIONS: Final = tuple(relation for relation in Relation if relation)
MOTIONS_ON_CAMERA: Final = (Motion.STILL, Motion.SPINS, Motion.BLINKS)
"""An actor that stays where it is lets the camera's move be told from the actor's."""
SIDEWAYS: Final = (Motion.LEFT, Motion.RIGHT)
ROUND: Final = (Shape.BALL, Shape.RING)

CONTRAST: Final = 115.0
"""Least distance in RGB between an actor and what is behind it."""
DARK_TONE_CONTRAST: Final = 40.0
"""Likewise of its stripes or spots."""
OVERHANG: Final = 0.4
"""An actor may leave the view by this many of its radii."""
PLACE_ATTEMPTS: Final = 12
TIMES: Final = np.linspace(0, SCENE_SECONDS, 9)
"""When a layout is checked, in seconds."""


def sample_scene(seed: int, *, actors: int | None = None, split: Split = "train") -> Scene:
    """The scene of this seed: the same on every machine.

    In "train" no actor's (shape, colour, motion) is held out; in "held-out" at least one is, and with a relation it
    is that of actor 0.
    """
    if split not in ("train", "held-out"):
        raise ValueError(f'split must be "train" or "held-out"; found {split!r}')
    if actors is not None and actors not in ACTORS_SHARE:
        raise ValueError(f"actors must be one of {sorted(ACTORS_SHARE)} or None; found {actors}")
    rng = Random(f"{seed} {actors} {split}")
    count = actors or rng.choices(list(ACTORS_SHARE), list(ACTORS_SHARE.values()))[0]
    relation = rng.choice(RELATIONS) if count == 2 and rng.random() < RELATION_SHARE else Relation.NONE
    camera = rng.choice(CAMERAS) if not relation and rng.random() < CAMERA_SHARE else Camera.STILL
    while True:
        cast = _related_cast(relation, rng) if relation else _free_cast(count, camera, rng)
        if not _belongs(cast, relation, split):
            continue
        plan = Scene(actors=cast, background=_background(cast, camera, rng), relation=relation, camera=camera)
        place = _placed_together if relation else _placed_apart
        if placed := place(plan, rng):
            return replace(plan, actors=placed)


def _belongs(cast: tuple[Actor, ...], relation: Relation, split: Split) -> bool:
    if split == "train":
        return not any(map(holds_out, cast))
    return holds_out(cast[0]) if relation else any(map(holds_out, cast))


# Words


def _free_cast(count: int, camera: Camera, rng: Random) -> tuple[Actor, ...]:
    motions = MOTIONS_ON_CAMERA if camera else tuple(Motion)
    return tuple(_actor(colour, rng.choice(motions), rng) for colour in rng.sample(tuple(Colour), count))


def _actor(colour: Colour, motion: Motion, rng: Random) -> Actor:
    shape = rng.choice(tuple(Shape))
    texture = rng.choice(TEXTURES)
    if motion == Motion.SPINS and shape in ROUND and texture == Texture.PLAIN:
        texture = rng.choice((Texture.STRIPED, Texture.SPOTTED))
    return Actor(
        shape=shape,
        colour=colour,
        size=rng.choice(SIZES_THAT_FIT.get(motion, SIZES)),
        texture=texture,
        motion=motion,
        speed=rng.choice(SPEEDS) if motion in HAS_SPEED else Speed.USUAL,
        phase=rng.uniform(0, 2 * np.pi) if motion == Motion.ORBITS else 0.0,
        clockwise=rng.random() < 0.5 if motion in (Motion.SPINS, Motion.ORBITS) else False,
    )


def _related_cast(relation: Relation, rng: Random) -> tuple[Actor, ...]:
    """The motions and speeds that the relation needs, in sizes that let it be seen."""
    colours = rng.sample(tuple(Colour), 2)
    if relation == Relation.CHASES:
        motion = rng.choice(tuple(DIRECTION))
        first, second = (_actor(colour, motion, rng) for colour in colours)
        return replace(first, speed=Speed.USUAL), replace(second, speed=Speed.USUAL)
    first, second = _actor(colours[0], rng.choice(SIDEWAYS), rng), _actor(colours[1], Motion.STILL, rng)
    if relation == Relation.BUMPS_INTO:
        return replace(first, speed=rng.choice((Speed.USUAL, Speed.QUICK))), second
    size = rng.choice((Size.SMALL, Size.USUAL))
    cover = rng.choice([shape for shape in Shape if shape != Shape.RING])
    larger = {Size.SMALL: Size.USUAL, Size.USUAL: Size.BIG}[size]
    return replace(first, speed=Speed.QUICK, size=size), replace(second, size=larger, shape=cover)


def _background(cast: tuple[Actor, ...], camera: Camera, rng: Random) -> Background:
    """Colours, and a floor, that every actor stands out from."""
    clear = [colour for colour in BackgroundColour if _stands_out(cast, background_rgb(colour))]
    colours = rng.sample(clear, 2 if rng.random() < GRADIENT_SHARE and len(clear) > 1 else 1)
    background = Background(
        colours=tuple(colours),
        floor=rng.random() < FLOOR_SHARE,
        marks=rng.random() < MARKS_SHARE or bool(camera),
    )
    return replace(background, floor=background.floor and _stands_out(cast, floor_rgb(background)))


def _stands_out(cast: tuple[Actor, ...], rgb: Float[np.ndarray, "3"]) -> bool:
    behind = rgb.tolist()
    return all(
        dist(COLOUR_RGB[actor.colour], behind) >= CONTRAST
        and (actor.texture == Texture.PLAIN or dist(dark_tone(actor.colour), behind) >= DARK_TONE_CONTRAST)
        for actor in cast
    )


# Places


def _placed_apart(plan: Scene, rng: Random) -> tuple[Actor, ...] | None:
    """Everybody in view and away from those placed before; None if that takes too many attempts."""
    placed: list[Actor] = []
    trajectories: list[Path] = []
    for actor in plan.actors:
        for _ in range(PLACE_ATTEMPTS):
            candidate = _placed_alone(actor, plan, rng)
            (path,) = paths(replace(plan, actors=(candidate,)), TIMES)
            if _in_view(candidate, path, plan) and all(
                _apart(candidate, path, *other) for other in zip(placed, trajectories, strict=True)
            ):
                placed.append(candidate)
                trajectories.append(path)
                break
        else:
            return None
    return tuple(placed)


def _placed_together(plan: Scene, rng: Random) -> tuple[Actor, ...] | None:
    """Actor 0 relative to actor 1, so that the relation takes place in view; None if that takes too many attempts."""
    for _ in range(PLACE_ATTEMPTS):
        actors = RELATED_PLACES[plan.relation](plan, rng)
        trajectories = paths(replace(plan, actors=actors), TIMES)
        if _relation_happens(plan, trajectories) and all(
            _in_view(actor, path, plan) for actor, path in zip(actors, trajectories, strict=True)
        ):
            return actors
    return None


def _placed_alone(actor: Actor, plan: Scene, rng: Random) -> Actor:
    """Anywhere from where its whole path can be seen; movers are half way along after half the scene."""
    outline, radius, ground = OUTLINE[actor.shape], _largest_radius(actor), plan.background.ground
    bottom, top = ground + outline.below * radius, 1 - outline.above * radius
    move_x, move_y = (speed * SCENE_SECONDS / 2 for speed in velocity(actor))
    orbit = ORBIT_RADIUS if actor.motion == Motion.ORBITS else 0.0
    room_x = 0.5 + (OVERHANG - outline.half_width) * radius - abs(move_x) - orbit
    room_y = (top - bottom) / 2 - abs(move_y) - orbit
    x = _within(room_x, rng) - move_x
    y = (top + bottom) / 2 + _within(room_y, rng) - move_y
    match actor.motion:
        case Motion.STILL if plan.background.floor:
            y = bottom
        case Motion.FALLS:
            y = rng.uniform(top - 0.12, top)
        case Motion.BOUNCES:
            y = rng.uniform(min(bottom + 0.25, top), top)
    if plan.camera == Camera.ZOOMS_IN:
        x, y = x / 2, max(0.5 + (y - 0.5) / 2, bottom)
    pan = camera_path(plan.camera, np.array([SCENE_SECONDS / 2])).x[0]
    return replace(actor, x=x + float(pan), y=y)


def _place_behind(plan: Scene, rng: Random) -> tuple[Actor, ...]:
    """Half way through, actor 0 is behind actor 1."""
    mover, cover = plan.actors
    cover = replace(cover, x=_within(0.08, rng), y=_placed_alone(cover, plan, rng).y)
    x, y = cover.x - velocity(mover)[0] * SCENE_SECONDS / 2, cover.y
    if not plan.background.floor:
        y += _within(0.05, rng)
    return replace(mover, x=x + _within(0.04, rng), y=max(y, _lowest(mover, plan.background))), cover


def _place_bump(plan: Scene, rng: Random) -> tuple[Actor, ...]:
    """Actor 0 reaches actor 1 within the first second."""
    mover, target = plan.actors
    along, speed_x = DIRECTION[mover.motion][0], velocity(mover)[0]
    seconds = rng.uniform(0.5, 1.0)
    way = along * (_half_length(mover) + _half_length(target)) + speed_x * seconds
    start = -along * (0.5 - RADIUS[mover.size] * rng.uniform(0.7, 1.4))
    y = rng.uniform(max(_lowest(mover, plan.background), _lowest(target, plan.background)), 0.8)
    return replace(mover, x=start, y=y), replace(target, x=start + way, y=y + _within(0.02, rng))


def _place_chase(plan: Scene, rng: Random) -> tuple[Actor, ...]:
    """Actor 0 follows actor 1 at a constant distance."""
    hunter, hunted = plan.actors
    along_x, along_y = DIRECTION[hunter.motion]
    distance = _half_length(hunter) + _half_length(hunted) + rng.uniform(0.05, 0.12)
    x, y = _placed_alone(hunter, plan, rng).x, _placed_alone(hunter, plan, rng).y
    x, y = x - along_x * distance / 2, y - along_y * distance / 2
    return replace(hunter, x=x, y=y), replace(hunted, x=x + along_x * distance, y=y + along_y * distance)


RELATED_PLACES: Final[dict[Relation, Callable[[Scene, Random], tuple[Actor, ...]]]] = {
    Relation.PASSES_BEHIND: _place_behind,
    Relation.BUMPS_INTO: _place_bump,
    Relation.CHASES: _place_chase,
}


def _lowest(actor: Actor, background: Background) -> float:
    return background.ground + OUTLINE[actor.shape].below * RADIUS[actor.size]


def _half_length(actor: Actor) -> float:
    """From the centre to the outline, along the way the actor moves."""
    outline = OUTLINE[actor.shape]
    half = outline.half_width if DIRECTION.get(actor.motion, (1, 0))[0] else max(outline.above, outline.below)
    return RADIUS[actor.size] * half


def _largest_radius(actor: Actor) -> float:
    return RADIUS[actor.size] * (GROWTH if actor.motion == Motion.GROWS else 1.0)


def _within(room: float, rng: Random) -> float:
    room = max(room, 0.0)
    return rng.uniform(-room, room)


# Judging a layout


def _in_view(actor: Actor, path: Path, scene: Scene) -> bool:
    """Never further out of view than the overhang, and never below the floor."""
    camera, outline = camera_path(scene.camera, TIMES), OUTLINE[actor.shape]
    x, y = (path.x - camera.x) * camera.zoom, (path.y - 0.5) * camera.zoom
    radius = path.radius * camera.zoom
    above_floor = not scene.background.floor or (path.y - outline.below * path.radius).min() > FLOOR_HEIGHT - 1e-3
    return bool(
        above_floor
        and (np.abs(x) + (outline.half_width - OVERHANG) * radius).max() < 0.501
        and (y + (outline.above - OVERHANG) * radius).max() < 0.501
        and (-y + (outline.below - OVERHANG) * radius).max() < 0.501
    )


def _apart(actor: Actor, path: Path, other: Actor, other_path: Path) -> bool:
    reach = OUTLINE[actor.shape].reach * path.radius + OUTLINE[other.shape].reach * other_path.radius
    return bool((np.hypot(path.x - other_path.x, path.y - other_path.y) > reach).all())


def _relation_happens(plan: Scene, trajectories: list[Path]) -> bool:
    first, second = trajectories
    match plan.relation:
        case Relation.BUMPS_INTO:
            return float(np.hypot(np.ptp(second.x), np.ptp(second.y))) > 0.1
        case Relation.PASSES_BEHIND:
            apart = np.abs(first.x - second.x)[[0, -1]].min()
            return float(apart) > 0.75 * sum(map(_half_length, plan.actors))
    return True
