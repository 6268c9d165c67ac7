"""Descriptions with one attribute changed, which a judge must reject."""

from collections.abc import Sequence
from dataclasses import fields, replace
from enum import StrEnum
from random import Random
from typing import Any, Final

from kinetoken.data.toybox import (
    Actor,
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
)
from kinetoken.data.toybox_scene import HAS_SPEED

ROUND: Final = (Shape.BALL, Shape.RING)
WORDS: Final[dict[str, type[StrEnum]]] = {
    "shape": Shape,
    "colour": Colour,
    "size": Size,
    "texture": Texture,
    "motion": Motion,
    "speed": Speed,
}


def change_one_attribute(scene: Scene, seed: int) -> tuple[Scene, str]:
    """The description with one attribute changed to another value, and the path of that attribute.

    What can be changed, and to what, is drawn evenly. Never to what another actor's clip would show as well: colours
    stay different, and what is plain and round is never said to spin.
    """
    rng = Random(f"{seed} change")
    changes = _changes(scene)
    kind = rng.choice(sorted({kind_of(path) for path in changes}))
    path = rng.choice([path for path in changes if kind_of(path) == kind])
    return rng.choice(changes[path]), path


def kind_of(path: str) -> str:
    """ "colour" of "actors.0.colour", "floor" of "background.floor"; the last word of the path."""
    return path.rsplit(".", 1)[-1]


def _changes(scene: Scene) -> dict[str, Sequence[Scene]]:
    """Every changed description, by the path of what was changed; paths that cannot change are left out."""
    changes: dict[str, Sequence[Scene]] = {
        "background": _other_backgrounds(scene),
        "background.floor": [replace(scene, background=replace(scene.background, floor=not scene.background.floor))],
        "camera": [replace(scene, camera=camera) for camera in Camera if camera != scene.camera],
    }
    if scene.relation:
        others = [relation for relation in Relation if relation and relation != scene.relation]
        changes["relation"] = [replace(scene, relation=relation) for relation in others]
    for index, actor in enumerate(scene.actors):
        for name in WORDS:
            if not (scene.relation and name in ("motion", "speed")):
                changes[f"actors.{index}.{name}"] = _other_actors(scene, index, actor, name)
    return {path: others for path, others in changes.items() if others}


def _other_backgrounds(scene: Scene) -> list[Scene]:
    """One of the colours is another one."""
    colours = scene.background.colours
    free = [colour for colour in BackgroundColour if colour not in colours]
    changed = [(*colours[:i], colour, *colours[i + 1 :]) for i in range(len(colours)) for colour in free]
    return [replace(scene, background=replace(scene.background, colours=pair)) for pair in changed]


def _other_actors(scene: Scene, index: int, actor: Actor, name: str) -> list[Scene]:
    """One word about this actor is another one, where that can be seen to be false."""
    taken = {other.colour for other in scene.actors} | {getattr(actor, name)}
    changed = [_reworded(actor, name, word) for word in WORDS[name] if word not in taken]
    return [
        replace(scene, actors=(*scene.actors[:index], other, *scene.actors[index + 1 :]))
        for other in changed
        if other is not None
    ]


def _reworded(actor: Actor, name: str, word: Any) -> Actor | None:
    """The actor with another word, or None if that is none that a description would say."""
    assert name in {field.name for field in fields(Actor)}
    other = replace(actor, **{name: word})
    if other.motion not in HAS_SPEED:
        if name == "speed":
            return None
        other = replace(other, speed=Speed.USUAL)
    unseen = other.motion == Motion.SPINS and other.shape in ROUND and other.texture == Texture.PLAIN
    return None if unseen else other
