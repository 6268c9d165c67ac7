"""Side by side with the peers: phenaki-pytorch and magvit2-pytorch, alternating with us on this machine.

python -m benchmarks.peers                       # everything, into docs/performance.md: hours
python -m benchmarks.peers --only sampling       # one section
python -m benchmarks.peers --quick --docs FOLDER # a smoke run, whose figures mean nothing

The peers' environment is built in .venv-peers the first time.
"""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro

from benchmarks.charts import draw, require_matplotlib
from benchmarks.peer_environment import ROOT
from benchmarks.report import Findings, between_markers, keep
from benchmarks.sections import cold, growth, sampling, tokenizer, training
from benchmarks.setting import Setting, machine

Name = Literal["training", "sampling", "tokenizer", "growth", "cold"]
SECTIONS: dict[Name, Callable[[Setting], Findings]] = {
    "training": training.measure,
    "sampling": sampling.measure,
    "tokenizer": tokenizer.measure,
    "growth": growth.measure,
    "cold": cold.measure,
}
DOCS = ROOT / "docs"


@dataclass(frozen=True, kw_only=True)
class Command:
    """Measure ourselves beside the peers, and write docs/performance.md."""

    only: Name | None = None
    """One section; all of them if not given."""
    quick: bool = False
    """The least of everything, to see that it runs. Needs --docs: such figures have no place in the project's."""
    minutes: float | None = None
    """How long each tokenizer trains: 10, or a second if --quick."""
    threads: int = 2
    """Of each side."""
    environment: Path | None = None
    """A virtual environment that has the peers, instead of .venv-peers."""
    docs: Path = DOCS
    """The folder of performance.md, performance.json and pictures/."""

    def execute(self) -> None:
        require_matplotlib()
        if self.quick and self.docs.resolve() == DOCS:
            raise SystemExit("a quick run's figures mean nothing: write them elsewhere with --docs FOLDER")
        torch.set_num_threads(self.threads)
        page = _page(self.docs)
        minutes = self.minutes or (0.02 if self.quick else 10.0)
        setting = Setting(threads=self.threads, minutes=minutes, quick=self.quick, environment=self.environment)
        for name in [self.only] if self.only else SECTIONS:
            print(f"measuring {name}", file=sys.stderr, flush=True)
            write(page, name, _measured(setting, name))


def _measured(setting: Setting, name: Name) -> Findings:
    where = machine(setting)
    findings = SECTIONS[name](setting)
    where["versions"] |= setting.versions
    return replace(findings, machine=where, quick=setting.quick)


def write(page: Path, name: Name, findings: Findings) -> None:
    """Keep a section's findings, draw its chart, and put both into the page."""
    picture = f"pictures/performance-{name}.png"
    draw(name, findings.raw, page.parent / picture)
    keep(page.with_suffix(".json"), name, findings)
    page.write_text(between_markers(page.read_text(), name, findings.markdown(picture)))


def _page(docs: Path) -> Path:
    """performance.md in that folder; begun from the project's if there is none yet."""
    page = docs / "performance.md"
    if not page.exists():
        docs.mkdir(parents=True, exist_ok=True)
        shutil.copy(DOCS / page.name, page)
    return page


if __name__ == "__main__":
    tyro.cli(Command).execute()
