"""Many things made side by side, one on each core."""

import sys
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

Made = TypeVar("Made")


def side_by_side(make: Callable[[int], Made], count: int, device: torch.device) -> Iterator[Made]:
    """make(0), make(1), … as they are done, in this order.

    A clip is too small a thing for two cores to share: on a CPU each is made by a process that has one of them
    (`DataLoader`'s; forked, so that nothing is loaded again, which is sound on Linux alone). Elsewhere one is made
    after another. What is made travels between processes by pickle. Raises: what `make` raises.
    """
    workers = min(count, torch.get_num_threads())
    if device.type != "cpu" or sys.platform != "linux" or workers < 2:
        yield from map(make, range(count))
        return
    loader = DataLoader(
        _ByNumber(make, count),
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        multiprocessing_context="fork",
        generator=torch.Generator(),
    )
    for made, error in loader:
        if error is not None:
            raise error
        yield made


class _ByNumber(Dataset[tuple[Made | None, Exception | None]], Generic[Made]):
    """What is made, or why it was not: a process would wrap what it raises in a page of its own."""

    def __init__(self, make: Callable[[int], Made], count: int) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[Made | None, Exception | None]:
        try:
            return self.make(number), None
        except Exception as error:
            return None, error


def _as_it_is(made: Made) -> Made:
    return made
