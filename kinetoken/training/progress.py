"""One screen of live progress on a terminal; elsewhere a plain line now and then."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from kinetoken.training.metrics import Line, Number

SECONDS_BETWEEN_LINES = 30.0
_FIRST = ("loss", "clips_per_second", "share_of_peak", "learning_rate", "gradient_norm")


class Progress:
    """The newest line of metrics, the share of steps done and the time left."""

    def __init__(self, name: str, *, step: int, total_steps: int) -> None:
        self._name, self._first_step, self._step, self._total = name, step, step, total_steps
        self._line: Line = {}
        self._saved_step = step
        self._start = monotonic()
        self._printed_at = float("-inf")
        self._console = Console()

    @contextmanager
    def shown(self) -> Iterator[None]:
        if not self._console.is_terminal:
            yield
            return
        with Live(get_renderable=self._table, console=self._console, refresh_per_second=4):
            yield

    def update(self, step: int, line: Line | None) -> None:
        """After each step; `line` when there are new metrics."""
        self._step, self._line = step, line or self._line
        late = monotonic() - self._printed_at >= SECONDS_BETWEEN_LINES
        if not self._console.is_terminal and self._line and (late or step == self._total):
            self._printed_at = monotonic()
            print(self.plain(), flush=True)

    def saved(self, step: int) -> None:
        self._saved_step = step

    def note(self, message: str) -> None:
        """A message that stays on the screen."""
        self._console.print(message, markup=False, highlight=False)

    @property
    def seconds_left(self) -> float:
        """At the pace since this call began, samples and checkpoints included."""
        done = self._step - self._first_step
        return (monotonic() - self._start) / done * (self._total - self._step) if done else float("inf")

    def plain(self) -> str:
        metrics = [f"{_label(name)} {_shown(name, self._line[name])}" for name in _FIRST if name in self._line]
        head, tail = f"{self._name}  step {self._step}/{self._total}", f"time left {_duration(self.seconds_left)}"
        return "  ".join([head, *metrics, tail])

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row(self._name, ProgressBar(total=self._total, completed=self._step, width=40))
        table.add_row("step", f"{self._step} of {self._total}, saved up to {self._saved_step} (Ctrl-C saves and stops)")
        table.add_row("time left", _duration(self.seconds_left))
        first = [name for name in _FIRST if name in self._line]
        for name in first + [name for name in self._line if name not in (*_FIRST, "step", "seconds")]:
            table.add_row(_label(name), _shown(name, self._line[name]))
        return table


def _label(name: str) -> str:
    return name.replace("_", " ")


def _shown(name: str, value: Number) -> str:
    return f"{value:.1%}" if name.startswith("share") else f"{value:.4g}"


def _duration(seconds: Number) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds < float("inf") else "?"
