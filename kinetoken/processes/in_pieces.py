"""Costs of many places, a few places at a time: what they need in memory is what they cost in time."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

PLACES_AT_ONCE = 1024  # whose features and logits, a few MB, stay in a processor's cache


def summed(
    cost: Callable[..., Float[Tensor, ""]], places: Sequence[Tensor], weights: Sequence[Tensor]
) -> Float[Tensor, ""]:
    """The sum of cost(*piece, *weights) over pieces of PLACES_AT_ONCE rows of all `places`. The gradient, for the first
    of these and for weights, is found on the way forward, so that nothing of a piece outlives it (as Cut Cross-Entropy,
    Wijmans et al. 2024, does on GPUs)."""
    if torch.is_grad_enabled():
        total: Tensor = _Summed.apply(cost, len(places), *places, *weights)
        return total
    pieces = zip(*(of.split(PLACES_AT_ONCE) for of in places), strict=True)
    return torch.stack([cost(*piece, *weights) for piece in pieces]).sum()


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cost: Callable[..., Tensor], count: int, *tensors: Tensor) -> Tensor:
        first, others = tensors[0], tensors[1:count]
        weights = [weight.detach().requires_grad_() for weight in tensors[count:]]
        of_first, of_weights = torch.empty_like(first), [torch.zeros_like(weight) for weight in weights]
        total = first.new_zeros((), dtype=torch.float32)
        for start in range(0, len(first), PLACES_AT_ONCE):
            here = slice(start, start + PLACES_AT_ONCE)
            with torch.enable_grad():
                leaf = first[here].detach().requires_grad_()
                loss = cost(leaf, *(of[here] for of in others), *weights)
            of_first[here], *gradients = torch.autograd.grad(loss, (leaf, *weights))
            torch._foreach_add_(of_weights, gradients)
            total += loss.detach()
        ctx.save_for_backward(of_first, *of_weights)
        ctx.others = len(others)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = gradients
        of_first, *of_weights = ctx.saved_tensors
        scaled = (of_weight * scale for of_weight in of_weights)
        return None, None, of_first * scale.to(of_first.dtype), *[None] * ctx.others, *scaled
