"""Blocks among neighbouring codes."""

from jaxtyping import Float
from torch import Tensor, nn

from kinetoken.memory import Memory
from kinetoken.space import SpaceBlock
from kinetoken.through_time import plus_through_time


class NearBlock(SpaceBlock):
    """A residual block among neighbouring codes: a 3 x 3 convolution in space, then one over (previous, present, next)
    in time. It starts at zero.

    What a code is depends most on its nearest neighbours, and a patch's one vector has no room for the details of
    sixteen of them: they meet here, while the transformer sees to the rest.
    """

    def __init__(self, channels: int, squeeze: int = 1) -> None:
        super().__init__(channels, channels // squeeze)
        self.time = nn.Linear(3 * (channels // squeeze), channels)
        nn.init.zeros_(self.time.weight)
        nn.init.zeros_(self.time.bias)

    def forward(
        self, cells: Float[Tensor, "batch time rows columns channels"], loop: bool = False, memory: Memory | None = None
    ) -> Float[Tensor, "batch time rows columns channels"]:
        """loop: the last layer precedes the first. Else the ends are taken to go on as they are. memory: of the layers
        before these; then every layer is an end."""
        layers = self.seen(cells)
        if memory is not None:
            layers = memory.cells(self, layers)
        time = layers.shape[1]
        now = list(range(time - cells.shape[1], time))
        previous = [(layer - 1) % time if loop else max(layer - 1, 0) for layer in now]
        following = [(layer + 1) % time if loop else min(layer + 1, time - 1) for layer in now]
        return plus_through_time(cells, self.time, layers, previous, now, following if memory is None else now)


class NearBlocks(nn.ModuleList):
    """One resolution's, one after another."""

    def __init__(self, channels: int, count: int, squeeze: int = 1) -> None:
        super().__init__(NearBlock(channels, squeeze) for _ in range(count))

    def forward(
        self, cells: Float[Tensor, "batch time rows columns channels"], loop: bool = False, memory: Memory | None = None
    ) -> Float[Tensor, "batch time rows columns channels"]:
        for block in self:
            cells = block(cells, loop, memory)
        return cells
