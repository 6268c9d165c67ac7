"""One layer of a transformer, of which whoever needs attention is made."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kinetoken.kept import Kept
from kinetoken.memory import Memory
from kinetoken.norm import RMSNorm, normalised
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
        self._kept_norms = Kept()
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
        rotation: Float[Tensor, "2 positions channels"],
        gist: Float[Tensor, "batch width"] | None = None,
        memory: Memory | None = None,
    ) -> Float[Tensor, "batch positions width"]:
        """gist: what the text says, by which the layer is tuned if it is to be. memory: of positions before these."""
        return mixed((self,), (x,), rotation, gist, memory)[0]

    def tunings(self, gist: Float[Tensor, "batch width"] | None) -> tuple[Tensor | None, Tensor | None]:
        """Of what is normalised for attention and for the gated layer."""
        if self.tuning is None or gist is None:
            return None, None
        first, second = self.tuning(F.silu(gist))[:, None].chunk(2, dim=-1)
        return first, second

    def asks(
        self,
        x: Float[Tensor, "batch positions width"],
        rotation: Float[Tensor, "2 positions channels"],
        tuning: Float[Tensor, "batch 1 twice_width"] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each of batch x heads x positions x channels."""
        query_key_value = self.query_key_value(tuned(self.attention_norm(x), tuning))
        query_key_value = query_key_value.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries_and_keys, values = query_key_value.split((2, 1))  # whose gradients are put together, not added up
        norms = self.query_norm.weight, self.key_norm.weight
        both = self._kept_norms.of(norms, lambda: torch.stack(norms)[:, None, None, None])
        query, key = rotate(normalised(queries_and_keys, both), rotation)
        return query, key, values.squeeze(0)

    def goes_on(
        self,
        x: Float[Tensor, "batch positions width"],
        found: Float[Tensor, "batch positions width"],
        tuning: Float[Tensor, "batch 1 twice_width"] | None,
    ) -> Float[Tensor, "batch positions width"]:
        """With what attention has found."""
        x = x + self.attention_out(found)
        gate, value = self.gate_and_value(tuned(self.gated_norm(x), tuning)).chunk(2, dim=-1)
        return x + self.gated_out(F.silu(gate) * value)


def mixed(
    layers: Sequence[Layer],
    parts: Sequence[Float[Tensor, "batch _ width"]],
    rotation: Float[Tensor, "2 positions channels"],
    gist: Float[Tensor, "batch width"] | None = None,
    memory: Memory | None = None,
) -> list[Float[Tensor, "batch _ width"]]:
    """One layer over a row of positions in parts, each by weights of its own, all of which see all (Mixture-of-
    Transformers, Liang et al. 2024). rotation: of the whole row. Parts may be empty."""
    sizes = [part.shape[1] for part in parts]
    there = [which for which, size in enumerate(sizes) if size]
    if not there:
        return list(parts)
    turns = rotation.split(sizes, dim=1)
    tunings = {which: layers[which].tunings(gist) for which in there}
    asked = [layers[which].asks(parts[which], turns[which], tunings[which][0]) for which in there]
    query, key, value = (torch.cat(each, dim=2) if len(each) > 1 else each[0] for each in zip(*asked, strict=True))
    if memory is not None:
        key, value = memory.positions(layers[-1], key, value)
    found = attend(query, key, value, None if memory is None else memory.seen).transpose(1, 2).flatten(2)
    seen = found.split(sizes, dim=1)
    return [
        layers[which].goes_on(part, seen[which], tunings[which][1]) if which in tunings else part
        for which, part in enumerate(parts)
    ]


def attend(
    query: Float[Tensor, "batch heads positions channels"],
    key: Float[Tensor, "batch heads others channels"],
    value: Float[Tensor, "batch heads others channels"],
    seen: Bool[Tensor, "positions others"] | None = None,
) -> Float[Tensor, "batch heads positions channels"]:
    """Scaled dot-product attention. By its definition where that is five times as fast: in bfloat16 on a CPU. seen:
    which others each position sees; all if None."""
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value, seen)
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    scores = scores if seen is None else scores.masked_fill(~seen, -torch.inf)
    return scores.softmax(-1) @ value


def rotate(
    x: Float[Tensor, "*heads positions channels"], rotation: Float[Tensor, "2 positions channels"]
) -> Float[Tensor, "*heads positions channels"]:
    """Rotary positions (Su et al. 2021): turn channel pair (i, i + pairs) by the position's angles. rotation: as
    `rotation_by` gives it."""
    cosine, sine = rotation.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.addcmul(x * cosine, torch.cat((second, first), dim=-1), sine)


def rotation_by(angles: Float[Tensor, "*positions pairs"]) -> Float[Tensor, "2 *positions channels"]:
    """What each channel is multiplied by, and by what its partner is for it."""
    cosine, sine = angles.cos(), angles.sin()
    return torch.stack((torch.cat((cosine, cosine), dim=-1), torch.cat((-sine, sine), dim=-1)))
