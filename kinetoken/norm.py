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
        return _Normalise.apply(x, self.weight)


class _Normalise(torch.autograd.Function):
    """Means over channels are matrix products with a column of ones, which processors are fastest at; torch's own
    kernel falls apart into nine slow ones where the weight's type is not that of x. The gradient is that of the
    textbook: with n = x / rms and g' = weight g, dx = (g' - n mean(n g')) / rms."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        mean = x.new_full((x.shape[-1], 1), 1 / x.shape[-1])
        inverse = (x.square() @ mean).float().add_(EPSILON).rsqrt_().to(x.dtype)
        normal = x * inverse
        ctx.save_for_backward(normal, inverse, weight)
        return normal * weight.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        normal, inverse, weight = ctx.saved_tensors
        scale = weight.to(normal.dtype)
        product = gradient * normal
        aligned = product @ (scale / scale.numel())[:, None]
        of_x = (gradient * scale).sub_(normal * aligned).mul_(inverse)
        return of_x, product.flatten(0, -2).sum(0, dtype=torch.float32).to(weight.dtype)
