"""Tracks: which things, seen in layers of time one by one, are the same."""

import torch

from kinetoken.data.toybox_layout import LOOKS
from kinetoken.layout import MARGIN, SIZE, WAY, X, digits
from kinetoken.tracks import Course, Sight, followed

RADICES = digits(LOOKS)


def _sight(x: int, y: int, shape: int, before: tuple[int, int], *, seen: int = 16, likely: float = 0.9) -> Sight:
    """In eighths from the grid's corner."""
    thing = torch.tensor((seen, shape, 0, 0, MARGIN + x, MARGIN + y, 8, 0, WAY, WAY, 0))
    looks = [torch.full((radix,), 0.02 / radix) for radix in LOOKS]
    for likely_of, digit in zip(looks, (shape, 0, 0), strict=True):
        likely_of[digit] += 0.98
    return Sight(thing, [MARGIN + before[0], MARGIN + before[1]], looks, likely)


def _places(track: Course) -> dict[int, list[int]]:
    return {time: (thing[X:SIZE] - MARGIN).tolist() for time, thing in sorted(track.things.items())}


def test_things_that_cross_keep_what_they_are() -> None:
    sights = [
        [_sight(8, 8, 1, (8, 8)), _sight(40, 8, 2, (40, 8))],
        [_sight(28, 8, 1, (8, 8)), _sight(20, 8, 2, (40, 8))],
        [_sight(0, 8, 2, (20, 8)), _sight(48, 8, 1, (28, 8))],
    ]
    first, second = sorted(followed(sights, [True] * 3, 3, RADICES), key=lambda track: int(track.things[0][X]))
    assert [thing[1].item() for thing in first.things.values()] == [1] * 3
    assert _places(first) == {0: [8, 8], 1: [28, 8], 2: [48, 8]}
    assert _places(second) == {0: [40, 8], 1: [20, 8], 2: [0, 8]}


def test_what_is_hidden_for_a_while_is_where_it_must_have_been() -> None:
    sights = [[_sight(8, 8, 1, (8, 8))], [], [_sight(28, 12, 1, (18, 10))], []]
    (track,) = followed(sights, [True] * 4, 3, RADICES)
    assert _places(track) == {0: [8, 8], 1: [18, 10], 2: [28, 12], 3: [38, 14]}
    assert [track.things[time][0].item() for time in range(4)] == [16] * 4


def test_what_blinks_is_not_seen_where_it_has_not_been_seen() -> None:
    sights = [[_sight(8, 8, 1, (8, 8))], [], [_sight(8, 8, 1, (8, 8), seen=4)]]
    (track,) = followed(sights, [True] * 3, 3, RADICES)
    assert track.things[1][0] == 1 and _places(track)[1] == [8, 8]


def test_of_layers_that_are_not_known_nothing_is_told() -> None:
    sights = [[_sight(8, 8, 1, (8, 8))], [], []]
    (track,) = followed(sights, [True, False, False], 3, RADICES)
    assert list(track.things) == [0]


def test_looks_are_what_most_layers_say() -> None:
    sights = [[_sight(8, 8, shape, (8, 8))] for shape in (1, 1, 2, 1)]
    (track,) = followed(sights, [True] * 4, 3, RADICES)
    assert all(thing[1] == 1 for thing in track.things.values())


def test_there_are_no_more_things_than_a_layout_has_room_for_and_none_that_flickered() -> None:
    row = [_sight(16 * k, 8, 1 + k, (16 * k, 8), likely=0.6 + 0.05 * k) for k in range(5)]
    tracks = list(followed([row[:3], row[2:], row[2:4]], [True] * 3, 2, RADICES))
    assert {int(track.things[1][1]) for track in tracks} == {3, 4}
    once = [[row[0], row[1]], [row[1]], [row[1]]]
    (track,) = followed(once, [True] * 3, 3, RADICES)
    assert track.things[0][1] == 2


def test_nothing_seen_is_nothing_told() -> None:
    assert not list(followed([[], []], [True, True], 3, RADICES))


def test_what_is_never_seen_twice_costs_no_time_to_follow() -> None:
    """Two hundred layers of three strangers each, as in a clip of something else: all are told apart at once."""
    sights = [[_sight(40 * k, 100 * (time % 2), 1 + k, (0, -400)) for k in range(3)] for time in range(200)]
    assert len(list(followed(sights, [True] * 200, 3, RADICES))) <= 3
