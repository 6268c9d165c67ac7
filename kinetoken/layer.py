"""One layer of a transformer, of which whoever needs attention is made."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinetoken.norm import RMSNorm
from kinetoken.sketch import tuned


class Layer(nn.Module):
    """x + attention(norm(x)), then x + gated(norm(x)); both branches start at zero. In a network without layouts, what
    is normalised is scaled and shifted as the text's gist says (adaLN of DiT, Peebles and Xie 2023, where it was better
    than cross-attention and than more positions).
    """

    def __init__(self, width: int, head_width: int, hidden: int, *, tuning: bool = False) -> None:
        """hidden: width of the gated layer. tuning: whether a gist tunes it."""
        super().__init__()
        self.heads = width // head_width
        self.attention_norm = RMSNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.query_norm = RMSNorm(head_width)
        self.key_norm = RMSNorm(head_width)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.gated_norm = RMSNorm(width)
        self.gate_and_value = nn.Linear(width, 2 * hidden, bias=False)
        self.gated_out = nn.Linear(hidden, width, bias=False)
        self.tuning = nn.Linear(width, 4 * width) if tuning else None
        if self.tuning is not None:
            nn.init.zeros_(self.tuning.weight)
            nn.init.zeros_(self.tuning.bias)
        nn.init.zeros_(self.attention_out.weight)
        nn.init.zeros_(self.gated_out.weight)

    def forward(
        self,
        x: Float[Tensor, "batch positions width"],
        rotation: Float[Tensor, "2 positions pairs"],
        gist: Float[Tensor, "batch width"] | None = None,
    ) -> Float[Tensor, "batch positions width"]:
        """gist: what the text says, by which the layer is tuned if it is to be."""
        first = second = None
        if self.tuning is not None and gist is not None:
            first, second = self.tuning(F.silu(gist))[:, None].chunk(2, dim=-1)
        x = x + self.attention_out(self._attention(tuned(self.attention_norm(x), first), rotation))
        gate, value = self.gate_and_value(tuned(self.gated_norm(x), second)).chunk(2, dim=-1)
        return x + self.gated_out(F.silu(gate) * value)

    def _attention(self, x: Tensor, rotation: Tensor) -> Tensor:
        query, key, value = self.query_key_value(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = rotate(self.query_norm(query), rotation), rotate(self.key_norm(key), rotation)
        return attend(query, key, value).transpose(1, 2).flatten(2)


def attend(
    query: Float[Tensor, "batch heads positions channels"],
    key: Float[Tensor, "batch heads positions channels"],
    value: Float[Tensor, "batch heads positions channels"],
) -> Float[Tensor, "batch heads positions channels"]:
    """Scaled dot-product attention. By its definition where that is five times as fast: in bfloat16 on a CPU."""
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value)
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    return scores.softmax(-1) @ value


def rotate(
    x: Float[Tensor, "batch heads positions channels"], rotation: Float[Tensor, "2 positions pairs"]
) -> Float[Tensor, "batch heads positions channels"]:
    """Rotary positions (Su et al. 2021): turn channel pair (i, i + pairs) by the position's angles."""
    cosine, sine = rotation.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)
