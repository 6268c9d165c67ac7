"""Long video: a window of the trained length moves along a clip, in memory that does not grow with the clip."""

from collections.abc import Callable, Iterator
from itertools import tee
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from torch import Tensor

from kinetoken.canvas import Canvas
from kinetoken.clip import Clip
from kinetoken.grid import GridShape
from kinetoken.processes.masked import Step
from kinetoken.tasks import continuing
from kinetoken.tokenizer.video_tokenizer import VideoTokenizer

Fill = Callable[[Canvas, int], Iterator[Step]]  # of a canvas, with a seed


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


def windows(fill: Fill, empty: Canvas, seed: int) -> Iterator[Window]:
    """Layers without end. The first window is `empty`, filled with `seed`; each further one knows the last half of the
    window before it and fills the rest, with a seed that follows from `seed` and its number.

    All positions are those of the first window: the network is never asked about a time that it was not trained on, and
    forgets what is further back than half a window.
    """
    time = empty.grid.shape[1]
    canvas, past, number = empty, 0, 0
    while True:
        for step in fill(canvas, _window_seed(seed, number)):
            last = step
        grid = last.canvas.grid
        yield Window(grid[0, past:].cpu(), last.total)
        past, number = time // 2, number + 1
        canvas = continuing(empty, grid[:, time - past :])


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
    """Decode windows as they come, until there are `frames`. Each is preceded by all that the decoder looks back at:
    the codec has no seam."""
    layers = GridShape.of_clip(frames, height, width, tokenizer.config.cell).time
    counted, decoded = tee(_first_layers(filled, layers))
    pieces = tokenizer.decode_stream((window.ids - text_end for window in decoded), layers=layers)
    done, steps = 0, 0
    for window, pixels in zip(counted, pieces, strict=True):
        fresh = np.ascontiguousarray(pixels[: frames - done, :height, :width])
        done, steps = done + len(fresh), steps + window.steps
        yield Stretch(Clip(frames=fresh, fps=fps), window.ids - text_end, done, frames, steps)


def _first_layers(filled: Iterator[Window], layers: int) -> Iterator[Window]:
    while layers > 0:
        window = next(filled)
        yield window._replace(ids=window.ids[:layers])
        layers -= len(window.ids)
