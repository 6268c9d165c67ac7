"""What a run writes about itself: JSON lines, TensorBoard if asked, and how fast the machine could be."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

Line = dict[str, float]


class Meter:
    """Means of the steps since the last line. A metric is averaged over the steps (and processes) that had it."""

    def __init__(self) -> None:
        self._seen: dict[str, list[Tensor]] = defaultdict(list)
        self._totals: dict[str, float] = defaultdict(float)

    def add(self, metrics: Mapping[str, Tensor], **totals: float) -> None:
        for name, value in metrics.items():
            self._seen[name].append(value.detach())
        for name, amount in totals.items():
            self._totals[name] += amount

    def take(self) -> tuple[dict[str, tuple[float, int]], dict[str, float]]:
        """(sum and count of each metric, totals), and start anew."""
        sums = {name: (float(torch.stack(seen).double().sum()), len(seen)) for name, seen in self._seen.items()}
        totals = dict(self._totals)
        self.__init__()  # type: ignore[misc]
        return sums, totals


def merged_means(parts: list[dict[str, tuple[float, int]]]) -> Line:
    """Means over all processes from their sums and counts."""
    names = sorted({name for part in parts for name in part})
    pairs = {name: [part[name] for part in parts if name in part] for name in names}
    return {name: sum(total for total, _ in found) / sum(count for _, count in found) for name, found in pairs.items()}


class MetricsWriter:
    """metrics.jsonl, one object a line, each with its "step"; the same to TensorBoard if asked.

    A run that resumes at an earlier step than it had logged drops the lines past that step.
    """

    def __init__(self, run: Path, *, resumed_step: int, tensorboard: bool) -> None:
        path = run / "metrics.jsonl"
        kept = [line for line in _whole_lines(path) if line["step"] <= resumed_step]
        path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a")
        self._board = _summary_writer(run, resumed_step) if tensorboard else None

    def write(self, line: Line) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in line.items()}
        self._file.write(json.dumps(finite) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in line.items():
                self._board.add_scalar(name, value, int(line["step"]))

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file whose last one may have been cut off."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def check_tensorboard() -> None:
    """Raises: ValueError if TensorBoard is wanted but not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise ValueError(
            "TensorBoard is not installed: run `pip install 'kinetoken[tensorboard]'`, or train with tensorboard=False"
        ) from None


def _summary_writer(run: Path, resumed_step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"), purge_step=resumed_step + 1)  # type: ignore[no-untyped-call]


@cache
def matmul_peak(device: torch.device, size: int = 2048, tries: int = 3) -> float:
    """FLOP/s of a square matmul on this process's threads: the best of a few; fp32, or bf16 on CUDA, as in training."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    a, b = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(_seconds_of_product(a, b) for _ in range(tries))


def _seconds_of_product(a: Tensor, b: Tensor) -> float:
    start = perf_counter()
    float((a @ b)[0, 0])  # waits for the device
    return perf_counter() - start
