"""What of a training canvas is hidden: a pure function of its seed."""

from dataclasses import dataclass, replace
from math import cos, pi
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kinetoken.canvas import NO_LAYOUT, Canvas
from kinetoken.grid import GridShape
from kinetoken.layout import EIGHTHS, HIDDEN, MARGIN, PLACES, X, Y, centres
from kinetoken.processes.orders import halton_ranks, layer_ranks, outwards, random_ranks
from kinetoken.vocabulary import Vocabulary

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

GOING_ON = 0.25
"""How many canvases with a grid have some layers that are known, and all that is in them told, and others of which
nothing is painted yet: there a layout is to be gone on with, as when a picture is brought to life."""

WHOLE, OF_PARTS = 0.5, 0.5
"""How many grids that are there to learn to read are known as a whole, and of how many a tube, or all but a tube, is
all that is known."""

AT_A_THING, ASIDE = 0.5, 2.5
"""How many of these tubes have a corner at one of the clip's things, give or take so many cells: what lies half under
a mask is what there is to be learned."""

WIDER, ROOM = 0.25, (PLACES - 2 * MARGIN) // EIGHTHS
"""How many batches of them lie somewhere in a larger grid, as when a picture is gone on with at its sides; and how
many rows and columns a layout can tell of."""

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
            np.random.default_rng(int(seed)), batch.text.shape[1], shape, slots, masking, bool(captioning), bool(plans)
        )
        for seed, captioning, plans in zip(batch.seeds, batch.captioning, told, strict=True)
    ]
    text, layout, grid = (torch.from_numpy(np.stack(part)).to(batch.grid.device) for part in zip(*known, strict=True))
    loop = bool(batch.loop.any())
    canvas = Canvas(text=batch.text, grid=batch.grid, text_known=text, grid_known=grid, loop=loop)
    if not slots:
        return canvas
    return replace(canvas, layout=batch.layout, layout_known=layout & (batch.layout[..., 0] != HIDDEN))


class ToRead(NamedTuple):
    """Grids, MASK where a reader is not shown them, and what is there."""

    grid: Int[Tensor, "batch time rows columns"]
    layout: Int[Tensor, "batch time things digits"]


def to_be_read(batch: CanvasBatch) -> ToRead:
    """The grids of a batch as they are when a clip is told in words, goes on or is filled in."""
    shape = GridShape(time=batch.grid.shape[1], rows=batch.grid.shape[2], columns=batch.grid.shape[3])
    rngs = [np.random.default_rng(int(seed)) for seed in batch.seeds]
    seen_by = zip(rngs, batch.layout, strict=True)
    shown = torch.from_numpy(np.stack([_shown(rng, shape, _seats(layout)) for rng, layout in seen_by]))
    seen = ToRead(batch.grid.masked_fill(~shown.to(batch.grid.device), Vocabulary.MASK), batch.layout)
    return _in_a_larger_grid(seen, rngs[0]) if rngs[0].random() < WIDER else seen


def _seats(layout: Int[Tensor, "time things digits"]) -> Float[np.ndarray, "places 2"]:
    """(row, column) of everything that is there but the view, in all layers."""
    things = layout[:, 1:]
    return centres(things[things[..., 0] > 0]).flip(-1).cpu().numpy()


def _in_a_larger_grid(seen: ToRead, rng: np.random.Generator) -> ToRead:
    """Anywhere in one of which nothing more is known. By fours there are more rows and columns, as patches have them,
    by twos before it, as squares of codes have them."""
    more = [4 * int(rng.integers(max(ROOM - size, 0) // 4 + 1)) for size in seen.grid.shape[2:]]
    above, left = (2 * int(rng.integers(room // 2 + 1)) for room in more)
    grid = F.pad(seen.grid, (left, more[1] - left, above, more[0] - above), value=Vocabulary.MASK)
    moved = seen.layout.clone()
    moved[..., X] += EIGHTHS * left
    moved[..., Y] += EIGHTHS * above
    return ToRead(grid, torch.where(seen.layout[..., :1] > 0, moved, seen.layout))


def to_be_written(canvas: Canvas) -> Bool[Tensor, "batch time things"]:
    """The unknown things that a network can be asked for: those of the layer that would be written next (by the order
    of `outwards`). Of others nothing is to be learned but that they might be anywhere."""
    told = canvas.layout[..., 0] != HIDDEN
    if not told.numel():
        return told
    unknown = told & ~canvas.layout_known
    begun = canvas.layout_known.any(2)
    times = torch.arange(told.shape[1], device=told.device)
    away = (times[:, None] - times).abs().where(begun[:, None], len(times)).amin(2) * len(times) + times
    following = away.masked_fill(~unknown.any(2), len(times) ** 2 + len(times)).argmin(1)
    return unknown & (times == following[:, None])[..., None]


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
    plans: bool,
) -> _Known:
    """What is known of one training canvas. Where cells of a layer are known, what is there has been read. plans: there
    is a layout to be gone on with."""
    if captioning:
        text = _known_words(rng, words)
        grid = np.ones(shape.sizes, dtype=bool) if rng.random() < 0.7 else _known_cells(rng, shape)
        return _Known(text, np.ones((shape.time, things), dtype=bool), grid)
    if plans and shape.cells and shape.time > 1 and rng.random() < GOING_ON:
        return _going_on(rng, words, shape, things)
    grid = _known_cells(rng, shape)
    if rng.random() < masking.unconditional:
        return _Known(np.zeros(words, dtype=bool), np.zeros((shape.time, things), dtype=bool), grid)
    seen = grid.reshape(shape.time, 1, -1).any(2)
    return _Known(np.ones(words, dtype=bool), _known_things(rng, shape, things) | seen, grid)


def _going_on(rng: np.random.Generator, words: int, shape: GridShape, things: int) -> _Known:
    """Layers known, and told; of the others the things that would be written first are told, or none."""
    layers = _some_layers(rng, shape.time)
    if layers.all():
        layers[rng.integers(1, shape.time) :] = False
    left = int((~layers).sum()) * things
    ranks = np.argsort(outwards(layers))[:, None] * things + np.arange(things)
    written = rng.integers(left) if left and rng.random() < 0.5 else 0
    return _Known(
        np.full(words, rng.random() < 0.9),
        ranks < int(layers.sum()) * things + written,
        np.broadcast_to(layers[:, None, None], shape.sizes),
    )


def _some_layers(rng: np.random.Generator, time: int) -> Bool[np.ndarray, " time"]:
    """A clip's beginning, or some of its layers; one at least."""
    layers = rng.random(time) < rng.random() if rng.random() < 0.5 else np.arange(time) <= rng.integers(time)
    if not layers.any():
        layers[rng.integers(time)] = True
    return layers


def _shown(
    rng: np.random.Generator, shape: GridShape, seats: Float[np.ndarray, "places 2"]
) -> Bool[np.ndarray, "time rows columns"]:
    """What a reader sees of a grid: all of it, its beginning, some layers; and of these sometimes a part. seats: (row,
    column) of what there is to be seen."""
    layers = np.full(shape.time, True) if rng.random() < WHOLE else _some_layers(rng, shape.time)
    shown = np.broadcast_to(layers[:, None, None], shape.sizes)
    if rng.random() >= OF_PARTS:
        return shown
    at_a_thing = len(seats) and rng.random() < AT_A_THING
    corner = rng.normal(seats[rng.integers(len(seats))], ASIDE) if at_a_thing else None
    return shown & (_tube(rng, shape, corner) ^ (rng.random() < 0.5))


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


def _tube(
    rng: np.random.Generator, shape: GridShape, corner: Float[np.ndarray, "2"] | None = None
) -> Bool[np.ndarray, "time rows columns"]:
    """A rectangle of rows and columns through all of time (Lumos-1 masks so, since a cell is easily guessed from the
    same place a moment before). corner: about the (row, column) of one of its corners."""
    tube = np.zeros(shape.sizes, dtype=bool)
    ends = np.array([rng.integers(0, size + 1, 2) for size in (shape.rows, shape.columns)])
    if corner is not None:
        ends[:, 0] = corner.round().clip(0, (shape.rows, shape.columns))
    (top, bottom), (left, right) = np.sort(ends).tolist()
    tube[:, top:bottom, left:right] = True
    return tube
