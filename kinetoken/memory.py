"""What a network need not work out again of a canvas that is filled layer by layer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Memory:
    """Of words, of things and of the layers that are done: keys and values of attention, and what near blocks made of
    cells. Empty to begin with; `Transformer.next_cells` adds what will not change any more.

    So words and things see no cells, and a layer none that come after it: block diffusion (Arriola et al. 2025), the
    blocks being layers of time. Filling one costs the same, however many there are before it. Networks that have been
    trained to see everything lose nothing by it that could be measured (docs/journal.md).
    """

    def __init__(self, time: int) -> None:
        """time: layers of the whole canvas."""
        self.time = time
        self.told, self.layers = 0, 0  # positions of words and things, and layers, that are remembered
        self.seen: Bool[Tensor, "positions all_positions"] | None = None
        """Which positions each of those that are asked about sees; all if None."""
        self._done = 0, 0  # how many positions and layers of those that are asked about are to be remembered
        self._kept: dict[Any, tuple[Tensor, ...]] = {}

    @contextmanager
    def asked(self, told: int, layers: int, done: int, patches: int, device: torch.device) -> Iterator[None]:
        """While the network is asked about so many more words and things, and the next layers, of so many patches each,
        the first `done` of which are."""
        rank = torch.cat((torch.zeros(told), 1 + torch.arange(layers).repeat_interleave(patches))).to(device)
        before = rank.new_zeros(self.told + self.layers * patches)
        self.seen = rank[:, None] >= torch.cat((before, rank)) if told or layers > 1 else None
        self._done = told + done * patches, done
        yield
        self.told, self.layers = self.told + told, self.layers + done

    def once(self, owner: Any, work: Callable[[], Tensor]) -> Tensor:
        """What is the same at every step, worked out at the first."""
        if owner not in self._kept:
            self._kept[owner] = (work(),)
        return self._kept[owner][0]

    def positions(
        self,
        owner: Any,
        key: Float[Tensor, "batch heads positions channels"],
        value: Float[Tensor, "batch heads positions channels"],
    ) -> tuple[
        Float[Tensor, "batch heads all_positions channels"], Float[Tensor, "batch heads all_positions channels"]
    ]:
        """Keys and values of all positions, those given last."""
        key, value = self._joined(owner, 2, self._done[0], key, value)
        return key, value

    def cells(
        self, owner: Any, cells: Float[Tensor, "batch layers rows columns channels"]
    ) -> Float[Tensor, "batch all_layers rows columns channels"]:
        """Of all layers, those given last."""
        return self._joined(owner, 1, self._done[1], cells)[0]

    def _joined(self, owner: Any, axis: int, done: int, *new: Tensor) -> tuple[Tensor, ...]:
        before = self._kept.get(owner, tuple(part.narrow(axis, 0, 0) for part in new))
        joined = tuple(torch.cat(parts, dim=axis) for parts in zip(before, new, strict=True))
        known = before[0].shape[axis] + done
        self._kept[owner] = tuple(part.narrow(axis, 0, known) for part in joined)
        return joined
