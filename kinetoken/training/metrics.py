"""What a run says about itself: means of metrics, JSON lines, TensorBoard if asked, the machine's speed, the alarm."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

Number = int | float
Line = dict[str, Number]
WORTH_IT: Final = 1.2
"""How much faster products in bfloat16 must be: what is not a product pays for the conversions."""


class Sums(NamedTuple):
    """Of some steps of one process: the sum and the count of each metric, and totals (clips, flops, seconds)."""

    metrics: dict[str, tuple[float, int]]
    totals: dict[str, Number]


class Meter:
    """Gathers what is measured until a line is due. Tensors are read only then: reading one waits for the device."""

    def __init__(self) -> None:
        self._metrics: dict[str, list[Tensor]] = defaultdict(list)
        self._totals: dict[str, Number] = defaultdict(float)

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        for name, value in metrics.items():
            self._metrics[name].append(value.detach().float())

    def count(self, **amounts: Number) -> None:
        for name, amount in amounts.items():
            self._totals[name] += amount

    def sums(self) -> Sums:
        metrics = {name: (float(torch.stack(seen).sum()), len(seen)) for name, seen in self._metrics.items()}
        return Sums(metrics, dict(self._totals))


def means(parts: Sequence[Sums]) -> Line:
    """Of each metric, over the steps and the processes that had it."""
    names = sorted({name for part in parts for name in part.metrics})
    found = {name: [part.metrics[name] for part in parts if name in part.metrics] for name in names}
    return {name: sum(total for total, _ in pairs) / sum(count for _, count in pairs) for name, pairs in found.items()}


class MetricsWriter:
    """metrics.jsonl, one object a line, each with its "step"; the same to TensorBoard if asked.

    A run that resumes at an earlier step than it had logged drops the lines past that step.
    """

    def __init__(self, run: Path, *, resumed_step: int, tensorboard: bool) -> None:
        path, kept = run / "metrics.jsonl", run / ".metrics.jsonl.partial"
        kept.write_text("".join(text + "\n" for text in _lines_up_to(resumed_step, path)))
        kept.replace(path)
        self._file = path.open("a")
        self._board = _summary_writer(run, resumed_step) if tensorboard else None

    def write(self, line: Line) -> None:
        """A value that is not finite is null, which JSON has."""
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


def _lines_up_to(step: int, path: Path) -> list[str]:
    """The lines of a file, the last of which may have been cut off by a kill."""
    kept = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            if json.loads(text)["step"] <= step:
                kept.append(text)
        except json.JSONDecodeError:
            break
    return kept


def check_tensorboard() -> None:
    """Raises: ValueError if TensorBoard is not installed."""
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
def multiplies_in_bfloat16(device: torch.device) -> bool:
    """Whether products in bfloat16 are worth it there. Of CPUs those are asked that have instructions for them, for
    without them they would be a hundred times slower than in fp32; and of these some are twice as fast and some
    slower."""
    if device.type != "cpu":
        return device.type == "cuda"
    instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # torch has no public name for it
    if not instructions():
        return False
    half, whole = (matmul_peak(device, kind, size=1024) for kind in (torch.bfloat16, torch.float32))
    return half > WORTH_IT * whole


def matmul_peak(device: torch.device, dtype: torch.dtype = torch.float32, size: int = 2048, tries: int = 3) -> float:
    """FLOP/s of a square product on this process's threads: the best of a few."""
    a, b = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(_seconds_of_product(a, b) for _ in range(tries))


def _seconds_of_product(a: Tensor, b: Tensor) -> float:
    start = perf_counter()
    float((a @ b)[0, 0])  # waits for the device
    return perf_counter() - start


def alarm(step: int, loss: Tensor, gradient_norm: Tensor) -> None:
    """Raises: FloatingPointError if either is not finite. Every process sees the same values, so all of them stop."""
    for name, tensor in {"loss": loss, "norm of the gradient": gradient_norm}.items():
        value = float(tensor.detach())
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the {name} is {value} at step {step}: training stopped, and the last checkpoint is as it was. "
                f"Look at the data of this step, batch({step}, ...), or resume with a lower learning rate"
            )
