"""The judge: reads a clip and a description, and says for each attribute whether the clip shows it.

    verdict = judge(clip, scene)      # verdict.shown["actors.0.colour"], verdict.right(caption.stated)

It looks at pixels alone. Of the description it knows what a caption can say; where things start, how wide an actor is
to the pixel, which way it turns are free, because a generated clip is free in them. It recognises the setting
(`judge_background`), the actors' pixels (`judge_tracks`), their looks (`judge_looks`), their motions (`judge_motion`)
and relations (`judge_relation`), and this file compares what it recognised with what was said.

What no judge can decide: whether a camera moves before a background without marks (there, it is taken to stand
still); whether a plain ball or ring spins (it is taken not to); bounces from falls in clips that end before the
landing, and motions of actors that are out of view or hidden for most of the clip.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kinetoken.clip import Clip
from kinetoken.data.toybox import Actor, Scene
from kinetoken.data.toybox_scene import HAS_SPEED
from kinetoken.evaluation.judge_background import Setting
from kinetoken.evaluation.judge_changes import change_one_attribute
from kinetoken.evaluation.judge_gravity import fit_gravity
from kinetoken.evaluation.judge_relation import recognise_relation
from kinetoken.evaluation.judge_sight import Sight, Witness

__all__ = ["Verdict", "Witness", "change_one_attribute", "fit_gravity", "judge", "verdict"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """shown: whether the clip shows each attribute, by the paths under which captions state them."""

    shown: dict[str, bool]

    def right(self, stated: frozenset[str] | None = None) -> bool:
        """Whether all attributes are shown; with `stated`, all of those."""
        return all(shown for path, shown in self.shown.items() if stated is None or path in stated)


def judge(clip: Clip, scene: Scene, *, midway: bool = False) -> Verdict:
    """Whether the clip shows each attribute of the description. midway: the clip is a part of a longer one."""
    return verdict(Witness(clip, midway=midway), scene)


def verdict(witness: Witness, scene: Scene) -> Verdict:
    """An actor's attributes are judged on the pixels of its colour or, if the clip has none, on those of a colour that
    the description does not name. Two actors that are related have no motion and speed of their own."""
    sights = _cast(witness, scene)
    shown = {path: test(scene, witness.setting) for path, test in SCENE_TESTS.items()}
    for index, (actor, sight) in enumerate(zip(scene.actors, sights, strict=True)):
        for name in _judged(actor, scene):
            shown[f"actors.{index}.{name}"] = sight is not None and ACTOR_TESTS[name](actor, sight)
    if scene.relation:
        shown["relation"] = _is_related(scene, sights)
    return Verdict(shown=shown)


def _cast(witness: Witness, scene: Scene) -> list[Sight | None]:
    """Who plays each actor: what has its colour, or else the largest thing of a colour that nobody should have."""
    named = {actor.colour for actor in scene.actors}
    spare = [sight for colour in witness.by_size if colour not in named and (sight := witness.sight(colour))]
    return [witness.sight(actor.colour) or (spare.pop() if spare else None) for actor in scene.actors]


SCENE_TESTS: Final[dict[str, Callable[[Scene, Setting], bool]]] = {
    "background": lambda scene, found: found.plausible and found.background.colours == scene.background.colours,
    "background.floor": lambda scene, found: found.background.floor == scene.background.floor,
    "camera": lambda scene, found: found.camera == scene.camera,
}
ACTOR_TESTS: Final[dict[str, Callable[[Actor, Sight], bool]]] = {
    "colour": lambda actor, sight: sight.colour == actor.colour,
    "shape": lambda actor, sight: sight.shape == actor.shape,
    "texture": lambda actor, sight: sight.texture == actor.texture,
    "size": lambda actor, sight: sight.size == actor.size,
    "motion": lambda actor, sight: sight.motion == actor.motion,
    "speed": lambda actor, sight: (sight.motion, sight.speed) == (actor.motion, actor.speed),
}


def _judged(actor: Actor, scene: Scene) -> list[str]:
    """The names of the attributes that a caption can say of this actor."""
    unsaid = {"motion", "speed"} if scene.relation else set() if actor.motion in HAS_SPEED else {"speed"}
    return [name for name in ACTOR_TESTS if name not in unsaid]


def _is_related(scene: Scene, sights: list[Sight | None]) -> bool:
    first, second = sights
    return bool(first and second and recognise_relation(first.track, second.track) == scene.relation)
