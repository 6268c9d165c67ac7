"""Painting: what the cells of a grid are told of the things of a layout."""

from math import pi
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kinetoken.layout import ANGLE, ANGLES, EIGHTHS, SIZE, WAY_ANGLE, beside, centres, ways
from kinetoken.norm import RMSNorm
from kinetoken.things import CHANGES, PLACE_WAVES, Things, changes, waves

RADIUS_WAVES: Final = (0.5, 1.0, 2.0, 4.0, 8.0)  # radii
DRAWING_WIDTH: Final = 256
NOT_DRAWN: Final = -1
STROKES: Final = 3  # residual layers of the small network that draws
NEAR_RADII: Final = 1.35  # so many, a star's reach, and NEAR_CELLS more is near to a thing
NEAR_CELLS: Final = 0.7
POSES: Final = 3  # in which a thing is seen: as it is, as it was half-way, as it was a layer before
COLOUR_WIDTH: Final = 48
COLOURS_WIDTH: Final = 256
CORNERS: Final = (-0.25, 0.25)  # cells from a cell's middle, across and down: four points


class Painted(NamedTuple):
    """What cells are told of things, whatever is known of the grid: on their way into the network, and for their
    logits. One layer stands for all where there is but one."""

    told: Float[Tensor, "batch time rows columns width"]
    drawn: Float[Tensor, "drawn_cells head_width"]
    row: Int[Tensor, "batch time rows columns"]  # of drawn, for each cell; NOT_DRAWN if there is none

    def part(self, canvases: int, layers: slice) -> "Painted":
        """Of so many canvases and of some layers."""
        told, row = (of[:canvases, layers] if of.shape[1] > 1 else of[:canvases] for of in (self.told, self.row))
        return Painted(told, self.drawn, row)


class ThingsOnGrid(nn.Module):
    """What each cell is told of the things of its layer: for every thing that is there, a small network's answer to
    where the cell lies, in cells and in the thing's own radii, seen from where the thing is, from where it was half-way
    and from where it was a layer before, and to how it has changed; their sum.

    A patch's one vector could be told all of this by attention, and learns it half as fast (docs/journal.md). The
    cells near a thing are drawn besides.
    """

    def __init__(
        self,
        looks: tuple[int, ...],
        slots: int,
        width: int,
        head_width: int,
        colours: int = 0,
        *,
        sight_width: int = 192,
        squeeze: int = 1,
    ) -> None:
        """colours: the radix of the digits by which codes tell the colours of their squares, if they do. sight_width:
        of the small network that sees from every cell to every thing. squeeze: how many times narrower than what is
        drawn are the layers between that draw it."""
        super().__init__()
        self.things = Things(looks)
        axis = POSES * (2 * len(PLACE_WAVES) + 2 * len(RADIUS_WAVES))
        self.whole = nn.Linear(self.things.width + CHANGES, sight_width)
        self.across, self.down = (nn.Linear(axis, sight_width, bias=False) for _ in range(2))
        self.between, self.out = nn.Linear(sight_width, sight_width), nn.Linear(sight_width, width)
        self.drawing = Drawing(self.things.width + CHANGES, slots, squeeze)
        self.tell, self.draw = nn.Linear(DRAWING_WIDTH, width), nn.Linear(DRAWING_WIDTH, head_width)
        self.colours = SquareColours(colours, head_width) if colours else None
        for layer in (self.tell, self.draw):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, things: Int[Tensor, "batch time things digits"], rows: int, columns: int, loop: bool = False
    ) -> Painted:
        """loop: the last layer precedes the first."""
        batch, time = things.shape[:2]
        where = (things[..., 0] > 0).nonzero()
        layer, slot = where[:, 0] * time + where[:, 1], where[:, 2]
        there, before = things[tuple(where.T)], beside(things, loop)[:, :, :, 0, 0][tuple(where.T)]
        looks, poses = torch.cat((self.things(there), changes(there, before)), dim=-1), _poses(there, before)
        middles = [torch.arange(count, device=things.device) + 0.5 for count in (columns, rows)]
        x, y = (middle - seat[..., None] for middle, seat in zip(middles, poses.seats.unbind(-1), strict=True))
        sights = self._sights(looks, x, y, poses.radii[:, :1, None])
        seen = sights.new_zeros(batch * time, *sights.shape[1:]).index_add_(0, layer, sights)
        told = F.linear(seen, self.out.weight)  # of a layer's things at once
        biases = torch.bincount(layer, minlength=len(seen))[:, None, None, None] * self.out.bias
        told = (told + biases.to(told.dtype)).flatten(0, 2)

        drawable = _near(x, y, poses.radii) & (slot > 0)[:, None, None]  # the view is everywhere
        which, row, column = drawable.nonzero(as_tuple=True)
        place = (layer[which] * rows + row) * columns + column
        drawing = self.drawing(looks, slot, which, x[which, :, column], y[which, :, row], poses)
        told.index_add_(0, place, self.tell(drawing))
        cells, at = place.unique(return_inverse=True)
        drawn = told.new_zeros(len(cells), self.draw.out_features).index_add_(0, at, self.draw(drawing))
        row_of = torch.full((len(told),), NOT_DRAWN, device=told.device)
        row_of[cells] = torch.arange(len(cells), device=told.device)
        shape = batch, time, rows, columns
        return Painted(told.unflatten(0, shape), drawn, row_of.unflatten(0, shape))

    def coloured(
        self, colours: Int[Tensor, "batch time rows columns"], places: Int[Tensor, " places"]
    ) -> Float[Tensor, "places head_width"]:
        """For their logits, what cells near to things are told of the colours of their squares. colours: the first
        digit of each cell's code, HIDDEN where it is not known. places: as if all cells were in one row."""
        if self.colours is None:
            return self.draw.bias.new_zeros(len(places), self.draw.out_features)
        told: Tensor = self.colours(colours, places)
        return told

    def _sights(
        self,
        looks: Float[Tensor, "things looks_width"],
        x: Float[Tensor, "things poses columns"],
        y: Float[Tensor, "things poses rows"],
        radius: Float[Tensor, "things 1 1"],
    ) -> Float[Tensor, "things rows columns sight_width"]:
        across, down = (linear(_along(away, radius)) for linear, away in ((self.across, x), (self.down, y)))
        begun = (self.whole(looks)[:, None] + down)[:, :, None] + across[:, None]
        return F.silu(self.between(F.silu(begun)))


class Poses(NamedTuple):
    """Of each thing, as it is, as it was half-way from the layer before, and as it was there, if it was."""

    seats: Float[Tensor, "things poses 2"]  # (x, y) in cells
    radii: Float[Tensor, "things poses"]  # cells
    angles: Float[Tensor, "things poses"]  # radians, anticlockwise


def _poses(things: Int[Tensor, "things digits"], before: Int[Tensor, "things digits"]) -> Poses:
    before = torch.where(before[:, :1] > 0, before, things)
    now = centres(things)
    seats = torch.stack((now, now - ways(things), centres(before)), dim=1)
    size, then = (layer[:, SIZE].float() / EIGHTHS for layer in (things, before))
    radii = torch.stack((size, (size + then) / 2, then), dim=1).clamp_min(0.25)
    turns = torch.stack((things[:, ANGLE], things[:, ANGLE] + things[:, WAY_ANGLE], before[:, ANGLE]), dim=1)
    return Poses(seats, radii, turns * (2 * pi / ANGLES))


def _near(
    x: Float[Tensor, "things poses columns"],
    y: Float[Tensor, "things poses rows"],
    radii: Float[Tensor, "things poses"],
) -> Bool[Tensor, "things rows columns"]:
    """Whether a cell is near to a thing in any of its poses."""
    reach = (NEAR_RADII * radii + NEAR_CELLS)[..., None, None]
    return (x.square()[:, :, None] + y.square()[..., None] < reach.square()).any(1)


class Drawing(nn.Module):
    """A small network for every cell near a thing. It is told where four points of the cell lie on the thing in all its
    poses, along its own axes and in its radii, from which a shape can be told as from its signed distance, turned or
    moving; and in which slot the thing is, for things are painted over those before them."""

    def __init__(self, looks_width: int, slots: int, squeeze: int = 1) -> None:
        super().__init__()
        self.whole, self.slot = nn.Linear(looks_width, DRAWING_WIDTH), nn.Embedding(slots, DRAWING_WIDTH)
        nn.init.zeros_(self.slot.weight)
        points = len(CORNERS) ** 2 * 2 * 2 * len(RADIUS_WAVES)
        self.enter = nn.Linear(POSES * (points + 2 * 2 * len(PLACE_WAVES)), DRAWING_WIDTH, bias=False)
        self.strokes = nn.ModuleList(Stroke(DRAWING_WIDTH // squeeze) for _ in range(STROKES))

    def forward(
        self,
        looks: Float[Tensor, "things looks_width"],
        slots: Int[Tensor, " things"],
        which: Int[Tensor, " cells"],
        x: Float[Tensor, "cells poses"],
        y: Float[Tensor, "cells poses"],
        poses: Poses,
    ) -> Float[Tensor, "cells drawing_width"]:
        """which: thing a cell is near to. x, y: of its middle, in cells, rightwards and downwards from each seat."""
        points = _on_the_thing(x, y, poses.radii[which], poses.angles[which])
        places = torch.stack((x, y), dim=-1)
        where = torch.cat((waves(points, RADIUS_WAVES).flatten(1), waves(places, PLACE_WAVES).flatten(1)), dim=-1)
        cells = (self.whole(looks) + self.slot(slots)).index_select(0, which) + self.enter(where)
        for stroke in self.strokes:
            cells = stroke(cells)
        return F.silu(cells)


class SquareColours(nn.Module):
    """What a cell is told of the colours of its square of 2 x 2 cells, as far as they are known: in a mosaic
    (tokenizer/mosaic.py) the first digits of the upper two cells are one colour, those of the lower two the other. A
    thing's tones hang on which of them is its own."""

    def __init__(self, radix: int, head_width: int) -> None:
        super().__init__()
        self.radix = radix
        self.first, self.second = (nn.Embedding(radix**2 + 1, COLOUR_WIDTH) for _ in range(2))
        self.place = nn.Embedding(4, COLOUR_WIDTH // 3)
        told = 2 * COLOUR_WIDTH + COLOUR_WIDTH // 3
        self.enter, self.leave = nn.Linear(told, COLOURS_WIDTH), nn.Linear(COLOURS_WIDTH, head_width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self, digits: Int[Tensor, "batch time rows columns"], places: Int[Tensor, " places"]
    ) -> Float[Tensor, "places head_width"]:
        """digits: HIDDEN where they are not known. places: which cells are told, as if all were in one row."""
        columns = digits.shape[3]
        left, right = rearrange(digits, "b t (r y) (k x) -> x (b t r) y k", y=2, x=2)
        colours = torch.where((left < 0) | (right < 0), self.radix**2, left * self.radix + right)
        down, across = places // columns, places % columns
        first, second = (colours[down // 2, which, across // 2] for which in range(2))
        told = self.first(first), self.second(second), self.place(down % 2 * 2 + across % 2)
        return self.leave(F.silu(self.enter(torch.cat(told, dim=-1))))


class Stroke(nn.Module):
    """A residual layer, which starts at zero."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = RMSNorm(DRAWING_WIDTH)
        self.enter, self.leave = nn.Linear(DRAWING_WIDTH, hidden), nn.Linear(hidden, DRAWING_WIDTH)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, cells: Float[Tensor, "*cells width"]) -> Float[Tensor, "*cells width"]:
        return cells + self.leave(F.silu(self.enter(self.norm(cells))))


def _along(
    away: Float[Tensor, "things poses places"], radius: Float[Tensor, "things 1 1"]
) -> Float[Tensor, "things places features"]:
    """How far each place is from a thing in all its poses, along one axis, in cells and in the thing's radii."""
    seen = torch.cat((waves(away, PLACE_WAVES), waves(away / radius, RADIUS_WAVES)), dim=-1)
    return seen.transpose(1, 2).flatten(2)


def _on_the_thing(
    x: Float[Tensor, "*cells"],
    y: Float[Tensor, "*cells"],
    radii: Float[Tensor, "*cells"],
    angles: Float[Tensor, "*cells"],
) -> Float[Tensor, "*cells coordinates"]:
    """Four points around each cell's middle, half a cell apart, along the thing's own axes, in its radii. x, y: of the
    middles, in cells, rightwards and downwards from the thing's centre."""
    corners = torch.tensor(CORNERS, device=x.device)
    right, up = (x[..., None] + corners)[..., None, :], -(y[..., None] + corners)[..., None]
    cosine, sine = (wave[..., None, None] for wave in (angles.cos(), angles.sin()))
    own = torch.stack((cosine * right + sine * up, cosine * up - sine * right), dim=-1)
    return own.flatten(-3) / radii[..., None]
