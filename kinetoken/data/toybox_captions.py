"""Scene to captions: four styles, all true, each listing what it states."""

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from kinetoken.data.toybox_scene import (
    Actor,
    Background,
    Camera,
    Motion,
    Relation,
    Scene,
    Shape,
    Size,
    Speed,
    Texture,
)

Style = Literal["terse", "full", "reworded", "shuffled"]
STYLES: Final[tuple[Style, ...]] = ("terse", "full", "reworded", "shuffled")

SYNONYMS: Final[dict[str, tuple[str, ...]]] = {
    Shape.BALL: ("circle", "disc"),
    Shape.SQUARE: ("box", "block"),
    Shape.RING: ("hoop", "loop"),
    Size.SMALL: ("little", "tiny"),
    Size.BIG: ("large", "huge"),
    Texture.STRIPED: ("stripy", "with stripes"),
    Texture.SPOTTED: ("dotted", "with spots"),
    Motion.STILL: ("stays still", "does not move"),
    Motion.LEFT: ("goes left", "slides to the left"),
    Motion.RIGHT: ("goes right", "slides to the right"),
    Motion.UP: ("goes up", "rises"),
    Motion.DOWN: ("goes down", "sinks"),
    Motion.BOUNCES: ("bounces up and down", "leaps"),
    Motion.FALLS: ("drops", "falls down"),
    Motion.SPINS: ("rotates", "turns round"),
    Motion.GROWS: ("gets bigger", "expands"),
    Motion.SHRINKS: ("gets smaller", "contracts"),
    Motion.ORBITS: ("goes in circles", "circles around"),
    Motion.BLINKS: ("flashes", "appears and disappears"),
    Speed.SLOW: ("gently", "unhurriedly"),
    Speed.QUICK: ("rapidly", "fast"),
    Relation.PASSES_BEHIND: ("goes behind", "moves behind"),
    Relation.BUMPS_INTO: ("hits", "collides with"),
    Relation.CHASES: ("follows", "runs after"),
    Camera.ZOOMS_IN: ("moves closer",),
    Camera.ZOOMS_OUT: ("moves away",),
    Camera.PANS_LEFT: ("moves left",),
    Camera.PANS_RIGHT: ("moves right",),
}
"""Other ways to say a word; words that are not here have none. Keys are told apart by their text, so the camera's
"moves left" never meets a motion's: the motion is a key, the camera's synonym is only a value."""


@dataclass(frozen=True, kw_only=True)
class Caption:
    """stated: paths of the attributes that the text states, such as "actors.0.colour", "background.floor", "camera"."""

    text: str
    style: Style
    stated: frozenset[str]


def captions(scene: Scene, seed: int = 0) -> list[Caption]:
    """One caption of each style, all true of the scene; the seed picks the wording. Actors are named in the scene's
    order: what is named first is the first thing of a layout."""
    return [_caption(scene, style, Random(f"{seed} {style}")) for style in STYLES]


def sayings(word: str) -> tuple[str, ...]:
    """Every way in which a caption may say an attribute's word."""
    return (word, *SYNONYMS.get(word, ()))


class _Voice:
    """Says words in one style and keeps account of what it has stated."""

    def __init__(self, style: Style, rng: Random) -> None:
        self.style, self.rng, self.stated = style, rng, set[str]()

    def say(self, word: str, path: str) -> str:
        """The word, or a synonym; nothing for what is unsaid."""
        if not word:
            return ""
        self.stated.add(path)
        return self.rng.choice(sayings(word)) if self.style == "reworded" else word

    def may_say(self, word: str, path: str) -> str:
        """As `say`, but a terse voice leaves out every other attribute."""
        return "" if self.style == "terse" and self.rng.random() < 0.5 else self.say(word, path)


def _caption(scene: Scene, style: Style, rng: Random) -> Caption:
    voice = _Voice(style, rng)
    text = _frame(_action(scene, voice), scene, voice)
    return Caption(text=text, style=style, stated=frozenset(voice.stated))


def _frame(action: str, scene: Scene, voice: _Voice) -> str:
    """Where it happens and how it is seen: after the action, before it, or (terse) not at all."""
    if voice.style == "terse":
        return action
    place, view = _place(scene.background, voice), _view(scene.camera, voice)
    if voice.style == "shuffled":
        return ", ".join(filter(None, (view, place, action)))
    return ", ".join(filter(None, (f"{action} {place}", view)))


def _place(background: Background, voice: _Voice) -> str:
    voice.stated.add("background")
    colours = " to ".join(background.colours)
    if voice.style == "reworded":
        place = voice.rng.choice((f"on {colours}", f"against a {colours} background"))
    else:
        place = f"on a {colours} background"
    floor = voice.say("floor" if background.floor else "", "background.floor")
    return f"{place} with a {floor}" if floor else place


def _view(camera: Camera, voice: _Voice) -> str:
    view = voice.say(camera, "camera")
    return f"the camera {view}" if view else ""


def _action(scene: Scene, voice: _Voice) -> str:
    if scene.relation:
        first, second = (_noun(actor, i, voice) for i, actor in enumerate(scene.actors))
        return f"{first} {voice.say(scene.relation, 'relation')} {second}"
    *others, last = [_clause(actor, i, voice) for i, actor in enumerate(scene.actors)]
    link = voice.rng.choice(("and", "while")) if voice.style != "terse" else "and"
    return f"{', '.join(others)} {link} {last}" if others else last


def _clause(actor: Actor, index: int, voice: _Voice) -> str:
    noun = _noun(actor, index, voice)
    motion = voice.say(actor.motion, f"actors.{index}.motion")
    speed = voice.may_say(actor.speed, f"actors.{index}.speed")
    before = voice.style == "shuffled" or (voice.style == "reworded" and speed != "fast" and voice.rng.random() < 0.3)
    return _words(noun, *((speed, motion) if before else (motion, speed)))


def _noun(actor: Actor, index: int, voice: _Voice) -> str:
    path = f"actors.{index}"
    size = voice.may_say(actor.size, f"{path}.size")
    texture = voice.may_say(actor.texture, f"{path}.texture")
    colour = voice.say(actor.colour, f"{path}.colour")
    shape = voice.say(actor.shape, f"{path}.shape")
    after = texture if texture.startswith("with ") else ""
    before = [size, "" if after else texture, colour]
    if voice.style == "shuffled":
        voice.rng.shuffle(before)
    words = _words(*before, shape, after)
    if voice.style == "terse" and voice.rng.random() < 0.5:
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _words(*words: str) -> str:
    return " ".join(filter(None, words))
