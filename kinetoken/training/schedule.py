"""The learning rate over a run: up, flat, down."""

from math import cos, pi
from typing import Literal


def learning_rate_scale(
    step: int, *, total_steps: int, warmup_steps: int, decay: float, decay_shape: Literal["linear", "cosine"]
) -> float:
    """Share of the learning rate for the step after `step` steps, in (0, 1].

    Linear warm-up over `warmup_steps`, then flat, then down over the last `decay` of the run; the last step still
    moves. decay=1 with "cosine" is the usual cosine schedule; decay=0 stays flat.
    """
    up = min(1.0, (step + 1) / max(1, warmup_steps))
    decay_steps = decay * total_steps
    left = (total_steps - step) / (decay_steps + 1) if decay_steps else 1.0
    down = min(1.0, max(0.0, left))
    return min(up, down if decay_shape == "linear" else (1 - cos(pi * down)) / 2)
