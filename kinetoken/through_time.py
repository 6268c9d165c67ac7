"""A convolution along time: a linear layer of what a place sees of a few layers of time, added to what is there."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


def plus_through_time(
    x: Float[Tensor, "batch time rows columns channels"],
    linear: nn.Linear,
    layers: Float[Tensor, "batch all_time rows columns width"],
    *seen: Sequence[int],
) -> Float[Tensor, "batch time rows columns channels"]:
    """x + linear(torch.cat([layers[:, which] for which in seen], dim=-1)), where nothing is laid side by side: each of
    the layers is multiplied where it lies, by its share of the weights, into the sum; but in mixed precision, where the
    sum is not of the product's type. seen: for every layer of x one of `layers`, once for each share of the weights."""
    if torch.is_autocast_enabled(x.device.type):
        return x + linear(torch.cat([layers[:, which] for which in seen], dim=-1))
    total: Tensor = _ThroughTime.apply(x, linear.weight, linear.bias, layers, seen)
    return total


class _ThroughTime(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layers: Tensor, seen: Any) -> Tensor:
        ctx.save_for_backward(weight, layers)
        ctx.seen = seen
        total = (x + bias).contiguous()
        for which, share in zip(seen, weight.chunk(len(seen), dim=1), strict=True):
            for here, there in _runs(which):
                _add_product(_places(total, here), _places(layers, there), share.T)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        (gradient,) = gradients
        weight, layers = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_layers, of_shares = torch.zeros_like(layers, memory_format=torch.contiguous_format), []
        for which, share in zip(ctx.seen, weight.chunk(len(ctx.seen), dim=1), strict=True):
            of_share = torch.zeros_like(share)
            for here, there in _runs(which):
                given, source = _places(gradient, here), _places(layers, there)
                _add_product(_places(of_layers, there), given, share)
                of_share += (given.transpose(1, 2) @ source).sum(0)
            of_shares.append(of_share)
        of_bias = gradient.flatten(0, -2).sum(0)
        return gradient, torch.cat(of_shares, dim=1), of_bias, of_layers, None


def _runs(which: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """(layers that see, layers that they see), as few pairs as there can be."""
    start = 0
    for place in range(1, len(which) + 1):
        if place == len(which) or which[place] != which[place - 1] + 1:
            yield slice(start, place), slice(which[start], which[start] + place - start)
            start = place


def _places(
    layers: Float[Tensor, "batch time rows columns channels"], which: slice
) -> Float[Tensor, "batch places channels"]:
    """A view. If the layers are all there are, the batch is one."""
    some = layers[:, which]
    return some.flatten(0, 3)[None] if some.shape == layers.shape else some.flatten(1, 3)


def _add_product(
    total: Float[Tensor, "batch places channels"],
    factors: Float[Tensor, "batch places width"],
    matrix: Float[Tensor, "width channels"],
) -> None:
    if len(total) == 1:
        total[0].addmm_(factors[0], matrix)
    else:
        total.baddbmm_(factors, matrix.expand(len(total), -1, -1))
