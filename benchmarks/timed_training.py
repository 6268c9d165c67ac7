"""Training by the clock, the same for everyone: the same clips in the same order, and a schedule that follows the time
spent and not the steps done. Nothing in this file imports kinetoken or a peer."""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np

WARMUP, DECAY = 0.02, 0.5  # shares of the whole time

Step = Callable[[np.ndarray, float], None]
"""One step of training on uint8 clips (batch x frames x height x width x 3), at a share of the learning rate."""


def rate_scale(share: float) -> float:
    """The share of the learning rate when that share of the time is spent: up, level, and down to nothing."""
    return max(0.0, min(1.0, share / WARMUP, (1 - share) / DECAY))


class TimedTraining:
    """Takes turns with others: each call of `run` spends some more of its own seconds."""

    def __init__(self, step: Step, clips: Path, *, batch: int, total_seconds: float) -> None:
        self.step, self.batch, self.total_seconds = step, batch, total_seconds
        self.clips = np.load(clips, mmap_mode="r")
        self.seconds, self.steps = 0.0, 0

    def run(self, seconds: float) -> None:
        """Train until so many more seconds have gone, or all of them."""
        end = min(self.seconds + seconds, self.total_seconds)
        while self.seconds < end:
            start = perf_counter()
            self.step(self._next(), rate_scale(max(self.seconds / self.total_seconds, 1e-3)))
            self.seconds += perf_counter() - start
            self.steps += 1

    def _next(self) -> np.ndarray:
        places = (self.steps * self.batch + np.arange(self.batch)) % len(self.clips)
        return self.clips[places]
