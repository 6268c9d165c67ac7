"""Layout: what is where in every layer of time, in numbers, beside the words and before the picture.

A thing is a row of digits: whether it is there, the digits of its looks (as whoever made the data counts them), then x,
y, size and angle. x and y are its centre's, in eighths of a cell, 0 being MARGIN before the grid's corner; size is its
radius in eighths of a cell, angle in ANGLES to the turn, anticlockwise. A thing that is not there is all zeros, one of
which nobody has said anything is all HIDDEN.

Places as words of a language are Pix2Seq's (Chen et al. 2022), places as what a picture is made from are GLIGEN's (Li
et al. 2023). Here one network does both: it writes a layout, then paints what it wrote.
"""

from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

EIGHTHS: Final = 8  # of a cell: the unit of places and sizes
MARGIN: Final = 64  # eighths that a centre may lie outside of the grid
PLACES: Final = 320  # so that grids of 24 cells can be told, with a margin on either side
SIZES: Final = 128
ANGLES: Final = 24
HIDDEN: Final = -1
REACH: Final = 3  # layers from which a thing is foretold
TURNS: Final = (2.0, 2**0.5, 0.0, -2.0)
"""Twice the cosine of how far a thing may go about a centre from layer to layer: not at all, which is a fall or a
bounce, an eighth of a turn, a quarter, half of one."""
GUESSES: Final = 2 + len(TURNS)


def digits(looks: tuple[int, ...]) -> tuple[int, ...]:
    """Radices of a thing's digits."""
    return (2, *looks, PLACES, PLACES, SIZES, ANGLES)


def centres(things: Int[Tensor, "*things digits"]) -> Float[Tensor, "*things 2"]:
    """(x, y) in cells from the grid's corner."""
    return (things[..., -4:-2].float() - (MARGIN - 0.5)) / EIGHTHS


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


def going_on(
    near: Int[Tensor, "things sides reach digits"], radices: tuple[int, ...]
) -> tuple[Int[Tensor, "things guesses digits"], Bool[Tensor, "things guesses digits"]]:
    """What a thing would be if, seen from either side, it stayed as it is, moved on as it moves, or went on a circle or
    under gravity: from one, two and three layers; and which of these can be told.

    All of the last kind are one + c (one - two) - (two - three), the recurrence of what turns by a fixed angle, c being
    twice its cosine.
    """
    one, two, three = near.unbind(2)
    turns = [one + (c * (one - two)).round().long() - (two - three) for c in TURNS]
    guesses = torch.stack((one, 2 * one - two, *turns), dim=2)
    told = torch.stack(((near[..., 0] != HIDDEN), *[near[..., 0] > 0] * (len(radices) - 1)), dim=-1).cumprod(2).bool()
    told = torch.cat((told, *[told[:, :, 2:]] * (len(TURNS) - 1)), dim=2)
    guesses[..., -1] %= ANGLES
    highest = torch.tensor(radices, device=near.device) - 1
    return guesses.clamp_min(0).minimum(highest).flatten(1, 2), told.flatten(1, 2)
