"""The one network: a transformer over a row of text ids and a grid of codes."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from kinetoken.grid import GridShape
from kinetoken.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """`depth` is the one size dial: everything else follows from it unless it is said.

    width: 32 channels for each layer, a shape between nanochat's (64) and a deeper, thinner one: on small grids depth
    is what binds attributes to objects. patch: the block of codes (time, rows, columns) that is one position.
    near_blocks: convolutions among neighbouring codes, before the patches are made and again after.
    """

    text_codes: int
    visual_codes: int
    depth: int = 8
    width_per_layer: int = 32
    head_width: int = 64
    patch: tuple[int, int, int] = (1, 4, 4)
    words: int = 48
    near_blocks: int = 2

    def __post_init__(self) -> None:
        if self.depth < 1 or self.width % self.head_width or self.head_width % 4 or self.head_width < 12:
            raise ValueError(
                f"width {self.width} must be a multiple of head_width {self.head_width}, and that of 4: change depth"
            )
        if len(self.patch) != 3 or min(self.patch) < 1:
            raise ValueError(f"a patch is (time, rows, columns), each at least 1, found {self.patch}")

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(text=self.text_codes, visual=self.visual_codes)

    @property
    def width(self) -> int:
        """Channels of a position: whole heads."""
        return ceil(self.depth * self.width_per_layer / self.head_width) * self.head_width

    @property
    def heads(self) -> int:
        return self.width // self.head_width

    @property
    def hidden(self) -> int:
        """Width of the gated layer: 8/3 of the width, so that SwiGLU costs what a plain fourfold layer would
        (Shazeer 2020), rounded to whole vector registers."""
        return ceil(self.width * 8 / 3 / 64) * 64

    @property
    def code_width(self) -> int:
        """Channels of one id before it joins its patch: a patch holds many, and each says little."""
        return max(32, self.width // 4)

    @property
    def head_code_width(self) -> int:
        """Channels of one place before its logits."""
        return max(64, self.width // 2)


class Transformer(nn.Module):
    """Pre-norm transformer with RMSNorm, SwiGLU, QK-norm and rotary positions in (time, row, column).

    A position is one word or one patch of codes, and masks stay per code: an unknown code is the id MASK inside its
    patch. The network has no attention mask: every position sees every other.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        vocabulary, codes = config.vocabulary, prod(config.patch)
        self.embedding = nn.Embedding(vocabulary.size, config.code_width)
        self.near_in = nn.ModuleList(NearBlock(config.code_width) for _ in range(config.near_blocks))
        self.word_in = nn.Linear(config.code_width, config.width)
        self.patch_in = nn.Linear(codes * config.code_width, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.width)
        self.word_out = nn.Linear(config.width, vocabulary.text_end)
        self.patch_out = nn.Linear(config.width, codes * config.head_code_width, bias=False)
        self.near_enter = nn.Linear(config.head_code_width, config.code_width)
        self.near_out = nn.ModuleList(NearBlock(config.code_width) for _ in range(config.near_blocks))
        self.near_leave = nn.Linear(config.code_width, config.head_code_width)
        self.code_norm = nn.RMSNorm(config.head_code_width)
        self.code_out = nn.Linear(config.head_code_width, vocabulary.visual)
        nn.init.normal_(self.embedding.weight, std=1.0)
        for head in (self.word_out, self.code_out):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)
        nn.init.zeros_(self.near_leave.weight)
        nn.init.zeros_(self.near_leave.bias)

    def forward(
        self, text: Int[Tensor, "batch words"], grid: Int[Tensor, "batch time rows columns"]
    ) -> tuple[Float[Tensor, "batch words width"], Float[Tensor, "batch time rows columns code_features"]]:
        """Features of every word and of every cell. Logits are asked for separately, only where they are needed.

        The grid must be made of whole patches; any number of them will do.
        """
        shape = GridShape(time=grid.shape[1], rows=grid.shape[2], columns=grid.shape[3])
        cells = self.embedding(grid)
        for block in self.near_in:
            cells = block(cells)
        x = torch.cat((self.word_in(self.embedding(text)), self.patch_in(self._to_patches(cells))), dim=1)
        rotation = self._rotation(text.shape[1], shape)
        for layer in self.layers:
            x = layer(x, rotation)
        words, patches = self.norm(x).split((text.shape[1], x.shape[1] - text.shape[1]), dim=1)
        features = self._to_cells(self.patch_out(patches), shape)
        near = self.near_enter(features) + cells
        for block in self.near_out:
            near = block(near)
        return words, features + self.near_leave(near)

    def text_logits(self, words: Float[Tensor, "*places width"]) -> Float[Tensor, "*places text_end"]:
        """Over ids [0, text_end). MASK is never an answer."""
        logits = self.word_out(words)
        return logits.index_fill(-1, torch.tensor(Vocabulary.MASK, device=logits.device), float("-inf"))

    def grid_logits(self, cells: Float[Tensor, "places code_features"]) -> Float[Tensor, "places visual"]:
        """Over codes [0, visual), for the features of the cells that are asked for."""
        return self.code_out(self.code_norm(cells))

    def _to_patches(
        self, cells: Float[Tensor, "batch time rows columns channels"]
    ) -> Float[Tensor, "batch patches features"]:
        time, rows, columns = self.config.patch
        return rearrange(cells, "b (t pt) (r pr) (c pc) w -> b (t r c) (pt pr pc w)", pt=time, pr=rows, pc=columns)

    def _to_cells(
        self, patches: Float[Tensor, "batch patches features"], shape: GridShape
    ) -> Float[Tensor, "batch time rows columns channels"]:
        time, rows, columns = self.config.patch
        return rearrange(
            patches,
            "b (t r c) (pt pr pc w) -> b (t pt) (r pr) (c pc) w",
            t=shape.time // time,
            r=shape.rows // rows,
            pt=time,
            pr=rows,
            pc=columns,
        )

    def _rotation(self, words: int, grid: GridShape) -> Float[Tensor, "2 positions pairs"]:
        return _rotation(words, grid, self.config.patch, self.config.head_width).to(self.norm.weight.device)

    def flops(self, words: int, grid: GridShape, logits: int) -> float:
        """Multiply-adds counted as two, for one forward pass over one canvas with `logits` of its codes asked for."""
        config = self.config
        positions = words + grid.cells // prod(config.patch)
        layer = 4 * config.width**2 + 3 * config.width * config.hidden + 2 * positions * config.width
        patch = prod(config.patch) * (config.code_width + config.head_code_width) * config.width
        near = 2 * config.near_blocks * 12 * config.code_width**2 + 2 * config.code_width * config.head_code_width
        return 2.0 * (
            grid.cells * near
            + positions * config.depth * layer
            + (positions - words) * patch
            + logits * config.head_code_width * config.visual_codes
        )

    def adamw_parameters(self) -> list[Tensor]:
        """Tables of ids are no linear maps between features: AdamW, not Muon."""
        return [self.embedding.weight, self.word_out.weight, self.code_out.weight]


class NearBlock(nn.Module):
    """A residual block among neighbouring codes: a 3 x 3 convolution in space, then one over (previous, present, next)
    in time. It starts at zero.

    What a code is depends most on its nearest neighbours, and a patch's one vector has no room for the details of
    sixteen of them: they meet here, at the grid's own resolution, while the transformer sees to the rest.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(channels)
        self.space = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.time = nn.Linear(3 * channels, channels)
        nn.init.zeros_(self.time.weight)
        nn.init.zeros_(self.time.bias)

    def forward(
        self, cells: Float[Tensor, "batch time rows columns channels"]
    ) -> Float[Tensor, "batch time rows columns channels"]:
        images = rearrange(self.norm(cells), "b t r k c -> (b t) c r k")
        present = rearrange(F.silu(self.space(images)), "(b t) c r k -> b t r k c", b=cells.shape[0])
        previous = torch.cat((present[:, :1], present[:, :-1]), dim=1)
        following = torch.cat((present[:, 1:], present[:, -1:]), dim=1)
        return cells + self.time(torch.cat((previous, present, following), dim=-1))


class Layer(nn.Module):
    """x + attention(norm(x)), then x + gated(norm(x)); both branches start at zero."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_norm = nn.RMSNorm(config.width)
        self.query_key_value = nn.Linear(config.width, 3 * config.width, bias=False)
        self.query_norm = nn.RMSNorm(config.head_width)
        self.key_norm = nn.RMSNorm(config.head_width)
        self.attention_out = nn.Linear(config.width, config.width, bias=False)
        self.gated_norm = nn.RMSNorm(config.width)
        self.gate_and_value = nn.Linear(config.width, 2 * config.hidden, bias=False)
        self.gated_out = nn.Linear(config.hidden, config.width, bias=False)
        nn.init.zeros_(self.attention_out.weight)
        nn.init.zeros_(self.gated_out.weight)

    def forward(
        self, x: Float[Tensor, "batch positions width"], rotation: Float[Tensor, "2 positions pairs"]
    ) -> Float[Tensor, "batch positions width"]:
        x = x + self.attention_out(self._attention(self.attention_norm(x), rotation))
        gate, value = self.gate_and_value(self.gated_norm(x)).chunk(2, dim=-1)
        return x + self.gated_out(F.silu(gate) * value)

    def _attention(self, x: Tensor, rotation: Tensor) -> Tensor:
        query, key, value = rearrange(
            self.query_key_value(x), "b n (three h d) -> three b h n d", three=3, h=self.heads
        )
        query, key = rotate(self.query_norm(query), rotation), rotate(self.key_norm(key), rotation)
        return rearrange(F.scaled_dot_product_attention(query, key, value), "b h n d -> b n (h d)")


def rotate(
    x: Float[Tensor, "batch heads positions channels"], rotation: Float[Tensor, "2 positions pairs"]
) -> Float[Tensor, "batch heads positions channels"]:
    """Rotary positions (Su et al. 2021): turn channel pair (i, i + pairs) by the position's angles."""
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


@lru_cache(maxsize=32)
def _rotation(
    words: int, grid: GridShape, patch: tuple[int, int, int], head_width: int
) -> Float[Tensor, "2 positions pairs"]:
    """Cosine and sine of each position's angles. A quarter of the channel pairs turn with time, the others with row and
    column, by frequencies from 1 to 1/100 radians per cell.

    Words lie on the diagonal that runs away from the grid's origin, (-1, -1, -1), (-2, -2, -2), ... (as M-RoPE, Wang et
    al. 2024, puts text on all axes at once): where a word lies does not depend on the grid's size or the text's length.
    """
    whole = torch.from_numpy(grid.coordinates()).reshape(*grid.sizes, 3)[:: patch[0], :: patch[1], :: patch[2]]
    centres = whole.reshape(-1, 3).double() + (torch.tensor(patch).double() - 1) / 2
    diagonal = -torch.arange(1, words + 1).double()[:, None].expand(-1, 3)
    places = torch.cat((diagonal, centres))
    pairs = head_width // 2
    share = (pairs // 4, (pairs - pairs // 4) // 2, pairs - pairs // 4 - (pairs - pairs // 4) // 2)
    angles = torch.cat(
        [places[:, axis, None] * 100.0 ** -torch.linspace(0, 1, count).double() for axis, count in enumerate(share)], -1
    )
    return torch.stack((angles.cos(), angles.sin())).float()
