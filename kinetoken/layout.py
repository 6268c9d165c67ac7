"""Layout: what is where in every layer of time, in numbers, beside the words and before the picture.

A thing is a row of digits: whether it is there, the digits of its looks (as whoever made the data counts them), then x,
y, size and angle. x and y are its centre's, in eighths of a cell, 0 being MARGIN before the grid's corner; size is its
radius in eighths of a cell, angle in ANGLES to the turn, anticlockwise. A thing that is not there is all zeros, one of
which nobody has said anything is all HIDDEN.

Places as words of a language are Pix2Seq's (Chen et al. 2022), places as what a picture is made from are GLIGEN's (Li
et al. 2023). Here one network does both: it writes a layout, then paints what it wrote.
"""

from typing import Final

from jaxtyping import Float, Int
from torch import Tensor

EIGHTHS: Final = 8  # of a cell: the unit of places and sizes
MARGIN: Final = 64  # eighths that a centre may lie outside of the grid
PLACES: Final = 320  # so that grids of 24 cells can be told, with a margin on either side
SIZES: Final = 64
ANGLES: Final = 24
HIDDEN: Final = -1


def digits(looks: tuple[int, ...]) -> tuple[int, ...]:
    """Radices of a thing's digits."""
    return (2, *looks, PLACES, PLACES, SIZES, ANGLES)


def centres(things: Int[Tensor, "*things digits"]) -> Float[Tensor, "*things 2"]:
    """(x, y) in cells from the grid's corner."""
    return (things[..., -4:-2].float() - (MARGIN - 0.5)) / EIGHTHS
