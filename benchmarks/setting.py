"""What every section is given: the machine's share, how often to measure, our model, and the peers."""

import os
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.peer_environment import ROOT, Peer, built_environment
from kinetoken.generator import Generator
from kinetoken.training.metrics import matmul_peak, multiplies_in_bfloat16

PROMPT = "a big red ball bounces while a small blue square spins"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    """environment: of the peers; built where it is missing if None. minutes: that each tokenizer trains. quick: the
    least of everything, to see that it runs; such figures mean nothing."""

    threads: int = 2
    minutes: float = 10.0
    quick: bool = False
    environment: Path | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 9

    @property
    def warmups(self) -> int:
        """Rounds before those."""
        return 0 if self.quick else 1

    @property
    def batch(self) -> int:
        return 2 if self.quick else 8

    @property
    def bfloat16(self) -> bool:
        return multiplies_in_bfloat16(CPU)

    @cached_property
    def generator(self) -> Generator:
        return Generator.from_pretrained(device="cpu")

    @cached_property
    def words(self) -> int:
        """Length of the row of text that our model reads for the prompt; the peer is given as many embeddings."""
        codec, longest = self.generator.codec, self.generator.config.network.words
        return min(longest, -(-len(codec.encode(PROMPT)) // 4) * 4)

    def peer(self) -> Peer:
        """A new process in the peers' environment, to be used in a with statement."""
        peer = Peer(self.environment or built_environment(), self.threads)
        self.versions.update(peer.ask("versions"))
        return peer


def machine(setting: Setting) -> dict[str, Any]:
    """Where and with what a section is measured."""
    tries = 1 if setting.quick else 10
    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory_mb() / 1024),
        "threads": setting.threads,
        "gflops_fp32": round(matmul_peak(CPU, tries=tries) / 1e9),
        "gflops_bf16": round(matmul_peak(CPU, torch.bfloat16, tries=tries) / 1e9) if setting.bfloat16 else None,
        "python": platform.python_version(),
        "versions": {"kinetoken": f"{version('kinetoken')}{_commit()}", "torch": torch.__version__},
    }


def memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20


ASIDE = ("reader.", "telling.")  # parts of a network that make no clip: they read given ones and put them into words


def parameters_of(module: torch.nn.Module) -> int:
    """Of those that are at work when clips are made, and when all of it is trained to make them."""
    return sum(weight.numel() for name, weight in module.named_parameters() if not name.startswith(ASIDE))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    """The project's, in parentheses; nothing outside of a repository."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return f" ({found.stdout.strip()})" if found.returncode == 0 else ""
