"""How long a user waits, and how much memory it takes. Medians of several runs.

python benchmarks/generate_speed.py
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 5
PROMPT = "a big red ball bounces while a small blue square spins"


def seconds_of(command: list[str]) -> float:
    """Median wall time of a whole process, after one run that fills the disk's cache."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def in_process() -> dict[str, float]:
    """Generate 17 frames of 64 x 64 with default steps, weights loaded."""
    import torch

    from kinetoken import Generator

    generator = Generator.from_pretrained()
    times = []
    for seed in range(RUNS + 1):
        start = time.perf_counter()
        generator.generate(PROMPT, seed=seed)
        times.append(time.perf_counter() - start)
    return {
        "generate_seconds": statistics.median(times[1:]),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    if sys.argv[1:] == ["in-process"]:
        print(json.dumps(in_process()))
        return
    python = sys.executable
    inner = subprocess.run([python, __file__, "in-process"], check=True, capture_output=True, text=True)
    with tempfile.TemporaryDirectory() as folder:
        clip = str(Path(folder) / "ball.mp4")
        cold = seconds_of([python, "-m", "kinetoken", "generate", PROMPT, "-o", clip, "--seed", "7"])
    figures = {
        **json.loads(inner.stdout),
        "generate_cold_seconds": cold,
        "import_seconds": seconds_of([python, "-c", "import kinetoken"]),
        "bare_python_seconds": seconds_of([python, "-c", "pass"]),
        "help_seconds": seconds_of([python, "-m", "kinetoken", "--help"]),
    }
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
