"""Group: this process among those that train together. One process is a group of one."""

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Group:
    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process logs, samples and saves."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        if self.world == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.world

    def any(self, wish: bool, device: torch.device) -> bool:
        """Whether any process wishes it: all get the same answer."""
        return wish if self.world == 1 else bool(self.mean(torch.tensor(float(wish), device=device)) > 0)

    def gather(self, value: Any) -> list[Any]:
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def exchange(self, tensors: Sequence[Tensor], owners: Sequence[int]) -> None:
        """To everybody what each has written into its own of these tensors, which are of one type: owners says whose
        they are."""
        if self.world == 1:
            return
        for rank in range(self.world):
            own = [tensor for tensor, owner in zip(tensors, owners, strict=True) if owner == rank]
            if own:
                row = torch.cat([tensor.flatten() for tensor in own])
                dist.broadcast(row, rank)
                parts = row.split([tensor.numel() for tensor in own])
                torch._foreach_copy_(own, [part.view_as(tensor) for part, tensor in zip(parts, own, strict=True)])


def choose_device(wanted: str | None, local_rank: int = 0) -> torch.device:
    """None is CUDA where there is any, else the CPU; under torchrun each process gets a GPU of its own."""
    device = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
    return torch.device("cuda", local_rank) if device.type == "cuda" and device.index is None else device


def join_group(wanted_device: str | None) -> tuple[Group, torch.device]:
    """The group that torchrun's variables describe (NCCL on CUDA, gloo elsewhere) and this process's device.

    A process joins once and leaves when it exits: the addresses of a group that was left would linger in torchrun's
    store, and joining a second one would wait for them for ever.
    """
    group = Group(rank=int(os.environ.get("RANK", 0)), world=int(os.environ.get("WORLD_SIZE", 1)))
    device = choose_device(wanted_device, int(os.environ.get("LOCAL_RANK", 0)))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if group.world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(_leave_group)
    return group, device


def _leave_group() -> None:
    """After what still holds the group's threads, and all together: one that leaves while another works may abort. One
    that fails does not wait for the others, who may be waiting for it."""
    gc.collect()
    if not hasattr(sys, "last_value"):
        dist.barrier()
    dist.destroy_process_group()
