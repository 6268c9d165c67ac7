"""Telling: how what is in a layout is put into words."""

from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from kinetoken.layer import Layer
from kinetoken.norm import RMSNorm
from kinetoken.things import CHANGES, PLACE_WAVES, Things, courses, over_time

COURSE_WIDTH: Final = 192
LAYERS: Final = 2


class Telling(nn.Module):
    """Words and the course of each thing through all of time, in layers of the transformer's kind: so what one clause
    says of one thing is not said of the other by the next.

    What a layout says was told to every word alike before, as a sum, and the second of two things moved as the first
    did (docs/journal.md). Only words that are to be written need it.
    """

    def __init__(self, looks: tuple[int, ...], slots: int, width: int, head_width: int, hidden: int) -> None:
        super().__init__()
        self.things = Things(looks)
        features = self.things.width + 2 * 2 * len(PLACE_WAVES) + CHANGES
        self.enter, self.between = nn.Linear(features, COURSE_WIDTH), nn.Linear(COURSE_WIDTH, COURSE_WIDTH)
        self.course, self.slot = nn.Linear(COURSE_WIDTH + 2, width), nn.Embedding(slots, width)
        self.layers = nn.ModuleList(Layer(width, head_width, hidden) for _ in range(LAYERS))
        self.norm, self.leave = RMSNorm(width), nn.Linear(width, width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        words: Float[Tensor, "batch words width"],
        layout: Int[Tensor, "batch time things digits"],
        rotation: Float[Tensor, "2 words head_width"],
        loop: bool = False,
    ) -> Float[Tensor, "batch words width"]:
        """What is to be added to each word. rotation: of the words' places. loop: the last layer precedes the first."""
        told = self._courses(layout, loop)
        placeless = torch.stack((rotation.new_ones(told.shape[1], rotation.shape[2]),) * 2)
        placeless[1] = 0
        x, rotation = torch.cat((words, told), dim=1), torch.cat((rotation, placeless), dim=1)
        for layer in self.layers:
            x = layer(x, rotation)
        return self.leave(self.norm(x[:, : words.shape[1]]))

    def _courses(
        self, things: Int[Tensor, "batch time things digits"], loop: bool
    ) -> Float[Tensor, "batch things width"]:
        told = F.silu(self.between(F.silu(self.enter(courses(self.things, things, loop)))))
        return self.course(over_time(told, things)) + self.slot.weight
