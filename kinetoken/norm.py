"""RMSNorm, several times faster on a CPU than torch's: a third of a training step went there."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

EPSILON = 1e-6


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + 1e-6) * weight over the last axis (Zhang and Sennrich 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Float[Tensor, "*places channels"]) -> Float[Tensor, "*places channels"]:
        return normalised(x, self.weight)


def normalised(x: Float[Tensor, "*places channels"], weight: Float[Tensor, "*"]) -> Float[Tensor, "*places channels"]:
    """weight: of each channel, or whatever can be broadcast to x. By torch where no gradient will be asked for, which
    is twice as fast then."""
    if torch.is_grad_enabled() or x.dtype != weight.dtype:
        normal: Tensor = _Normalise.apply(x, weight)
        return normal
    if weight.ndim == 1:
        return F.rms_norm(x, weight.shape, weight, EPSILON)
    return F.rms_norm(x, x.shape[-1:], eps=EPSILON) * weight


class _Normalise(torch.autograd.Function):
    """Means over channels are matrix products with a column of ones, which processors are fastest at; torch's own
    kernel falls apart into nine slow ones where the weight's type is not that of x. The gradient is that of the
    textbook: with n = x / rms and g' = weight g, dx = (g' - n mean(n g')) / rms."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        inverse = (x.square() @ _mean(x)).float().add_(EPSILON).rsqrt_().to(x.dtype)
        normal = x * inverse
        ctx.save_for_backward(normal, inverse, weight)
        return normal * weight.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        normal, inverse, weight = ctx.saved_tensors
        scale = weight.to(normal.dtype)
        product = gradient * normal
        aligned = (product * scale) @ _mean(normal)
        of_x = (gradient * scale).sub_(normal * aligned).mul_(inverse)
        new = product.ndim - weight.ndim
        shared = [axis for axis in range(product.ndim) if axis < new or weight.shape[axis - new] == 1]
        of_weight = product.sum(shared, keepdim=True, dtype=torch.float32).reshape(weight.shape)
        return of_x, of_weight.to(weight.dtype)


def _mean(x: Tensor) -> Float[Tensor, "channels 1"]:
    return x.new_full((x.shape[-1], 1), 1 / x.shape[-1])
