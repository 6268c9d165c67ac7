"""What a decoder need not work out again of a clip that is decoded piece by piece."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class Past:
    """Of each part that looks back in time, the last layer or frame that it has seen. Empty to begin with."""

    def __init__(self) -> None:
        self._last: dict[Any, Tensor] = {}

    @property
    def begun(self) -> bool:
        return bool(self._last)

    def joined(self, owner: Any, layers: Float[Tensor, "batch time *place"]) -> Float[Tensor, "batch all_time *place"]:
        """The last one of before, if there has been one, and these; whose last is remembered instead."""
        before = self._last.get(owner, layers[:, :0])
        self._last[owner] = layers[:, -1:].clone()  # a view would hold on to all of them
        return torch.cat((before, layers), dim=1)
