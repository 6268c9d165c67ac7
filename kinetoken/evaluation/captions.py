"""Reading captions back: which attributes does a text state, and are they true of a scene?"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import permutations

from kinetoken.data.toybox import (
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
    sayings,
)

_KINDS: dict[str, type[StrEnum]] = {
    "shape": Shape,
    "colour": Colour,
    "size": Size,
    "texture": Texture,
    "motion": Motion,
    "speed": Speed,
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a text states; an attribute that it does not state is not there."""

    actors: tuple[dict[str, str], ...]
    relation: str
    background: tuple[str, ...]
    floor: bool
    camera: str


def read_caption(text: str) -> Reading:
    """Understand a caption of toybox, in any style. Words that say nothing are passed over, so that a wrong caption is
    read as far as it goes."""
    text, camera = _cut(text, r"(?:, )?the camera (?P<found>[a-z ]+)(?:, )?")
    text, place = _cut(text, r"(?:, | |^)(?:on|against)(?: an?)? (?P<found>[a-z ]+?)(?:, |$)")
    tokens = list(_tokens(text))
    actors: list[dict[str, str]] = [{}]
    for kind, word in tokens:
        if kind in ("and", "relation"):
            actors.append({})
        else:
            actors[-1].setdefault(kind, word)
    return Reading(
        actors=tuple(actor for actor in actors if actor),
        relation=next((word for kind, word in tokens if kind == "relation"), ""),
        background=tuple(word for word in place.split() if word in set(BackgroundColour)),
        floor="floor" in place,
        camera=next((word for word in Camera if word and camera.strip() in sayings(word)), ""),
    )


def caption_verdict(text: str, scene: Scene) -> dict[str, bool]:
    """For every attribute that a full caption of the scene states, and every further one that this text states: whether
    the text has it right. What it leaves out is wrong."""
    reading, truth = read_caption(text), _truth(scene)
    return max(
        (_compared(reading, order, truth) for order in permutations(range(max(3, len(reading.actors))), 3)),
        key=lambda verdict: sum(verdict.values()) - len(verdict),
    )


def _cut(text: str, pattern: str) -> tuple[str, str]:
    """(the text without what the pattern finds, what it finds)."""
    found = re.search(pattern, text)
    if found is None:
        return text, ""
    return f"{text[: found.start()]} {text[found.end() :]}", found["found"]


def _phrases() -> list[tuple[str, str, str]]:
    """(phrase, kind, word), the longest phrases first, so that "circles around" is no circle."""
    kinds: dict[str, type[StrEnum]] = {**_KINDS, "relation": Relation}
    found: list[tuple[str, str, str]] = [
        (phrase, kind, word) for kind, words in kinds.items() for word in words if word for phrase in sayings(word)
    ]
    found += [(link, "and", link) for link in ("and", "while", ",")]
    return sorted(found, key=lambda entry: -len(entry[0]))


_PHRASES = _phrases()
_PATTERN = re.compile("|".join(rf"\b{re.escape(phrase)}\b" if phrase != "," else "," for phrase, _, _ in _PHRASES))
_MEANING = {phrase: (kind, str(word)) for phrase, kind, word in _PHRASES}


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    return (_MEANING[found.group()] for found in _PATTERN.finditer(text))


def _truth(scene: Scene) -> dict[str, str]:
    """What a full caption states, by attribute path; unsaid attributes are left out."""
    told = ("shape", "colour", "size", "texture") if scene.relation else tuple(_KINDS)
    truth = {
        f"actors.{index}.{kind}": str(getattr(actor, kind)) for index, actor in enumerate(scene.actors) for kind in told
    }
    truth |= {
        "relation": str(scene.relation),
        "background": " to ".join(scene.background.colours),
        "background.floor": "floor" if scene.background.floor else "",
        "camera": str(scene.camera),
    }
    return {path: word for path, word in truth.items() if word}


def _compared(reading: Reading, order: tuple[int, ...], truth: dict[str, str]) -> dict[str, bool]:
    """The verdict if the scene's actor i is what the text's clause order[i] speaks of."""
    said = {
        f"actors.{place}.{kind}": word
        for place, index in enumerate(order)
        if index < len(reading.actors)
        for kind, word in reading.actors[index].items()
    }
    said |= {
        "relation": reading.relation,
        "background": " to ".join(reading.background),
        "background.floor": "floor" if reading.floor else "",
        "camera": reading.camera,
    }
    said = {path: word for path, word in said.items() if word}
    return {path: truth.get(path) == said.get(path) for path in truth.keys() | said.keys()}
