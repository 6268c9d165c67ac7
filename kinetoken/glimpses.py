"""Glimpses: what is to be seen of a layer of which only a part is known."""

from typing import Final, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kinetoken.layout import centres

TAKEN: Final = 1.5  # cells: what is nearer to a thing's centre speaks of it
ERRS: Final = 0.02  # how often all that is said is wrong
BOUND: Final = 0.02  # how likely it is at least that something is there, and that nothing is


class Glimpses(NamedTuple):
    """Cells that say how likely it is that a thing's centre lies in them, and what thing, each digit by itself. The
    thing may be in any of them, and which one it is shows digit by digit: a mixture. A thing of which half is behind a
    mask has its centre in one of several cells; a reader that has to name one names none.

    likely: probabilities. middles: (x, y), in cells. said: of each digit, logarithms.
    """

    likely: Float[Tensor, " cells"]
    middles: Float[Tensor, "cells 2"]
    said: list[Float[Tensor, "cells _"]]

    def without(self, things: Int[Tensor, "things digits"]) -> "Glimpses":
        """What is left to be seen beside things that are there."""
        taken = torch.cdist(self.middles, centres(things[things[:, 0] > 0])) < TAKEN
        left = ~taken.any(1)
        return Glimpses(self.likely[left], self.middles[left], [of[left] for of in self.said])

    def beliefs(self, thing: Int[Tensor, " digits"], place: int) -> Float[Tensor, " radix"]:
        """The logarithm of how likely every value is of one more thing's digit at a place, given those before it. Of
        the first, 0 is that nothing more is there."""
        chosen = [of[:, digit] for of, digit in zip(self.said, thing[:place].tolist(), strict=False)]
        weights = self.likely.log() + sum(chosen)
        mixture = (weights.log_softmax(0)[:, None] + self.said[place]).logsumexp(0).exp()
        believed = (1 - ERRS) * mixture + ERRS / len(mixture)
        if place == 0:
            there = (1 - (1 - self.likely).prod()).clamp(BOUND, 1 - BOUND)
            believed[0] = 0
            believed = believed / believed.sum() * there
            believed[0] = 1 - there
        return believed.log()
