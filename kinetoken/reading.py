"""Reading: how the transformer finds in a grid what a layout would say of it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kinetoken.near import NearBlocks
from kinetoken.norm import RMSNorm
from kinetoken.things import FINE_WAVES, PLACE_WAVES, waves

BLOCKS: Final = 2  # among neighbouring cells, before things look at them
LOOKS: Final = 2  # of a thing at the cells of its layer, one after another
HEADS: Final = 4
HEAD_WIDTH: Final = 16  # of a head


class GridOnThings(nn.Module):
    """What each thing of which nobody has said anything is shown of the cells of its layer: so are layouts read.

    A patch is too coarse to say where something is to an eighth of a cell, and its one vector has other cares. Here
    things look at cells themselves, by attention, and cells answer with votes: where, seen from themselves, they take
    the thing to be (Hough voting: Qi et al. 2019, VoteNet).
    """

    def __init__(self, slots: int, width: int, cell_widths: tuple[int, ...]) -> None:
        super().__init__()
        self.slot = nn.Embedding(slots, width)
        self.widen = nn.ModuleList(nn.Linear(coarse, 4 * fine) for fine, coarse in pairwise(cell_widths))
        self.blocks = NearBlocks(cell_widths[0], BLOCKS)
        self.looks = nn.ModuleList(Look(width, cell_widths[0]) for _ in range(LOOKS))
        self.cell_norm, self.norm = RMSNorm(cell_widths[0]), RMSNorm(width)

    def forward(
        self,
        things: Float[Tensor, "batch time things width"],
        cells: Sequence[Float[Tensor, "batch time _rows _columns _width"]],
        loop: bool = False,
    ) -> Float[Tensor, "batch time things width"]:
        """cells: at each resolution, finest first. loop: the last layer precedes the first."""
        seen = cells[-1]
        for finer, widen in reversed(list(zip(cells[:-1], self.widen, strict=True))):
            seen = finer + rearrange(widen(seen), "b t r k (pr pk c) -> b t (r pr) (k pk) c", pr=2, pk=2)
        seen = self.cell_norm(self.blocks(seen, loop))
        rows, columns = (torch.arange(count, device=things.device) + 0.5 for count in seen.shape[2:4])
        places = torch.cartesian_prod(rows, columns).flip(-1)
        things = things + self.slot.weight
        shown, seat = torch.zeros_like(things), things.new_zeros(*things.shape[:-1], 2)
        for look in self.looks:
            more, seat = look(things + shown, seen.flatten(2, 3), places, seat)
            shown = shown + more
        return self.norm(shown)


class Look(nn.Module):
    """One attention of things to the cells of their layer. A thing asks for cells by what they are and by where they
    lie from its seat, the place (x, y), in cells, at which it is taken to be."""

    def __init__(self, width: int, cell_width: int) -> None:
        super().__init__()
        where, votes = 2 * 2 * len(PLACE_WAVES), 2 * 2 * len(FINE_WAVES)
        self.query = nn.Linear(width, HEADS * (HEAD_WIDTH + where))
        self.key = nn.Linear(cell_width, HEADS * HEAD_WIDTH)
        self.value, self.vote = nn.Linear(cell_width, HEADS * HEAD_WIDTH), nn.Linear(cell_width, votes)
        self.enter = nn.Linear(HEADS * (HEAD_WIDTH + where) + votes, width)
        self.leave, self.straight = nn.Linear(width, width), nn.Linear(votes, width, bias=False)

    def forward(
        self,
        things: Float[Tensor, "batch time things width"],
        cells: Float[Tensor, "batch time cells cell_width"],
        places: Float[Tensor, "cells 2"],
        seat: Float[Tensor, "batch time things 2"],
    ) -> tuple[Float[Tensor, "batch time things width"], Float[Tensor, "batch time things 2"]]:
        """What is seen, and the next seat: the mean place of the cells that the first head asks for."""
        query, wanted = self.query(things).unflatten(-1, (HEADS, -1)).tensor_split((HEAD_WIDTH,), dim=-1)
        key, value = (part(cells).unflatten(-1, (HEADS, -1)) for part in (self.key, self.value))
        where = waves(places - seat[..., None, :], PLACE_WAVES).flatten(-2)
        likeness = torch.einsum("btshd,btchd->btshc", query, key)
        attention = (likeness + wanted @ where.mT).softmax(-1)
        seen = torch.cat((torch.einsum("btshc,btchd->btshd", attention, value), attention @ where), dim=-1)
        there = attention[..., 0, :]
        voted = there @ _moved(self.vote(cells), places)
        answer = self.leave(F.silu(self.enter(torch.cat((seen.flatten(-2), voted), dim=-1))))
        return answer + self.straight(voted), there @ places


def _moved(
    votes: Float[Tensor, "batch time cells features"], places: Float[Tensor, "cells 2"]
) -> Float[Tensor, "batch time cells features"]:
    """Waves of places that count from each cell as waves of places that count from the grid's corner: turned."""
    sine, cosine = waves(places, FINE_WAVES).chunk(2, dim=-1)
    first, second = votes.unflatten(-1, (2, 2, -1)).unbind(-2)
    return torch.stack((first * cosine + second * sine, second * cosine - first * sine), dim=-2).flatten(-3)
