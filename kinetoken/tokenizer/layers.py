"""The tokenizer's parts. Every tensor is channels-last: batch x time x rows x columns x channels.

Pixels are gathered into blocks of one cell each before the first weight is applied, so that all layers work at the
grid's resolution: a few large matrix products, which is what processors are fastest at.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kinetoken.grid import CellSize, GridShape


def blocks_from_frames(
    frames: Float[Tensor, "batch frames height width 3"], cell: CellSize
) -> Float[Tensor, "batch time rows columns values"]:
    """Space-to-depth. The first frame stands alone, so it is repeated to fill its block; the last frame, row and column
    are repeated to fill theirs."""
    _, length, height, width, _ = frames.shape
    grid = GridShape.of_clip(length, height, width, cell)
    pads = (
        *(0, grid.columns * cell.width - width),
        *(0, grid.rows * cell.height - height),
        *(cell.frames - 1, grid.frames(cell) - length),
    )
    padded = F.pad(rearrange(frames, "b t h w c -> b c t h w"), pads, mode="replicate")
    return rearrange(
        padded,
        "b c (t ft) (r fh) (k fw) -> b t r k (ft fh fw c)",
        ft=cell.frames,
        fh=cell.height,
        fw=cell.width,
    )


def frames_from_blocks(
    blocks: Float[Tensor, "batch time rows columns values"], cell: CellSize
) -> Float[Tensor, "batch frames height width 3"]:
    """Depth-to-space: the inverse of `blocks_from_frames`, before any cropping. Of the first block only the last frame
    is kept."""
    frames = rearrange(
        blocks,
        "b t r k (ft fh fw c) -> b (t ft) (r fh) (k fw) c",
        ft=cell.frames,
        fh=cell.height,
        fw=cell.width,
    )
    return frames[:, cell.frames - 1 :]


class SpaceTimeBlock(nn.Module):
    """A residual block: a 3 x 3 convolution in space, then a causal one over (previous, present) in time.

    Factorised (2+1)-D convolutions as in R(2+1)D (Tran et al. 2018) and Cosmos (2025). The layer before the first is
    taken to be equal to the first, so that a still image and a still clip look alike.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(channels)
        self.space = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.time = nn.Linear(2 * channels, channels)
        nn.init.zeros_(self.time.weight)
        nn.init.zeros_(self.time.bias)

    def forward(
        self, x: Float[Tensor, "batch time rows columns channels"]
    ) -> Float[Tensor, "batch time rows columns channels"]:
        images = rearrange(self.norm(x), "b t r k c -> (b t) c r k")  # a view: this is torch's channels_last layout
        present = rearrange(F.silu(self.space(images)), "(b t) c r k -> b t r k c", b=x.shape[0])
        previous = torch.cat((present[:, :1], present[:, :-1]), dim=1)
        return x + self.time(torch.cat((previous, present), dim=-1))


class Stack(nn.Module):
    """Linear in, residual blocks, norm, linear out: both the encoder and the decoder."""

    def __init__(self, values_in: int, channels: int, blocks: int, values_out: int) -> None:
        super().__init__()
        self.enter = nn.Linear(values_in, channels)
        self.blocks = nn.Sequential(*(SpaceTimeBlock(channels) for _ in range(blocks)))
        self.norm = nn.RMSNorm(channels)
        self.leave = nn.Linear(channels, values_out)

    def forward(
        self, x: Float[Tensor, "batch time rows columns values_in"]
    ) -> Float[Tensor, "batch time rows columns values_out"]:
        return self.leave(self.norm(self.blocks(self.enter(x))))
