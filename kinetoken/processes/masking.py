"""What of a training canvas is hidden: a pure function of its seed."""

from dataclasses import dataclass, replace
from math import cos, pi
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from kinetoken.canvas import NO_LAYOUT, Canvas
from kinetoken.grid import GridShape
from kinetoken.layout import HIDDEN, from_the_left
from kinetoken.processes.orders import halton_ranks, layer_ranks, outwards, random_ranks

EARLY, EARLIEST = 0.4, 0.25
"""How often more than the schedule's share of canvases is nearly empty: of a progress below EARLIEST, which is at most
a thirteenth of the codes. There only the words say what will be seen; where more of an object is known, its codes give
it away, and nothing is learned of the words."""

SCATTERED = 0.3
"""How many canvases have some cells of all layers known, as an order that does not go by layers leaves them."""

TOLD, IN_PART, SECOND = 0.6, 0.85, 0.5
"""How many layouts are known, where there is a grid to paint; how many of the others up to some thing, as they are
while they are written (of the rest nothing is); and how many of these up to a thing of the second layer, the one where
words alone say how things move: in the third it can be seen."""

READ, OF_PARTS = 0.35, 0.25
"""How many canvases with a grid are there to learn to read: what is known of their grids is whole layers, or (OF_PARTS)
a tube of these or all but a tube, and of their layouts hardly anything."""

FEWEST = 0.05
"""A canvas with a smaller share of its codes hidden counts for less: a step must not be about a few codes alone."""


class CanvasBatch(NamedTuple):
    """Complete canvases of one shape; a seed for each, from which everything random about it follows; and whether it is
    there to learn captioning. Rows of text to be written must not betray how long the text is. Things of a layout that
    nobody has told are HIDDEN, and nothing is learned of them. loop: whether time is a circle, for all or for none; not
    if it is left out."""

    text: Int[Tensor, "batch words"]
    grid: Int[Tensor, "batch time rows columns"]
    seeds: Int[Tensor, " batch"]
    captioning: Bool[Tensor, " batch"]
    layout: Int[Tensor, "told layers things digits"] = NO_LAYOUT
    loop: Bool[Tensor, " batch"] = torch.zeros(0, dtype=torch.bool)


@dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """unconditional: how often the text is wholly hidden, where the canvas is not there for captioning; else all of the
    text is known."""

    unconditional: float = 0.12
    text_weight: float = 24.0  # of a word's cross-entropy against a code's: a text has some twenty, a grid a thousand
    layout_weight: float = 8.0  # of a thing's, likewise


def cosine_schedule(progress: float) -> float:
    """The share of places filled at `progress` in [0, 1]: slow at first, while little is known (MaskGIT, 3.3)."""
    return 1 - cos(pi / 2 * progress)


def training_canvas(batch: CanvasBatch, masking: MaskingConfig) -> Canvas:
    """Hide a part of each canvas, by its own seed."""
    shape = GridShape(time=batch.grid.shape[1], rows=batch.grid.shape[2], columns=batch.grid.shape[3])
    slots = batch.layout.shape[2]
    told = (batch.layout[..., 0] != HIDDEN).flatten(1).any(1) if slots else torch.zeros(len(batch.seeds)).bool()
    known = [
        _known_places(
            np.random.default_rng(int(seed)), batch.text.shape[1], shape, slots, masking, bool(captioning), bool(reads)
        )
        for seed, captioning, reads in zip(batch.seeds, batch.captioning, told, strict=True)
    ]
    text, layout, grid = (torch.from_numpy(np.stack(part)).to(batch.grid.device) for part in zip(*known, strict=True))
    loop = bool(batch.loop.any())
    canvas = Canvas(text=batch.text, grid=batch.grid, text_known=text, grid_known=grid, loop=loop)
    if not slots:
        return canvas
    # Of two things that nobody has named or placed, either may be the first: one must be, or a reader means both.
    unnamed = ~text.any(1) & ~layout[:, :, 1:].any((1, 2))
    things = torch.where(unnamed[:, None, None, None], from_the_left(batch.layout), batch.layout)
    return replace(canvas, layout=things, layout_known=layout & (things[..., 0] != HIDDEN))


def to_be_written(canvas: Canvas) -> Bool[Tensor, "batch time things"]:
    """The unknown things that a network can be asked for: those of the layer that would be written next (by the order
    of `outwards`), and those of layers of whose cells something is known, from which they may be read. Of others
    nothing is to be learned but that they might be anywhere."""
    told = canvas.layout[..., 0] != HIDDEN
    if not told.numel():
        return told
    unknown = told & ~canvas.layout_known
    seen = canvas.grid_known.any((2, 3))
    begun = seen | canvas.layout_known.any(2)
    times = torch.arange(told.shape[1], device=told.device)
    away = (times[:, None] - times).abs().where(begun[:, None], len(times)).amin(2) * len(times) + times
    following = away.masked_fill(~unknown.any(2), len(times) ** 2 + len(times)).argmin(1)
    return unknown & (seen | (times == following[:, None]))[..., None]


class _Known(NamedTuple):
    text: Bool[np.ndarray, " words"]
    layout: Bool[np.ndarray, "time things"]
    grid: Bool[np.ndarray, "time rows columns"]


def _known_places(
    rng: np.random.Generator,
    words: int,
    shape: GridShape,
    things: int,
    masking: MaskingConfig,
    captioning: bool,
    reads: bool,
) -> _Known:
    """What is known of one training canvas. reads: there is a layout to be read."""
    if captioning:
        text = _known_words(rng, words)
        grid = np.ones(shape.sizes, dtype=bool) if rng.random() < 0.7 else _known_cells(rng, shape)
        told = rng.random() < TOLD  # mostly what it says has been written before the words are
        layout = np.ones((shape.time, things), dtype=bool) if told else _known_things(rng, shape, things)
        return _Known(text, layout, grid)
    if shape.cells and reads and rng.random() < READ:
        return _to_be_read(rng, words, shape, things)
    untold = rng.random() < masking.unconditional
    grid = _known_cells(rng, shape)
    layout = np.zeros((shape.time, things), dtype=bool) if untold else _known_things(rng, shape, things)
    return _Known(np.full(words, not untold), layout, grid)


def _to_be_read(rng: np.random.Generator, words: int, shape: GridShape, things: int) -> _Known:
    """A canvas whose layout is to be found in its grid, as when a known frame is to be brought to life, or a clip to be
    told in words: half the time all of the grid is known, and half the time the words are."""
    layers = np.full(shape.time, True) if rng.random() < 0.5 else rng.random(shape.time) < rng.random()
    if not layers.any():
        layers[rng.integers(shape.time)] = True
    ranks = np.argsort(outwards(layers))[:, None] * things + np.arange(things)
    layout = ranks < (rng.integers(ranks.size) if rng.random() < 0.5 else 0)
    grid = np.broadcast_to(layers[:, None, None], shape.sizes)
    if rng.random() < OF_PARTS:
        grid = grid & (_tube(rng, shape) ^ (rng.random() < 0.5))
    return _Known(np.full(words, rng.random() < 0.5), layout, grid)


def _known_things(rng: np.random.Generator, shape: GridShape, things: int) -> Bool[np.ndarray, "time things"]:
    """All of a layout, or some layers and the first things of another, which is how layouts are written, or nothing."""
    ranks = np.argsort(_layers_in_turn(rng, shape.time))[:, None] * things + np.arange(things)
    if shape.cells and rng.random() < TOLD:
        return ranks >= 0
    if rng.random() >= IN_PART or not ranks.size:
        return ranks < 0
    second = shape.time > 1 and rng.random() < SECOND
    return ranks < rng.integers(*((things, 2 * things) if second else (0, ranks.size)))


def _known_words(rng: np.random.Generator, words: int) -> Bool[np.ndarray, " words"]:
    """Half the time the beginning of the text, which is how captions are written; else words here and there."""
    hidden = int(rng.integers(words))  # this one at least
    if rng.random() < 0.5:
        return np.arange(words) < hidden
    return (rng.random(words) < rng.random()) & (np.arange(words) != hidden)


def _known_cells(rng: np.random.Generator, shape: GridShape) -> Bool[np.ndarray, "time rows columns"]:
    """Cells as a sampler leaves them: some layers whole and one in part, or (SCATTERED) some of all. In three of ten,
    also whole frames known, a whole tube known, or a whole tube unknown. One place at least stays hidden."""
    if not shape.cells:
        return np.zeros(shape.sizes, dtype=bool)
    progress = (EARLIEST if rng.random() < EARLY else 1.0) * rng.random()
    if rng.random() < SCATTERED:
        ranks = (halton_ranks if rng.random() < 0.75 else random_ranks)(shape, rng)
        known = ranks < int(cosine_schedule(progress) * shape.cells)
    else:
        layers = _layers_in_turn(rng, shape.time)
        ranks = layer_ranks(shape, rng, layers)
        whole = shape.time - 1 if rng.random() < 0.7 else int(rng.integers(shape.time))
        known = ranks < int((whole + cosine_schedule(progress)) * shape.cells / shape.time)
    draw = rng.random()
    if draw < 0.10:
        known |= (rng.random(shape.time) < rng.random())[:, None, None]
    elif draw < 0.20:
        known |= _tube(rng, shape)
    elif draw < 0.30:
        known = (known | (rng.random() < 0.5)) & ~_tube(rng, shape)
    known &= ranks < shape.cells - 1
    return known


def _layers_in_turn(rng: np.random.Generator, time: int) -> list[int]:
    """The order in which layers are filled: from the first one on, backwards, or from those that are known already."""
    draw = rng.random()
    if draw < 0.7:
        return list(range(time))
    return list(range(time))[::-1] if draw < 0.8 else outwards(rng.random(time) < 0.4)


def _tube(rng: np.random.Generator, shape: GridShape) -> Bool[np.ndarray, "time rows columns"]:
    """A rectangle of rows and columns through all of time (Lumos-1 masks so, since a cell is easily guessed from the
    same place a moment before)."""
    tube = np.zeros(shape.sizes, dtype=bool)
    (top, bottom), (left, right) = (
        sorted(int(i) for i in rng.integers(0, size + 1, 2)) for size in (shape.rows, shape.columns)
    )
    tube[:, top:bottom, left:right] = True
    return tube
