"""The plain way to fill a grid, for comparison: one code after another, keys and values kept."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from benchmarks.measuring import seconds_of
from kinetoken.norm import RMSNorm
from kinetoken.transformer import TransformerConfig

Cache = list[Float[Tensor, "two batch heads positions channels"]]
"""Keys and values of every layer, with room for all positions."""


class CausalDecoder(nn.Module):
    """As deep and as wide as our network, but every code is a position and sees only what precedes it. Words come
    first. Weights are random: they do not change the time."""

    def __init__(self, config: TransformerConfig, positions: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary.size, config.width)
        self.places = nn.Embedding(positions, config.width)
        self.layers = nn.ModuleList(CausalLayer(config) for _ in range(config.depth))
        self.norm = RMSNorm(config.width)
        self.head = nn.Linear(config.width, config.visual_codes)

    def forward(self, ids: Int[Tensor, "batch new"], cache: Cache, past: int) -> Float[Tensor, "batch visual"]:
        """Logits of what follows the new ids, which stand behind `past` others."""
        x = self.embedding(ids) + self.places.weight[past : past + ids.shape[1]]
        for layer, kept in zip(self.layers, cache, strict=True):
            x = layer(x, kept, past)
        return self.head(self.norm(x[:, -1]))

    def empty_cache(self, batch: int) -> Cache:
        config = self.config
        shape = (2, batch, config.heads, self.places.num_embeddings, config.head_width)
        return [torch.zeros(shape) for _ in self.layers]


class CausalLayer(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_norm, self.gated_norm = RMSNorm(config.width), RMSNorm(config.width)
        self.query_key_value = nn.Linear(config.width, 3 * config.width, bias=False)
        self.attention_out = nn.Linear(config.width, config.width, bias=False)
        self.gate_and_value = nn.Linear(config.width, 2 * config.hidden, bias=False)
        self.gated_out = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Float[Tensor, "batch new width"], kept: Tensor, past: int) -> Float[Tensor, "batch new width"]:
        end = past + x.shape[1]
        packed = self.query_key_value(self.attention_norm(x))
        query, *fresh = rearrange(packed, "b n (three h d) -> three b h n d", three=3, h=self.heads)
        kept[:, :, :, past:end] = torch.stack(fresh)
        keys, values = kept[:, :, :, :end]
        seen = F.scaled_dot_product_attention(query, keys, values, is_causal=past == 0)
        x = x + self.attention_out(rearrange(seen, "b h n d -> b n (h d)"))
        gate, value = self.gate_and_value(self.gated_norm(x)).chunk(2, dim=-1)
        return x + self.gated_out(F.silu(gate) * value)


@torch.inference_mode()
def fill(
    decoder: CausalDecoder, text: Int[Tensor, "batch words"], codes: int, *, guidance: float, cache: Cache, past: int
) -> Int[Tensor, "batch codes"]:
    """`codes` codes, one at a time, each sampled from guided logits; the branch without words is the other half of the
    batch. past: how many positions in the cache are taken to be filled already; 0 starts with the words."""
    ids, made = torch.cat((text, torch.zeros_like(text))), []
    for _ in range(codes):
        conditional, free = decoder(ids, cache, past).chunk(2)
        past += ids.shape[1]
        chosen = torch.multinomial((free + guidance * (conditional - free)).softmax(-1), 1)
        made.append(chosen)
        ids = torch.cat((chosen, chosen)) + decoder.config.vocabulary.text_end
    return torch.cat(made, dim=1)


def seconds_to_fill(
    decoder: CausalDecoder, *, clips: int, words: int, cells: int, guidance: float, stretch: int, stretches: int
) -> float:
    """Seconds for a whole grid, from `stretches` stretches of codes spread evenly over it: what a code costs grows in a
    straight line with what precedes it, so the mean over them is the mean over all."""
    cache = decoder.empty_cache(2 * clips)
    text = torch.randint(decoder.config.vocabulary.text_end, (clips, words))
    prompt = seconds_of(lambda: fill(decoder, text, 1, guidance=guidance, cache=cache, past=0))
    middles = [(2 * index + 1) * cells // (2 * stretches) for index in range(stretches)]
    per_stretch = [
        seconds_of(
            lambda past=words + middle - stretch // 2: fill(
                decoder, text[:, :1], stretch, guidance=guidance, cache=cache, past=past
            )
        )
        for middle in middles
    ]
    return prompt + (cells - 1) * sum(per_stretch) / (stretch * stretches)
