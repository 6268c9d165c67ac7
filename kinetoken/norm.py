"""RMSNorm, several times faster on a CPU than torch's: a third of a training step went there."""

from typing import Any

import torch
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


def normalised(
    x: Float[Tensor, "*places channels"], weight: Float[Tensor, "*"] | None = None
) -> Float[Tensor, "*places channels"]:
    """weight: of each channel, or whatever can be broadcast to x and is alike along the axis before the last; 1 if
    None."""
    if torch.is_grad_enabled():
        normal: Tensor = _Normalise.apply(x, weight)
        return normal
    normal = x * _inverse(x)
    return normal if weight is None else normal.mul_(weight)


def _inverse(x: Float[Tensor, "*places channels"]) -> Float[Tensor, "*places 1"]:
    """1 / sqrt(mean(x²) + EPSILON). x is read once, and no squares are written."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return norm.square_().mul_(1 / x.shape[-1]).add_(EPSILON).rsqrt_().to(x.dtype)


class _Normalise(torch.autograd.Function):
    """Torch's own kernel falls apart into nine slow ones where the weight's type is not that of x. The gradient is that
    of the textbook: with n = x / rms and g' = weight g, dx = (g' - n mean(n g')) / rms. Its mean over channels is a
    matrix product, which processors are fastest at."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None) -> Tensor:
        inverse = _inverse(x)
        normal = x * inverse
        ctx.save_for_backward(normal, inverse, weight)
        return normal if weight is None else normal * weight.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        (gradient,) = gradients
        normal, inverse, weight = ctx.saved_tensors
        product = gradient * normal
        if weight is None:
            aligned = product @ product.new_full((product.shape[-1], 1), -1 / product.shape[-1])
            return torch.addcmul(gradient, normal, aligned).mul_(inverse), None
        scale = weight.to(normal.dtype)
        column = scale[:, None] if scale.ndim == 1 else scale.mT
        aligned = product @ (column / -product.shape[-1])
        of_x = torch.addcmul(gradient * scale, normal, aligned).mul_(inverse)
        new = product.ndim - weight.ndim
        shared = [axis for axis in range(product.ndim) if axis < new or weight.shape[axis - new] == 1]
        of_weight = product.sum(shared, keepdim=True, dtype=torch.float32).reshape(weight.shape)
        return of_x, of_weight.to(weight.dtype)
