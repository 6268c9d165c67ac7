"""Tracks: which things, seen in layers of time one by one, are the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Final, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kinetoken.layout import EIGHTHS, QUARTERS, SIZE, X

STRANGE: Final = 10.0  # what it costs to take a thing for one that has not been seen before
UNLIKE: Final = 4.0  # likewise of an e-th part of likeness, where a cell of distance costs 1
LOST: Final = 1.5  # likewise of each layer in which it has not been seen
FLICKER: Final = 0.8  # how surely a thing must have been seen, if it was in one layer of many


class Sight(NamedTuple):
    """A thing seen in one layer. before: (x, y) where it says it was a layer before, in the units of layouts. looks:
    how likely each digit of its looks is. likely: that it is there at all."""

    thing: Int[Tensor, " digits"]
    before: Sequence[int]
    looks: Sequence[Float[Tensor, " radix"]]
    likely: float


class Course(NamedTuple):
    """A thing through time. things: what it is in the layers that tell of it. looks: the logarithm of how likely each
    digit of its looks is, the mean over all sights, for they see the same thing again."""

    things: dict[int, Int[Tensor, " digits"]]
    looks: list[Float[Tensor, " _"]]


@dataclass
class _Track:
    sights: dict[int, Sight] = field(default_factory=dict)

    def cost(self, sight: Sight, time: int) -> float:
        """Of taking a sight for this thing: how far it says it was from where it was, in cells, and how unlike it
        looks."""
        last = max(self.sights)
        known, gap = self.sights[last], time - last
        places = sight.before if gap == 1 else sight.thing[X:SIZE].tolist()
        far = max(abs(a - b) for a, b in zip(places, known.thing[X:SIZE].tolist(), strict=True)) / EIGHTHS
        looks = zip(known.looks, sight.looks, strict=True)
        alike = [float((a * b).sqrt().sum().clamp_min(1e-3).log()) for a, b in looks]  # Bhattacharyya
        return (far if gap == 1 else 0.3 * far + LOST * (gap - 1)) - UNLIKE * sum(alike)

    def looks(self) -> list[Float[Tensor, " _"]]:
        said = zip(*(sight.looks for sight in self.sights.values()), strict=True)
        return [torch.stack(of).clamp_min(1e-4).log().mean(0) for of in said]

    @property
    def weight(self) -> float:
        return sum(sight.likely for sight in self.sights.values())


def followed(
    sights: Sequence[Sequence[Sight]], whole: Sequence[bool], most: int, radices: Sequence[int]
) -> Iterator[Course]:
    """At most `most` things, told of in the layers in which they have been seen and in those that are known as a
    whole."""
    tracks: list[_Track] = []
    for time, here in enumerate(sights):
        for sight, track in _matched(here, tracks, time):
            if track is None:
                tracks.append(track := _Track())
            track.sights[time] = sight
    many = sum(whole) > 2
    real = [t for t in tracks if len(t.sights) > 1 or not many or t.weight > FLICKER]
    kept = sorted(real, key=lambda track: -track.weight)[:most]
    for track in kept:
        yield _told(track, whole, radices)


def _matched(sights: Sequence[Sight], tracks: Sequence[_Track], time: int) -> Iterator[tuple[Sight, _Track | None]]:
    """The cheapest way to take sights for what is known, or for strangers. Whoever is more unlike every sight than a
    stranger is not asked, or long clips would have more ways than can be tried."""
    likely = [track for track in tracks if any(track.cost(sight, time) < STRANGE for sight in sights)]
    choices: list[_Track | None] = [*likely, *[None] * len(sights)]
    costs = [[STRANGE if track is None else track.cost(sight, time) for track in choices] for sight in sights]
    ways = permutations(range(len(choices)), len(sights))
    best = min(ways, key=lambda way: sum(costs[number][choice] for number, choice in enumerate(way)))
    return ((sight, choices[choice]) for sight, choice in zip(sights, best, strict=True))


def _told(track: _Track, whole: Sequence[bool], radices: Sequence[int]) -> Course:
    """In layers between sights, and before and after them, things are where a straight line leads; if they blink, they
    are not seen there. Their looks, which never change, are the likeliest."""
    times, looks = sorted(track.sights), track.looks()
    things = {time: track.sights[time].thing.clone() for time in times}
    always = 2**QUARTERS
    blinks = any(int(thing[0]) != always for thing in things.values())
    for time in range(len(whole)):
        if time in track.sights or not whole[time]:
            continue
        before, after = [t for t in times if t < time][-2:], [t for t in times if t > time][:2]
        one, two = (before[-1], after[0]) if before and after else ([*before, *after] * 2)[:2]
        near = min(times, key=lambda t: abs(t - time))
        thing = things[near].clone()
        if one != two:
            share = (time - one) / (two - one)
            start, end = (things[t][X:SIZE].double() for t in (one, two))
            thing[X:SIZE] = (start + share * (end - start)).round().long().clamp(0, radices[X] - 1)
        thing[0] = 1 if blinks else always
        things[time] = thing
    for thing in things.values():
        thing[1 : 1 + len(looks)] = torch.stack([of.argmax() for of in looks])
    return Course(things, looks)
