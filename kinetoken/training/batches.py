"""Batches: data as a pure function of the step, and the stream of them that a run consumes."""

import random
import signal
from collections.abc import Generator
from dataclasses import fields, is_dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

_DATA, _NETWORK = 1, 0  # streams of global randomness, so that a worker's draws are not the network's


@runtime_checkable
class Batches(Protocol):
    """Data as a pure function of the step: that is what makes resuming exact and workers trivial."""

    def batch(self, step: int, rank: int, world: int) -> Any:
        """The rank's equal share of the step's global batch, on the CPU: a tensor, or a dict, list, tuple, NamedTuple
        or dataclass of tensors. Shapes may differ from step to step. Randomness comes from the step and own seeds."""
        ...


def stream(
    batches: Batches, steps: range, *, rank: int, world: int, seed: int, workers: int
) -> Generator[Any, None, None]:
    """The batches of `steps` in order: the same ones whether `workers` processes prepare them ahead, or 0 do."""
    yield from DataLoader(
        _BySteps(batches, rank, world, seed),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_ignore_signals,
    )


class _BySteps(Dataset[Any]):
    """Always computed on one thread, as data workers do, so that sums round alike in a worker and outside."""

    def __init__(self, batches: Batches, rank: int, world: int, seed: int) -> None:
        self.batches, self.rank, self.world, self.seed = batches, rank, world, seed

    def __getitem__(self, step: int) -> Any:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            _seed_everything(self.seed, _DATA, step, self.rank)
            return self.batches.batch(step, self.rank, self.world)
        finally:
            torch.set_num_threads(threads)


def _as_it_is(batch: Any) -> Any:
    return batch


def _ignore_signals(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; workers leave it to the one that trains, which ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def moved(batch: Any, device: torch.device) -> Any:
    """The batch on a device; what holds no tensors stays as it is."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: moved(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(moved(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(moved(value, device) for value in batch)
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{f.name: moved(getattr(batch, f.name), device) for f in fields(batch) if f.init})
    return batch


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make global randomness (dropout, and whatever a library draws) a function of the step: nothing of it to save."""
    _seed_everything(seed, _NETWORK, step, rank)


def _seed_everything(*numbers: int) -> None:
    """Not by torch.manual_seed: for each kind of device that is not in use, it keeps the seed and a traceback."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
