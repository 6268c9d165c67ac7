"""What a toybox scene is: typed words, the world's constants, and which combinations are never trained on.

World units: the clip's short side is 1. The origin is the middle of the frame's bottom edge, x to the right, y up;
a wider or taller frame shows more of the same world. Time is in seconds, angles in radians.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Final
from zlib import crc32


class Shape(StrEnum):
    BALL = "ball"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"
    HEART = "heart"
    RING = "ring"


class Colour(StrEnum):
    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    GREEN = "green"
    BLUE = "blue"
    PURPLE = "purple"
    PINK = "pink"
    WHITE = "white"


class Size(StrEnum):
    """How large the actor is when the clip starts. The empty word of this and other attributes is never said."""

    SMALL = "small"
    USUAL = ""
    BIG = "big"


class Texture(StrEnum):
    PLAIN = ""
    STRIPED = "striped"
    SPOTTED = "spotted"


class Motion(StrEnum):
    STILL = "stands still"
    LEFT = "moves left"
    RIGHT = "moves right"
    UP = "moves up"
    DOWN = "moves down"
    BOUNCES = "bounces"
    FALLS = "falls"
    SPINS = "spins"
    GROWS = "grows"
    SHRINKS = "shrinks"
    ORBITS = "orbits"
    BLINKS = "blinks"


class Speed(StrEnum):
    SLOW = "slowly"
    USUAL = ""
    QUICK = "quickly"


class Relation(StrEnum):
    """What actor 0 does to actor 1. Both motions and speeds follow from it, and captions say only the relation."""

    NONE = ""
    PASSES_BEHIND = "passes behind"
    BUMPS_INTO = "bumps into"
    CHASES = "chases"


class Camera(StrEnum):
    STILL = ""
    ZOOMS_IN = "zooms in"
    ZOOMS_OUT = "zooms out"
    PANS_LEFT = "pans left"
    PANS_RIGHT = "pans right"


class BackgroundColour(StrEnum):
    BLACK = "black"
    NAVY = "navy"
    GREY = "grey"
    BROWN = "brown"
    TEAL = "teal"
    BEIGE = "beige"


COLOUR_RGB: Final[dict[Colour, tuple[int, int, int]]] = {
    Colour.RED: (215, 15, 40),
    Colour.ORANGE: (255, 125, 0),
    Colour.YELLOW: (255, 235, 40),
    Colour.GREEN: (40, 190, 50),
    Colour.BLUE: (40, 105, 255),
    Colour.PURPLE: (150, 35, 215),
    Colour.PINK: (255, 115, 185),
    Colour.WHITE: (252, 252, 252),
}
BACKGROUND_RGB: Final[dict[BackgroundColour, tuple[int, int, int]]] = {
    BackgroundColour.BLACK: (14, 14, 16),
    BackgroundColour.NAVY: (20, 28, 105),
    BackgroundColour.GREY: (112, 114, 118),
    BackgroundColour.BROWN: (105, 66, 36),
    BackgroundColour.TEAL: (0, 112, 108),
    BackgroundColour.BEIGE: (200, 182, 148),
}
RADIUS: Final[dict[Size, float]] = {Size.SMALL: 0.09, Size.USUAL: 0.13, Size.BIG: 0.19}
PACE: Final[dict[Speed, float]] = {Speed.SLOW: 0.5, Speed.USUAL: 1.0, Speed.QUICK: 2.0}
"""How many times faster than usual."""

SCENE_SECONDS: Final = 2.0
"""Scenes are laid out so that everything is to be seen within this time; after it they simply go on."""
GRAVITY: Final = 2.0
"""Units per second squared, downwards, for whatever bounces or falls. Bounces are elastic, so they never end."""
VELOCITY: Final = 0.165
"""Units per second of whatever moves at the usual speed."""
SPIN: Final = 2.0944
"""Radians per second: a third of a turn. Slow enough that no shape's symmetry aliases at 8 fps, even quickly."""
ORBIT: Final = 3.14159
"""Radians per second: one turn in two seconds, about a fixed point."""
ORBIT_RADIUS: Final = 0.22
BLINK: Final = 1.0
"""Blinks per second; the actor is there in the first half of each."""
GROWTH: Final = 2.5
"""The radius is multiplied (grows) or divided (shrinks) by this, at a steady rate, and then stays."""
GROWTH_SECONDS: Final = 1.5
PAN: Final = 0.2
"""Units per second."""
ZOOM: Final = 1.35
"""Times per second."""
CAMERA_SECONDS: Final = 3.0
"""The camera moves this long and then stays, so that long clips do not lose sight of the scene."""
FLOOR_HEIGHT: Final = 0.18
"""The ground line of scenes with a floor; without one, the frame's bottom edge is the ground."""

HAS_SPEED: Final = frozenset(Motion) - {Motion.STILL, Motion.BOUNCES, Motion.FALLS}
"""Motions that can be slow or quick. Gravity is one constant, so what it drives cannot."""
HELD_OUT_SHARE: Final = 10
"""One combination of (shape, colour, motion) in this many is never trained on."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """One object.

    x, y: the centre at time 0, in world units (of an orbit: the point it goes about); phase: where on its orbit
    it starts, in radians; clockwise: which way it spins or orbits.
    """

    shape: Shape
    colour: Colour
    size: Size = Size.USUAL
    texture: Texture = Texture.PLAIN
    motion: Motion = Motion.STILL
    speed: Speed = Speed.USUAL
    x: float = 0.0
    y: float = 0.5
    phase: float = 0.0
    clockwise: bool = False


@dataclass(frozen=True, kw_only=True)
class Background:
    """colours: one, or two of a vertical gradient (top, bottom); marks: faint dots that are fixed to the world,
    by which the camera's moves are seen."""

    colours: tuple[BackgroundColour, ...] = (BackgroundColour.BLACK,)
    floor: bool = False
    marks: bool = False

    @property
    def kind(self) -> str:
        return "plain" if len(self.colours) == 1 else "gradient"

    @property
    def ground(self) -> float:
        """The height that falling things land on."""
        return FLOOR_HEIGHT if self.floor else 0.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One to three actors, painted in order (actor 0 is behind), before a background, seen by a camera."""

    actors: tuple[Actor, ...]
    background: Background = Background()
    relation: Relation = Relation.NONE
    camera: Camera = Camera.STILL

    def __post_init__(self) -> None:
        if self.relation and len(self.actors) != 2:
            raise ValueError(f"a relation is between two actors; {self.relation!r} was given {len(self.actors)}")


def is_held_out(shape: Shape, colour: Colour, motion: Motion) -> bool:
    """True of one combination in ten, chosen by a hash of its words: the same on every machine, for ever."""
    return crc32(f"{shape}|{colour}|{motion}".encode()) % HELD_OUT_SHARE == 0


def holds_out(actor: Actor) -> bool:
    return is_held_out(actor.shape, actor.colour, actor.motion)


def scene_to_dict(scene: Scene) -> dict[str, Any]:
    """The scene as JSON-able values: strings, numbers, booleans, lists and dictionaries."""

    def jsonable(value: Any) -> Any:
        match value:
            case dict():
                return {key: jsonable(item) for key, item in value.items()}
            case tuple():
                return [jsonable(item) for item in value]
            case StrEnum():
                return value.value
        return value

    return jsonable(asdict(scene))


def scene_from_dict(values: Mapping[str, Any]) -> Scene:
    """The inverse of `scene_to_dict`. An unknown key or word is a ValueError."""
    _refuse_unknown_keys(Scene, values)
    _refuse_unknown_keys(Background, values["background"])
    return Scene(
        actors=tuple(_actor_from_dict(actor) for actor in values["actors"]),
        background=Background(
            **{
                **values["background"],
                "colours": tuple(BackgroundColour(colour) for colour in values["background"]["colours"]),
            }
        ),
        relation=Relation(values["relation"]),
        camera=Camera(values["camera"]),
    )


def _actor_from_dict(values: Mapping[str, Any]) -> Actor:
    _refuse_unknown_keys(Actor, values)
    words = {field.name: field.type for field in fields(Actor) if isinstance(field.type, type)}
    return Actor(**{key: words[key](value) for key, value in values.items()})


def _refuse_unknown_keys(kind: type, values: Mapping[str, Any]) -> None:
    known = {field.name for field in fields(kind)}
    if unknown := set(values) - known:
        raise ValueError(f"unknown keys {sorted(unknown)} in a {kind.__name__}; known are {sorted(known)}")
