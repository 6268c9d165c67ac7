"""How things are timed here. Known to both sides of a comparison: nothing in this file imports kinetoken or a peer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from time import perf_counter
from typing import Any

NOT_MEASURED = "—"


class Cannot(Exception):
    """What a peer cannot do; the message is the first line of its exception."""


@dataclass(frozen=True)
class Spread:
    """Median, least and most of some repetitions."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))

    def text(self, unit: str = "") -> str:
        numbers = (number(value) for value in (self.median, self.least, self.most))
        return "{}{unit} ({}–{})".format(*numbers, unit=unit)


def refusing(error: Cannot) -> Callable[..., Any]:
    """In place of work that already failed while it was prepared."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    return refuse


Measured = list[float] | str
"""The repetitions of one system, or what keeps it from being measured."""


def number(value: float) -> str:
    """Three digits, never in powers of ten."""
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{decimals}f}"


def told_count(parameters: int) -> str:
    """A cell of a table; of what could not be built there is no number."""
    return f"{parameters:,}" if parameters else NOT_MEASURED


def alternate(systems: Mapping[str, Callable[[], float]], *, rounds: int, warmups: int = 1) -> dict[str, Measured]:
    """Call every system in turn, `rounds` times around, so that the machine's drift hits all alike. The first
    `warmups` rounds are not counted. A system that cannot is left out from then on."""
    found: dict[str, Measured] = {name: [] for name in systems}
    for turn in range(warmups + rounds):
        for name, measure in systems.items():
            so_far = found[name]
            if isinstance(so_far, str):
                continue
            try:
                value = measure()
            except Cannot as error:
                found[name] = f"cannot: {error}"
                continue
            if turn >= warmups:
                so_far.append(value)
    return found


def told(measured: Measured, unit: str = "", convert: Callable[[float], float] = float) -> str:
    """A cell of a table."""
    return measured if isinstance(measured, str) else Spread.of([convert(value) for value in measured]).text(unit)


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Pair by pair: what was measured side by side is compared side by side."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def told_ratio(numerator: Measured, denominator: Measured) -> str:
    """A cell of a table: how many times the one is the other."""
    if isinstance(numerator, str) or isinstance(denominator, str):
        return NOT_MEASURED
    return Spread.of(ratios(numerator, denominator)).text("×")


def seconds_of(work: Callable[[], Any], times: int = 1) -> float:
    """Wall time of one call, the mean of `times`."""
    start = perf_counter()
    for _ in range(times):
        work()
    return (perf_counter() - start) / times


def seconds_of_several(work: Callable[[], Any], *, most: int, enough_seconds: float = 20.0) -> list[float]:
    """Wall times of up to `most` calls, fewer if they take long."""
    times: list[float] = []
    while len(times) < most and sum(times) < enough_seconds:
        times.append(seconds_of(work))
    return times


def peak_memory_mb() -> float:
    """The most memory that this process has held. On Linux getrusage would count the parent's, from before exec."""
    status = Path("/proc/self/status")
    if not status.exists():
        return getrusage(RUSAGE_SELF).ru_maxrss / 1024
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024


def flops_of(work: Callable[[], Any]) -> float:
    """Multiply-adds counted as two, of all matrix products and convolutions in a call, by torch's own counter: the same
    rule for everyone. It does not know the CPU's fused attention, so it is told."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

    fused = torch.ops.aten
    attention = {
        fused._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
        fused._scaled_dot_product_flash_attention_for_cpu_backward: (
            lambda gradient, q, k, v, *_, **__: sdpa_backward_flop_count(gradient, q, k, v)
        ),
    }
    with FlopCounterMode(display=False, custom_mapping=attention) as counter:
        work()
    return float(counter.get_total_flops())
