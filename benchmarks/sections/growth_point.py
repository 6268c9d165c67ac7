"""One point of our growth, in a process of its own: seconds of every generation and peak memory, as JSON.

python -m benchmarks.sections.growth_point FRAMES SIZE THREADS MOST_REPEATS
"""

import json
import sys

import torch

from benchmarks.measuring import peak_memory_mb, seconds_of_several
from benchmarks.setting import PROMPT
from kinetoken.generator import Generator


def make(generator: Generator, frames: int, size: int) -> None:
    """As `generate` does: long clips by a window that moves, their stretches let go as they are finished."""
    if frames > generator.longest_frames:
        for stretch in generator.stream_long(PROMPT, seed=0, frames=frames, size=(size, size)):
            _ = stretch.clip
        return
    for step in generator.stream(PROMPT, seed=0, frames=frames, size=(size, size)):
        last = step
    _ = last.clip


def main() -> None:
    frames, size, threads, most = map(int, sys.argv[1:])
    torch.set_num_threads(threads)
    generator = Generator.from_pretrained(device="cpu")
    make(generator, 1, size)
    seconds = seconds_of_several(lambda: make(generator, frames, size), most=most)
    print(json.dumps({"seconds": seconds, "memory_mb": peak_memory_mb()}))


if __name__ == "__main__":
    main()
