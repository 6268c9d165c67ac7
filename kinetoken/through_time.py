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
    sum is not of the product's type. Where no gradients are asked for, x is used up: the sum is written over it.
    seen: for every layer of x one of `layers`, once for each share of the weights."""
    if torch.is_autocast_enabled(x.device.type):
        return x + linear(torch.cat([layers[:, which] for which in seen], dim=-1))
    if not torch.is_grad_enabled():
        return _summed(x.contiguous().add_(linear.bias), linear.weight, layers, seen)
    total: Tensor = _ThroughTime.apply(x, linear.weight, linear.bias, layers, seen)
    return total


def _summed(
    total: Float[Tensor, "batch time rows columns channels"],
    weight: Float[Tensor, "channels all_widths"],
    layers: Float[Tensor, "batch all_time rows columns width"],
    seen: Sequence[Sequence[int]],
) -> Float[Tensor, "batch time rows columns channels"]:
    """The products added where the total lies."""
    for which, share in zip(seen, weight.chunk(len(seen), dim=1), strict=True):
        for sums, factors in _runs(which, (total,), (layers,)):
            _add_product(sums, factors, share.T)
    return total


class _ThroughTime(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layers: Tensor, seen: Any) -> Tensor:
        ctx.save_for_backward(weight, layers)
        ctx.seen = seen
        return _summed((x + bias).contiguous(), weight, layers, seen)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        (gradient,) = gradients
        weight, layers = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_layers, of_weight = torch.zeros_like(layers, memory_format=torch.contiguous_format), []
        for which, share in zip(ctx.seen, weight.chunk(len(ctx.seen), dim=1), strict=True):
            of_share = torch.zeros_like(share)
            for given, factors, sums in _runs(which, (gradient,), (layers, of_layers)):
                _add_product(sums, given, share)
                if ctx.needs_input_grad[1]:  # not where this part of a network is frozen
                    of_share += (given.mT @ factors).sum(0)
            of_weight.append(of_share)
        return gradient, torch.cat(of_weight, dim=1), gradient.flatten(0, -2).sum(0), of_layers, None


def _runs(which: Sequence[int], seeing: Sequence[Tensor], seen: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Views (clips x places x channels) of layers of `seeing` that see successive ones of `seen`, and of those, as few
    as there can be. Where all of them see all there are, the clips are as one."""
    start = 0
    for end in range(1, len(which) + 1):
        if end < len(which) and which[end] == which[end - 1] + 1:
            continue
        here, there = slice(start, end), slice(which[start], which[start] + end - start)
        parts = [of[:, here] for of in seeing] + [of[:, there] for of in seen]
        whole = end - start == len(which) == seen[0].shape[1]
        yield [part.flatten(0, 3)[None] if whole else part.flatten(1, 3) for part in parts]
        start = end


def _add_product(
    total: Float[Tensor, "clips places channels"],
    factors: Float[Tensor, "clips places width"],
    matrix: Float[Tensor, "width channels"],
) -> None:
    """Where the total lies. (Not by addmm_ and baddbmm_, which torch's counter of operations does not know.)"""
    if len(total) == 1:
        (whole,) = total  # as one tensor, or torch would copy it to itself first
        torch.addmm(whole, factors[0], matrix, out=whole)
    else:
        torch.baddbmm(total, factors, matrix.expand(len(total), -1, -1), out=total)
