"""What follows from weights alone, kept while they stay what they are."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Kept:
    """One tensor, worked out anew where a gradient is asked for, and else when a weight has changed: a sampler asks for
    it at every step. Weights are known by where they lie and by how often torch has changed them in place."""

    def __init__(self) -> None:
        self._weights: list[tuple[int, int]] = []
        self._made: Tensor | None = None

    def of(self, weights: Sequence[Tensor], work: Callable[[], Tensor]) -> Tensor:
        """work: gives the tensor, of these weights and of nothing else."""
        if torch.is_grad_enabled() or any(weight.is_inference() for weight in weights):
            return work()
        now = [(weight.data_ptr(), weight._version) for weight in weights]
        if self._made is None or self._weights != now:
            self._weights, self._made = now, work()
        return self._made
