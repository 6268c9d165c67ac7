"""WeightAverage: an exponential moving average of the weights, and a way to look through it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """average <- lerp(average, weights, 1 - decay), over the trainable parameters; buffers stay the network's own.

    The decay warms up, min(decay, (1 + step) / (10 + step)), so that the first steps are forgotten soon.
    """

    def __init__(self, objective: nn.Module, decay: float) -> None:
        self.decay = decay
        self._weights = {name: weight for name, weight in objective.named_parameters() if weight.requires_grad}
        self.tensors: dict[str, Tensor] = {name: weight.detach().clone() for name, weight in self._weights.items()}

    def decay_at(self, step: int) -> float:
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """step: how many updates came before this one."""
        weights = [weight.detach() for weight in self._weights.values()]
        torch._foreach_lerp_(list(self.tensors.values()), weights, 1 - self.decay_at(step))

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within, the network the average was made from holds the average; afterwards its own weights, bit for bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        """By value, so that whoever holds a pointer to the weights (a compiled graph, DDP) sees the change."""
        for name, weight in self._weights.items():
            own = weight.detach().clone()
            weight.copy_(self.tensors[name])
            self.tensors[name].copy_(own)
