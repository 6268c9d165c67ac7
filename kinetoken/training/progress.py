"""One screen of live progress on a terminal; elsewhere a plain line now and then."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from kinetoken.training.metrics import Line

SECONDS_BETWEEN_LINES = 30.0
_FIRST = ("loss", "clips_per_second", "share_of_peak", "learning_rate", "gradient_norm")


class Progress:
    """Shows the newest line of metrics, the share of steps done and the time left."""

    def __init__(self, name: str, *, step: int, total_steps: int) -> None:
        self._name, self._first_step, self._step, self._total = name, step, step, total_steps
        self._start = monotonic()
        self._printed = float("-inf")
        self._line: Line = {}
        self._console = Console()
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        if not self._console.is_terminal:
            yield self
            return
        with Live(self._table(), console=self._console, refresh_per_second=4) as self._live:
            yield self

    def update(self, step: int, line: Line | None) -> None:
        """After each step; `line` when there are new metrics."""
        self._step, self._line = step, line or self._line
        if self._live is not None:
            self._live.update(self._table())
        elif self._line and (step == self._total or monotonic() - self._printed >= SECONDS_BETWEEN_LINES):
            self._printed = monotonic()
            print(self.plain(), flush=True)

    def note(self, message: str) -> None:
        """A message that stays on the screen."""
        if self._live is not None:
            self._console.print(message, markup=False)
        else:
            print(message, flush=True)

    @property
    def seconds_left(self) -> float:
        """At the pace since this call began, samples and checkpoints included."""
        done = self._step - self._first_step
        return (monotonic() - self._start) / done * (self._total - self._step) if done else float("inf")

    def plain(self) -> str:
        shown = [name for name in _FIRST if name in self._line]
        parts = [f"{name.replace('_', ' ')} {formatted(name, self._line[name])}" for name in shown]
        return "  ".join(
            [f"{self._name}  step {self._step}/{self._total}", *parts, f"left {duration(self.seconds_left)}"]
        )

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row(self._name, ProgressBar(total=max(1, self._total), completed=self._step, width=40))
        table.add_row("step", f"{self._step} of {self._total}")
        table.add_row("time left", duration(self.seconds_left))
        others = [name for name in self._line if name not in _FIRST and name not in ("step", "seconds")]
        for name in [*(name for name in _FIRST if name in self._line), *others]:
            table.add_row(name.replace("_", " "), formatted(name, self._line[name]))
        return table


def formatted(name: str, value: float) -> str:
    return f"{value:.0%}" if name.startswith("share") else f"{value:.4g}"


def duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds < float("inf") else "?"
