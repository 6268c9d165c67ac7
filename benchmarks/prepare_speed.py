"""How fast `kinetoken data prepare` reads: two clips of 640x360 at 30 frames a second, of 20 seconds each.

python benchmarks/prepare_speed.py

Seconds of processor time count every process, start and report included; two cores that have nothing else to do need
half of them at least by the clock.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from kinetoken.clip import ClipWriter

SECONDS, FPS, WIDTH, HEIGHT = 20, 30, 640, 360


def write_pan(path: Path, seed: int) -> None:
    """A camera over a landscape of soft colours with grain; one cut in the middle."""
    rng = np.random.default_rng(seed)
    with ClipWriter(path, fps=FPS, width=WIDTH, height=HEIGHT) as writer:
        for _ in range(2):
            colours = Image.fromarray(rng.integers(0, 256, (8, 16, 3), dtype=np.uint8))
            land = np.asarray(colours.resize((1280, 640), Image.Resampling.BICUBIC)) + rng.normal(0, 8, (640, 1280, 1))
            land = land.clip(0, 255).astype(np.uint8)
            for left in range(SECONDS * FPS // 2):
                writer.write(land[left // 4 : left // 4 + HEIGHT, left : left + WIDTH])


def main() -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "clips").mkdir()
        for seed in range(2):
            write_pan(Path(folder) / f"clips/pan {seed}.mp4", seed)
        command = ["data", "prepare", f"{folder}/clips", "-o", f"{folder}/shards", "--workers", "2"]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "kinetoken", *command], check=True)
        clock, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy, video = used.ru_utime + used.ru_stime, 2 * SECONDS
    print(f"{video} s of video: {clock:.1f} s by the clock, {busy:.1f} s of processor time")
    print(f"{video / clock:.1f} times real time by the clock, {2 * video / busy:.1f} if two cores were all its own")


if __name__ == "__main__":
    main()
