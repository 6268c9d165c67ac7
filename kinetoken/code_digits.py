"""Digits of codes, and what they stand for in a network."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


def rows_of_digits(levels: tuple[int, ...], codes: int) -> Int[Tensor, "codes axes"]:
    """For every code, the rows of its digits in a table that has the digits of all axes, one axis after another."""
    code, rows, first = torch.arange(codes), [], 0
    for level in levels:
        rows.append(first + code % level)
        code, first = code // level, first + level
    return torch.stack(rows, dim=1) if rows else torch.zeros(codes, 0, dtype=torch.int64)


class DigitTable(nn.EmbeddingBag):
    """What codes that share a digit share: the sum of what their digits stand for. Zeros if codes have none."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__(rows, width, mode="sum")

    def forward(self, digits: Int[Tensor, "codes axes"]) -> Float[Tensor, "codes width"]:  # type: ignore[override]
        return super().forward(digits) if digits.shape[1] else self.weight.new_zeros(len(digits), self.embedding_dim)


def code_logits(
    cells: Float[Tensor, "places width"], head: tuple[Tensor, ...], first: Int[Tensor, " places"] | None = None
) -> Float[Tensor, "places answers"]:
    """head: weight and bias of a linear layer over codes; or of one over first digits, what scales and shifts the
    features of each of these (FiLM, Perez et al. 2018), and weight and bias of one over what a code is besides. first:
    the digit, if that is what is asked for."""
    if first is None:
        return F.linear(F.silu(cells), *head[:2])
    scale, shift = head[2].chunk(2, dim=1)
    told = torch.addcmul(F.embedding(first, shift), cells, F.embedding(first, 1 + scale))
    return F.linear(F.silu(told), *head[3:])
