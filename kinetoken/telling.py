"""Telling: how what is in a layout and in a grid is put into words."""

from typing import Final

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from kinetoken.layer import Layer
from kinetoken.norm import RMSNorm
from kinetoken.things import CHANGES, PLACE_WAVES, Things, courses, over_time

COURSE_WIDTH: Final = 192
GROUND_WIDTH: Final = 128
BANDS: Final = 4  # from top to bottom
LAYERS: Final = 2


class Telling(nn.Module):
    """Words, the course of each thing through all of time, and the ground in bands from top to bottom, in layers of the
    transformer's kind: so what one clause says of one thing is not said of the other by the next.

    What a layout says was told to every word alike before, as a sum, and the second of two things moved as the first
    did (docs/journal.md). Only words that are to be written need it.
    """

    def __init__(
        self, looks: tuple[int, ...], slots: int, cell_width: int, width: int, head_width: int, hidden: int
    ) -> None:
        super().__init__()
        self.things = Things(looks)
        features = self.things.width + 2 * 2 * len(PLACE_WAVES) + CHANGES
        self.enter, self.between = nn.Linear(features, COURSE_WIDTH), nn.Linear(COURSE_WIDTH, COURSE_WIDTH)
        self.course, self.slot = nn.Linear(COURSE_WIDTH + 2, width), nn.Embedding(slots, width)
        self.square, self.shade = nn.Linear(4 * cell_width, GROUND_WIDTH), nn.Linear(GROUND_WIDTH, GROUND_WIDTH)
        self.ground, self.band = nn.Linear(GROUND_WIDTH, width), nn.Embedding(BANDS, width)
        self.blind = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(Layer(width, head_width, hidden) for _ in range(LAYERS))
        self.norm, self.leave = RMSNorm(width), nn.Linear(width, width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        words: Float[Tensor, "batch words width"],
        layout: Int[Tensor, "batch time things digits"],
        cells: Float[Tensor, "batch time rows columns cell_width"],
        rotation: Float[Tensor, "2 words pairs"],
        loop: bool = False,
    ) -> Float[Tensor, "batch words width"]:
        """What is to be added to each word. cells: a vector for each code. rotation: of the words' places. loop: the
        last layer precedes the first."""
        beside_them = torch.cat((self._courses(layout, loop), self._grounds(cells)), dim=1)
        placeless = torch.stack((rotation.new_ones(len(beside_them[0]), rotation.shape[2]),) * 2)
        placeless[1] = 0
        x, rotation = torch.cat((words, beside_them), dim=1), torch.cat((rotation, placeless), dim=1)
        for layer in self.layers:
            x = layer(x, rotation)
        return self.leave(self.norm(x[:, : words.shape[1]]))

    def _courses(
        self, things: Int[Tensor, "batch time things digits"], loop: bool
    ) -> Float[Tensor, "batch things width"]:
        told = F.silu(self.between(F.silu(self.enter(courses(self.things, things, loop)))))
        return self.course(over_time(told, things)) + self.slot.weight

    def _grounds(
        self, cells: Float[Tensor, "batch time rows columns cell_width"]
    ) -> Float[Tensor, "batch bands width"]:
        """Squares of 2x2 cells are looked at first: a mosaic's say their colours together."""
        if not cells.numel():
            return (self.band.weight + self.blind).expand(len(cells), -1, -1)
        side = 2 if min(cells.shape[2:4]) > 1 else 1
        squares = rearrange(cells, "b t (r pr) (k pk) c -> b t r k (pr pk c)", pr=side, pk=side)
        squares = squares.repeat_interleave(4 // side**2, dim=-1)
        seen = F.silu(self.shade(F.silu(self.square(squares)))).mean((1, 3))
        return self.ground(F.adaptive_avg_pool1d(seen.mT, BANDS).mT) + self.band.weight
