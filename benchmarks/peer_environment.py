"""The peers' virtual environment, and the process in it that does their part."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from benchmarks.measuring import Cannot

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv-peers"
PEERS = ("phenaki-pytorch==0.5.0", "magvit2-pytorch==0.5.1")
NEEDED = (
    "torch==2.13.0",
    "numpy",
    "einops",
    "vector-quantize-pytorch",
    "beartype",
    "ema-pytorch",
    "packaging",
)
"""What of the peers' dependencies is used here; for the others there are peer_stubs.py."""


def built_environment() -> Path:
    """The folder of the environment, made first if it is not there or holds something else."""
    stamp, wanted = FOLDER / "installed.txt", "\n".join((*NEEDED, *PEERS))
    if stamp.exists() and stamp.read_text() == wanted:
        return FOLDER
    print(f"building the peers' environment in {FOLDER.name}: some minutes, once", file=sys.stderr, flush=True)
    venv.create(FOLDER, clear=True, with_pip=True)
    pip = [str(python_of(FOLDER)), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *NEEDED], check=True)
    subprocess.run([*pip, "--no-deps", *PEERS], check=True)
    stamp.write_text(wanted)
    return FOLDER


def python_of(environment: Path) -> Path:
    return environment / "bin" / "python"


class Peer:
    """A process in the peers' environment. `ask` waits for the answer: while it works, this process rests.

    Raises: Cannot, with the first line of its exception, for what it cannot do.
    """

    def __init__(self, environment: Path, threads: int) -> None:
        self.process = subprocess.Popen(
            [str(python_of(environment)), "-m", "benchmarks.peer_worker", str(threads)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, **options: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **options}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: there is no answer to read, either
        line = self.process.stdout.readline()
        if not line:
            raise Cannot(f"its process ended with code {self.process.wait()}")
        answer = json.loads(line)
        if "cannot" in answer:
            raise Cannot(answer["cannot"])
        return answer["answer"]

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
