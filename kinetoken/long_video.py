"""Long video: a window of the trained length moves along a clip, in memory that does not grow with the clip."""

from collections.abc import Callable, Iterator
from itertools import tee
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from kinetoken.canvas import Canvas
from kinetoken.clip import Clip
from kinetoken.grid import GridShape
from kinetoken.joins import STILL, led_on, step_sizes
from kinetoken.layout import at_an_instant
from kinetoken.processes.masked import Step
from kinetoken.tasks import continuing
from kinetoken.tokenizer.video_tokenizer import VideoTokenizer

PACE: Final = 90  # percentile of the steps before a window
RECENT: Final = 256  # steps that count for it

Fill = Callable[[Canvas, int], Iterator[Step]]  # of a canvas, with a seed

LastFrame = Callable[[Int[Tensor, "1 layers rows columns"]], Int[Tensor, "1 1 rows columns"]]
"""Of a grid's ids, those of an image of its last frame."""


class Stretch(NamedTuple):
    """A part of a long clip that is finished: its frames and the codes that they were decoded from. done, total: frames
    of the whole clip; steps: of the sampler, so far."""

    clip: Clip
    codes: Int[Tensor, "layers rows columns"]
    done: int
    total: int
    steps: int


class Window(NamedTuple):
    """Layers that were just filled, as ids of the canvas, and in how many steps."""

    ids: Int[Tensor, "layers rows columns"]
    steps: int


def windows(
    fill: Fill,
    empty: Canvas,
    seed: int,
    last_frame: LastFrame,
) -> Iterator[Window]:
    """Layers without end. The first window is `empty`, filled with `seed`; each further one knows the greater half of
    the window before it, and what was written of these layers, and fills the rest, with a seed that follows from `seed`
    and its number.

    All positions are those of the first window: the network is never asked about a time that it was not trained on, and
    forgets what is further back. For the same reason each window begins with an image: what is known first of it is how
    a layer ended, and not how it moved.
    """
    time = empty.grid.shape[1]
    canvas, past, number = empty, 0, 0
    while True:
        for step in fill(canvas, _window_seed(seed, number)):
            last = step
        yield Window(last.canvas.grid[0, past:].cpu(), last.total)
        past, number = min((time + 1) // 2, time - 1), number + 1
        canvas = _going_on(empty, last.canvas, past, last_frame) if past else empty


def _going_on(empty: Canvas, before: Canvas, past: int, last_frame: LastFrame) -> Canvas:
    """The empty canvas with the last layers of the one before it, the first of them as an image."""
    grid, layout = before.grid, before.layout[:, -past:]
    known = torch.cat((last_frame(grid[:, : 1 - past or None]), grid[:, grid.shape[1] + 1 - past :]), dim=1)
    if not layout.numel():
        return continuing(empty, known)
    return continuing(empty, known, torch.cat((at_an_instant(layout[:, :1]), layout[:, 1:]), dim=1))


def _window_seed(seed: int, number: int) -> int:
    return seed if number == 0 else int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def stretches(
    filled: Iterator[Window],
    tokenizer: VideoTokenizer,
    text_end: int,
    *,
    frames: int,
    height: int,
    width: int,
    fps: float,
) -> Iterator[Stretch]:
    """Decode windows as they come, until there are `frames`. Each is preceded by all that the decoder looks back at, so
    the codec has no seam; and comes in no faster than most of the steps before it, as every join does (joins.py)."""
    layers = GridShape.of_clip(frames, height, width, tokenizer.config.cell).time
    counted, decoded = tee(_first_layers(filled, layers))
    pieces = tokenizer.decode_stream((window.ids - text_end for window in decoded), layers=layers)
    done, sampled, last, steps = 0, 0, np.zeros((0, height, width, 3), np.uint8), np.zeros(0)
    for window, pixels in zip(counted, pieces, strict=True):
        fresh = np.ascontiguousarray(pixels[: frames - done, :height, :width])
        if len(steps):
            fresh = led_on(last[0], fresh, max(STILL, float(np.percentile(steps, PACE))))
        steps, last = np.concatenate((steps, step_sizes(np.concatenate((last, fresh)))))[-RECENT:], fresh[-1:]
        done, sampled = done + len(fresh), sampled + window.steps
        yield Stretch(Clip(frames=fresh, fps=fps), window.ids - text_end, done, frames, sampled)


def _first_layers(filled: Iterator[Window], layers: int) -> Iterator[Window]:
    while layers > 0:
        window = next(filled)
        yield window._replace(ids=window.ids[:layers])
        layers -= len(window.ids)
