"""Layout: what is where in every layer of time, in numbers, beside the words and before the picture.

A thing is a row of digits: whether it is there and when in the layer's time it is to be seen, the digits of its
looks (as whoever made the data counts them), x, y, size and angle, and how x, y and angle were half-way from the
layer before. x and y are its centre's at the end of the layer's time, in eighths of a cell, 0 being MARGIN before the
grid's corner; size is its radius in eighths of a cell, angle in ANGLES to the turn, anticlockwise. Half-way, x and y
count from WAY less than they become, angle from what it becomes. A thing that is not there is all zeros, one of which
nobody has said anything is all HIDDEN. The first thing of every layer is the view, the others are what is to be seen.

Places as words of a language are Pix2Seq's (Chen et al. 2022), places as what a picture is made from are GLIGEN's (Li
et al. 2023). Here one network does both: it writes a layout, then paints what it wrote.
"""

from functools import lru_cache
from math import pi
from typing import Any, Final, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

EIGHTHS: Final = 8  # of a cell: the unit of places and sizes
MARGIN: Final = 64  # eighths that a centre may lie outside of the grid
PLACES: Final = 320  # so that grids of 24 cells can be told, with a margin on either side
SIZES: Final = 128
ANGLES: Final = 24
WAY: Final = 64  # eighths that a centre may move in half of a layer's time
QUARTERS: Final = (
    4  # of a layer's time: a thing's first digit is 1 more than the sum of 2^k for each in which it is seen
)
X, Y, SIZE, ANGLE, WAY_X, WAY_Y, WAY_ANGLE = range(-7, 0)  # of a thing's digits
HIDDEN: Final = -1
REACH: Final = 3  # layers from which a thing is foretold
TURNS: Final = (2.0, 2**0.5, 0.0, -2.0)
"""Twice the cosine of how far a thing may go about a centre from layer to layer: not at all, which is a fall or a
bounce, an eighth of a turn, a quarter, half of one."""
BENDS: Final = (1, -1, 2, -2, 4)
"""Eighths of a turn by which a step may differ from the one before it, anticlockwise."""
HALVES: Final = (0, 1, -1, 2, -2, 4, -4)
"""Sixteenths of a turn by which the second half of a step may differ from the first."""
STILL: Final = 2  # eighths that a thing may seem to have moved in a layer's time though it stands
FIRM: Final = 2  # eighths that both halves of a step are long if they are to say how it bends
NEARLY: Final = 2.0  # eighths by which a guess about a place may be off before little is left of its credit
GUESSES: Final = 2 + len(BENDS) + len(TURNS) + 1


def digits(looks: tuple[int, ...]) -> tuple[int, ...]:
    """Radices of a thing's digits."""
    return (1 + 2**QUARTERS, *looks, PLACES, PLACES, SIZES, ANGLES, 2 * WAY + 1, 2 * WAY + 1, ANGLES)


def centres(things: Int[Tensor, "*things digits"]) -> Float[Tensor, "*things 2"]:
    """(x, y) in cells from the grid's corner."""
    return (things[..., X:SIZE].float() - (MARGIN - 0.5)) / EIGHTHS


def ways(things: Int[Tensor, "*things digits"]) -> Float[Tensor, "*things 2"]:
    """(x, y), in cells, from where things were half-way to where they are at the end."""
    return (WAY - things[..., WAY_X:WAY_ANGLE].float()) / EIGHTHS


def reached(things: Int[Tensor, "*things digits"], rows: int, columns: int) -> Bool[Tensor, "*things rows columns"]:
    """The cells into which a thing's radius reaches from its centre. One that is not there reaches into none."""
    x, y = (centre[..., None] for centre in centres(things).unbind(-1))
    across, down = (
        ((torch.arange(count, device=things.device) + 0.5 - place).abs() - 0.5).clamp_min(0)
        for count, place in ((columns, x), (rows, y))
    )
    away = torch.hypot(down[..., :, None], across[..., None, :])
    return (away <= things[..., SIZE, None, None] / EIGHTHS) & (things[..., 0] > 0)[..., None, None]


def at_an_instant(things: Int[Tensor, "*things digits"]) -> Int[Tensor, "*things digits"]:
    """Things as they are at the end of their layer's time, as an image tells them: seen or not, and come from nowhere.
    One that is not there, or of which nothing is known, stays so."""
    still = things.clone()
    still[..., 0] = torch.where((things[..., 0] - 1) >= 2 ** (QUARTERS - 1), 2**QUARTERS, 1)
    still[..., WAY_X:] = things.new_tensor((WAY, WAY, 0))
    return torch.where(things[..., :1] > 0, still, things)


def order_of_telling(layout: Int[Tensor, "time things digits"]) -> list[int]:
    """In which order a clip's things are named, the view first, those that are never there last: what moves, whoever
    is behind before whoever is ahead, then what stands, from the left. Who runs into someone, passes or chases someone
    is so named before them, and where nothing of the kind happens any order will do."""
    there, places = layout[..., 0] > 0, layout[..., X:SIZE].double()
    begins = [int(there[:, thing].int().argmax()) for thing in range(layout.shape[1])]
    begun = torch.stack([places[time, thing] for thing, time in enumerate(begins)])
    after = [min(time + 1, len(layout) - 1) for time in begins]
    steps = torch.stack([places[time, thing] for thing, time in enumerate(after)]) - begun
    steps[[not bool(there[time, thing]) for thing, time in enumerate(after)]] = 0
    lengths = steps.norm(dim=-1, keepdim=True)
    moves = lengths[:, 0] > STILL
    heading = (steps / lengths.clamp_min(1))[1:][moves[1:]].sum(0)
    ahead = torch.where(moves, begun @ heading, begun[:, 0]).tolist()
    present, moving = there.any(0).tolist(), moves.tolist()
    return [0, *sorted(range(1, len(begins)), key=lambda thing: (not present[thing], not moving[thing], ahead[thing]))]


def beside(
    layout: Int[Tensor, "batch time things digits"], loop: bool = False
) -> Int[Tensor, "batch time things sides reach digits"]:
    """Of each thing, what it is in the REACH layers before it and in those after it, nearest first; HIDDEN where there
    is none. loop: the last layer precedes the first."""
    time = layout.shape[1]
    ends = layout.new_full((layout.shape[0], REACH, *layout.shape[2:]), HIDDEN)
    around = torch.cat((ends, layout, ends), dim=1)
    sides = [
        torch.stack(
            [
                layout.roll(-sign * k, dims=1) if loop else around[:, REACH + sign * k : REACH + sign * k + time]
                for k in range(1, REACH + 1)
            ],
            dim=3,
        )
        for sign in (-1, 1)
    ]
    return torch.stack(sides, dim=3)


class Others(NamedTuple):
    """The things of a layer, as each of them sees them. now: whether they are as they are in it; what is unknown there
    is as it was in the layer before, for what is written next must not run into it."""

    things: Int[Tensor, "*things all_things digits"]
    now: Bool[Tensor, "*things all_things"]


def together(layout: Int[Tensor, "batch time things digits"], loop: bool = False) -> Others:
    """Of each thing, all things of its layer; itself, if it is unknown, is HIDDEN. loop: the last layer precedes the
    first."""
    before, slots = beside(layout, loop)[:, :, :, 0, 0], layout.shape[2]
    now = (layout[..., 0] != HIDDEN)[:, :, None].expand(-1, -1, slots, -1)
    seen = torch.where(now[..., None], layout[:, :, None], before[:, :, None])
    itself = torch.eye(slots, dtype=torch.bool, device=layout.device)
    return Others(seen.masked_fill((itself & ~now)[..., None], HIDDEN), now)


class Foretold(NamedTuple):
    """What things might be, which digits of that can be told, and what they are in the two nearest layers of either
    side."""

    guesses: Int[Tensor, "things sides guesses digits"]
    told: Bool[Tensor, "things sides guesses digits"]
    near: Int[Tensor, "things sides 2 digits"]


Told = TypeVar("Told", Foretold, Others)


def at(told: Told, which: Any) -> Told:
    """Of some things, what is told."""
    return type(told)(*(part[which] for part in told))


def going_on(near: Int[Tensor, "things sides reach digits"], radices: tuple[int, ...]) -> Foretold:
    """What a thing would be if, seen from either side, it stayed as it is, moved on as it moves, bent off, went on by a
    fixed angle or under gravity, or curved as it did since half-way: from one, two, two, three and two layers; and
    which of these can be told.

    All of the last but one are one + c (one - two) - (two - three), the recurrence of what turns by a fixed angle, c
    being twice its cosine.
    """
    one, two, three = (layer[:, :, None] for layer in near.unbind(2))
    step = one - two
    turned = (near.new_tensor(TURNS, dtype=torch.float32)[:, None] * step).round().long()
    guesses = torch.cat((one, one + step, one + _bent(step), one + turned - (two - three), _curving(one, two)), dim=2)
    told = torch.stack(((near[..., 0] != HIDDEN), *[near[..., 0] > 0] * (len(radices) - 1)), dim=-1).cumprod(2).bool()
    counts = torch.tensor((1, 1 + len(BENDS), len(TURNS), 1), device=near.device)
    told = told[:, :, [0, 1, 2, 1]].repeat_interleave(counts, dim=2)
    guesses[..., [ANGLE, WAY_ANGLE]] %= ANGLES
    highest = torch.tensor(radices, device=near.device) - 1
    return Foretold(guesses.clamp_min(0).minimum(highest), told, near[:, :, :2])


def _bent(step: Int[Tensor, "things sides 1 digits"]) -> Int[Tensor, "things sides bends digits"]:
    """How much more everything is if x and y change by their last step, turned by each of BENDS, and all else stays."""
    turns = _turns(BENDS, pi / 4, step.device).conj()  # y is downwards
    bent = step.new_zeros(*step.shape[:2], len(BENDS), step.shape[3])
    bent[..., X:SIZE] = torch.view_as_real(_complex(step[..., X], step[..., Y]) * turns).round()
    return bent


def _curving(
    one: Int[Tensor, "things sides 1 digits"], two: Int[Tensor, "things sides 1 digits"]
) -> Int[Tensor, "things sides 1 digits"]:
    """What a thing would be if its way bent on, each half of a layer's time, by the angle by which it bent half-way
    between the two nearest layers, and went on as far; all else moves on. Seen from behind, half-way is what the nearer
    layer says, seen from ahead what the farther one does.
    """
    here, there = (_complex(layer[..., X], layer[..., Y]) for layer in (one, two))
    behind, ahead = (
        complex(WAY, WAY) - _complex(layer[:, side, :, WAY_X], layer[:, side, :, WAY_Y])
        for side, layer in ((0, one), (1, two))
    )
    half = torch.stack((here[:, 0] - behind, there[:, 1] - ahead), dim=1)
    first, second = half - there, here - half
    turn = torch.polar(torch.ones_like(first.real), (second * first.conj()).angle())
    turn = torch.where(torch.minimum(first.abs(), second.abs()) < FIRM, torch.ones_like(turn), turn)
    place = here + second * turn + second * turn**2
    way = torch.stack((second[:, 0] * turn[:, 0] ** 2, -second[:, 1] * turn[:, 1] ** 3), dim=1)
    guess = 2 * one - two
    for digit, value in ((X, place), (WAY_X, complex(WAY, WAY) - way)):
        guess[..., digit : digit + 2] = torch.view_as_real(value).round()
    return guess


def halfway(one: Int[Tensor, "things digits"], things: Int[Tensor, "things digits"]) -> Int[Tensor, "things ways 2"]:
    """WAY_X and WAY_Y of things that have come from `one`, if both halves of their step are equally long and the second
    is the first, turned by each of HALVES. What goes in a circle does so, and what goes straight."""
    turn = _turns(HALVES, pi / 8, things.device)
    x, y = (things - one)[:, X:SIZE].unbind(1)
    second = torch.view_as_real(_complex(x, y)[:, None] * (turn / (1 + turn)))
    return (WAY - second).round().long().clamp(0, 2 * WAY)


def agreement(
    ahead: Foretold, things: Int[Tensor, "things digits"], digit: int, come: Int[Tensor, "things ways 2"] | None
) -> Float[Tensor, "things all_guesses"]:
    """How right every guess (`going_on`, then `come`, the ways of `halfway`, if they can be told) was about what comes
    before a digit of x, y and way: 1 if it was, less the farther off it was about any, 0 if there is none."""
    before = [number for number in (X, Y, WAY_X) if number < digit]
    errors = (ahead.guesses[..., before] - things[:, None, None, before]).abs().amax(-1)
    right = ((errors / -NEARLY).exp() * ahead.told[..., before[-1]]).flatten(1)
    half_way = right.new_zeros(len(right), len(HALVES))
    if come is not None:
        error = (come[..., 0] - things[:, WAY_X, None]).abs()
        half_way = (error / -NEARLY).exp() * ahead.told[:, 0, :1, WAY_X]
    return torch.cat((right, half_way), dim=1)


@lru_cache
@torch.inference_mode(False)  # kept: what a sampler has asked for, training may ask for again
def _turns(counts: tuple[int, ...], angle: float, device: torch.device) -> Complex[Tensor, " turns"]:
    """By so many angles, anticlockwise where y is upwards."""
    return torch.polar(torch.ones(len(counts)), torch.tensor(counts) * angle).to(device)


def _complex(x: Int[Tensor, "*things"], y: Int[Tensor, "*things"]) -> Complex[Tensor, "*things"]:
    return torch.complex(x.float(), y.float())
