"""A regression that takes milliseconds; run as a module, it is what torchrun starts in test_distributed."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kinetoken.training.loop import TrainingConfig, TrainingResult, train


class ToyBatch(NamedTuple):
    vectors: Float[Tensor, "batch features"]
    kinds: Int[Tensor, " batch"]
    detour: bool


class Toy(nn.Module):
    """Has something of everything: an embedding, matrices for Muon, biases, dropout, a buffer, a layer rarely used."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kinds = nn.Embedding(4, 8)
        self.enter, self.middle, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 1)
        self.detour = nn.Linear(16, 16)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, batch: ToyBatch) -> tuple[Tensor, dict[str, Tensor]]:
        self.seen += 1
        hidden = self.dropout(self.enter(batch.vectors + self.kinds(batch.kinds)).relu())
        hidden = self.detour(hidden) if batch.detour else self.middle(hidden)
        loss = (self.head(hidden)[:, 0] - batch.vectors.sum(1).sin()).square().mean()
        return loss, {"detour_loss" if batch.detour else "error": loss.sqrt()}

    def adamw_parameters(self) -> list[str]:
        return ["head.weight"]


@dataclass(frozen=True)
class ToyBatches:
    """Uses global randomness on purpose: careless data must not break a resume either. In mixed batches, the two ranks
    of a group do different tasks; there is no single process that does the same."""

    mixed: bool = False

    def batch(self, step: int, rank: int, world: int) -> ToyBatch:
        generator = torch.Generator().manual_seed(step)
        vectors, kinds = torch.randn(8, 8, generator=generator), torch.randint(4, (8,), generator=generator)
        noise = 0.0 if world > 1 else 1e-7 * float(torch.rand(()))
        return ToyBatch(vectors[rank::world] + noise, kinds[rank::world], (step + rank * self.mixed) % 3 == 1)


def toy_config(**changes: object) -> TrainingConfig:
    values = {
        "total_steps": 20,
        "warmup_steps": 3,
        "log_every": 1,
        "data_workers": 0,
        "device": "cpu",
        "bfloat16": False,
    }
    values |= changes
    return TrainingConfig(**values)  # type: ignore[arg-type]


def train_toy(run: Path, *, toy: Toy | None = None, mixed: bool = False, **options: object) -> TrainingResult:
    """Options are train's, or else the config's."""
    arguments = {key: options.pop(key) for key in list(options) if key not in TrainingConfig.__dataclass_fields__}
    config = toy_config(**options)
    return train(toy or Toy(), ToyBatches(mixed), config, run, clips_per_step=8, **arguments)  # type: ignore[arg-type]


if __name__ == "__main__":
    for name in ("alike", "mixed", "part"):
        toy = Toy(dropout=0.0)
        if name == "part":  # of which most batches ask nothing
            toy.requires_grad_(False).detour.requires_grad_(True)
        train_toy(Path(sys.argv[1]) / name, toy=toy, mixed=name != "alike")
