"""Cross-entropy of a linear head without its logits: what they cost in memory is what they cost in time."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

PLACES_AT_ONCE = 1024  # whose logits, a few MB, stay in a processor's cache
LEAST = 1e-37  # likelihood, above which fp32 has all its digits: no code costs more than 85 nats


def linear_cross_entropy(
    features: Float[Tensor, "places width"],
    weight: Float[Tensor, "ids width"],
    bias: Float[Tensor, " ids"],
    answers: Int[Tensor, " places"],
    shares: Float[Tensor, " places"],
) -> Float[Tensor, ""]:
    """The sum of shares * F.cross_entropy(F.linear(features, weight, bias), answers, reduction="none"), no answer
    counting as less likely than LEAST. Its gradient is found on the way forward and a piece of the places at a time (as
    Cut Cross-Entropy, Wijmans et al. 2024, does on GPUs)."""
    if torch.is_autocast_enabled(features.device.type):
        features = features.to(torch.get_autocast_dtype(features.device.type))
    return _LinearCrossEntropy.apply(features, weight, bias, answers, shares)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, answers: Tensor, shares: Tensor) -> Tensor:
        total = features.new_zeros((), dtype=torch.float32)
        of_features, weighted = torch.empty_like(features), features * shares[:, None].to(features.dtype)
        of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        rows, shift = weight.to(features.dtype), bias.to(features.dtype)
        with torch.autocast(features.device.type, enabled=False):
            for start in range(0, len(features), PLACES_AT_ONCE):
                here = slice(start, start + PLACES_AT_ONCE)
                logits = F.linear(features[here], rows, shift).float()
                answer, share = answers[here, None], shares[here]
                likelihood = torch.softmax(logits, -1, out=logits)
                total -= share @ likelihood.gather(-1, answer)[:, 0].clamp_min(LEAST).log()
                error = likelihood.scatter_add_(-1, answer, likelihood.new_full(answer.shape, -1.0))
                of_bias.addmv_(error.T, share)
                error = error.to(features.dtype)
                torch.mm(error, rows, out=of_features[here])
                of_weight += error.T @ weighted[here]
        of_features *= shares[:, None].to(features.dtype)
        ctx.save_for_backward(of_features, of_weight, of_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        of_features, of_weight, of_bias = ctx.saved_tensors
        (scale,) = gradients
        return of_features * scale.to(of_features.dtype), of_weight * scale, of_bias * scale, None, None
