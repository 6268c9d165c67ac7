"""Blocks among neighbouring codes."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinetoken.memory import Memory
from kinetoken.norm import RMSNorm


class NearBlock(nn.Module):
    """A residual block among neighbouring codes: a 3 x 3 convolution in space, then one over (previous, present, next)
    in time. It starts at zero.

    What a code is depends most on its nearest neighbours, and a patch's one vector has no room for the details of
    sixteen of them: they meet here, while the transformer sees to the rest.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = RMSNorm(channels)
        self.space = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.time = nn.Linear(3 * channels, channels)
        nn.init.zeros_(self.time.weight)
        nn.init.zeros_(self.time.bias)

    def forward(
        self, cells: Float[Tensor, "batch time rows columns channels"], loop: bool = False, memory: Memory | None = None
    ) -> Float[Tensor, "batch time rows columns channels"]:
        """loop: the last layer precedes the first. Else the ends are taken to go on as they are. memory: of the layers
        before these; then every layer is an end."""
        images = self.norm(cells).flatten(0, 1).permute(0, 3, 1, 2)
        present = F.silu(self.space(images)).permute(0, 2, 3, 1).unflatten(0, cells.shape[:2])
        if memory is not None:
            all_layers = memory.cells(self, present)
            all_layers = torch.cat((all_layers[:, :1], all_layers), dim=1)  # the first is taken to follow itself
            previous, following = all_layers[:, -present.shape[1] - 1 : -1], present
        else:
            first, last = (present[:, -1:], present[:, :1]) if loop else (present[:, :1], present[:, -1:])
            previous = torch.cat((first, present[:, :-1]), dim=1)
            following = torch.cat((present[:, 1:], last), dim=1)
        return cells + self.time(torch.cat((previous, present, following), dim=-1))


class NearBlocks(nn.ModuleList):
    """One resolution's, one after another."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__(NearBlock(channels) for _ in range(count))

    def forward(
        self, cells: Float[Tensor, "batch time rows columns channels"], loop: bool = False, memory: Memory | None = None
    ) -> Float[Tensor, "batch time rows columns channels"]:
        for block in self:
            cells = block(cells, loop, memory)
        return cells
