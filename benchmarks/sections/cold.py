"""Where each tenth of a second of `kinetoken generate` goes, in a process that has just begun."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.measuring import Spread, number, seconds_of
from benchmarks.peer_environment import ROOT
from benchmarks.report import Findings, Table
from benchmarks.setting import PROMPT, Setting

STAGES = {
    "interpreter": "Python itself, until its first line",
    "imports": "kinetoken, torch and all they need",
    "weights": "reading the model and filling its networks",
    "text": "the prompt to ids",
    "sampling": "the network's steps",
    "decoding": "codes to frames",
    "writing": "frames to an mp4",
    "leaving": "the process ends",
}
MOST_PACKAGES = 12
IMPORT_LINE = re.compile(r"import time:\s*(\d+) \|\s*\d+ \|\s*([\w.]+)")


def measure(setting: Setting) -> Findings:
    with tempfile.TemporaryDirectory() as folder:
        clip = str(Path(folder) / "ball.mp4")
        command = [sys.executable, "-m", "kinetoken", "generate", PROMPT, "-o", clip, "--seed", "7"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(setting.threads)}

        def whole() -> None:
            subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)

        whole()  # fills the disk's cache
        pairs = [(seconds_of(whole), _staged(clip, environment)) for _ in range(setting.rounds)]
        imports = _imports(command, environment)
    commands = [command for command, _ in pairs]
    stages = {name: [stages[name] for _, stages in pairs] for name in STAGES}
    raw = {"command": commands, "stages": stages, "imports": imports}
    return Findings([_stage_table(stages, commands), _import_table(imports)], _notes(), raw)


def _staged(clip: str, environment: dict[str, str]) -> dict[str, float]:
    """Seconds of every stage of a fresh process."""
    start = time.time()
    script = [sys.executable, "-m", "benchmarks.sections.cold_stages", clip, PROMPT]
    done = subprocess.run(script, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    end, moments = time.time(), json.loads(done.stdout)
    edges = [start, *moments, end]
    return {name: edges[index + 1] - edges[index] for index, name in enumerate(STAGES)}


def _imports(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Seconds that each top package's own lines take to import, by -X importtime, in the whole command."""
    timed = [command[0], "-X", "importtime", *command[1:]]
    done = subprocess.run(timed, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return seconds_by_package(done.stderr)


def seconds_by_package(report: str) -> dict[str, float]:
    """What `python -X importtime` says, summed over the modules of each top package; the dearest first."""
    total: Counter[str] = Counter()
    for microseconds, module in IMPORT_LINE.findall(report):
        total[module.split(".")[0]] += int(microseconds)
    return {name: microseconds / 1e6 for name, microseconds in total.most_common()}


def _stage_table(stages: dict[str, list[float]], commands: list[float]) -> Table:
    medians = {name: Spread.of(times).median for name, times in stages.items()}
    rows, passed = [], 0.0
    for name, times in stages.items():
        share = medians[name] / sum(medians.values())
        span = f"{number(passed)}–{number(passed + medians[name])} s"
        rows.append([name, STAGES[name], Spread.of(times).text(" s"), span, f"{share:.0%}"])
        passed += medians[name]
    rows.append(
        ["all stages", "", Spread.of([sum(run) for run in zip(*stages.values(), strict=True)]).text(" s"), "", ""]
    )
    rows.append(
        [
            "`kinetoken generate`",
            "the whole command, flags and progress included",
            Spread.of(commands).text(" s"),
            "",
            "",
        ]
    )
    return Table(("stage", "what", "time", "from–to", "share"), rows, "Stages")


def _import_table(imports: dict[str, float]) -> Table:
    shown = list(imports.items())[:MOST_PACKAGES]
    rest = sum(imports.values()) - sum(seconds for _, seconds in shown)
    rows = [[name, number(seconds) + " s"] for name, seconds in [*shown, (f"{len(imports) - len(shown)} others", rest)]]
    return Table(("top package", "own time"), rows, "Imports of the whole command")


def _notes() -> list[str]:
    return [
        "A fresh process each time; the disk's cache is warm. 17 frames of 64x64, default steps.",
        "Imports by `python -X importtime`, which slows them down: the shares count. What is imported late, inside a "
        "stage, is in that stage above.",
    ]
