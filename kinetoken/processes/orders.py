"""In which order the unknown cells of a grid are filled."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from kinetoken.grid import GridShape

Order = Literal["layers", "halton", "random", "confidence"]


def halton_ranks(shape: GridShape, rng: np.random.Generator) -> Int[np.ndarray, "time rows columns"]:
    """The rank of every cell in a 3-D Halton order: wherever the order is cut, the cells before the cut are spread
    evenly over time, rows and columns (Besnier et al. 2025 do this in 2-D for images).

    The one order of a shape is moved around the grid's torus by a random step, which keeps it evenly spread.
    """
    return np.roll(_halton_ranks(shape), [int(rng.integers(size)) for size in shape.sizes], axis=(0, 1, 2))


def layer_ranks(
    shape: GridShape, rng: np.random.Generator, layers: Sequence[int], by_squares: Sequence[int] = ()
) -> Int[np.ndarray, "time rows columns"]:
    """One layer after another, in the order of `layers`, and each in an order of Halton's. by_squares: layers in which
    one cell of every square of 2 x 2 comes before the next of any: cells that are filled together do not know of each
    other, and those of a mosaic's square must say the same two colours."""
    ranks = halton_ranks(shape, rng)
    rows, columns = np.indices(shape.sizes[1:]) % 2
    ranks[list(by_squares)] += np.array([[0, 2], [3, 1]])[rows, columns] * shape.cells
    within = ranks.reshape(shape.time, -1).argsort(1).argsort(1)
    turn = np.empty(shape.time, dtype=np.int64)
    turn[list(layers)] = np.arange(shape.time)
    return (within + turn[:, None] * within.shape[1]).reshape(shape.sizes)


def outwards(known: Bool[np.ndarray, " time"], *, loop: bool = False) -> list[int]:
    """The layers by how far they are from the nearest one of which something is known, those before a tie first; in
    order of time if nothing is known. loop: time is a circle."""
    times, anchors = np.arange(len(known)), np.flatnonzero(known)
    if not len(anchors):
        return times.tolist()
    away = np.abs(times[:, None] - anchors)
    away = np.minimum(away, len(known) - away) if loop else away
    return np.argsort(away.min(1), kind="stable").tolist()


def random_ranks(shape: GridShape, rng: np.random.Generator) -> Int[np.ndarray, "time rows columns"]:
    return rng.permutation(shape.cells).reshape(shape.sizes)


@lru_cache(maxsize=32)
def _halton_ranks(shape: GridShape) -> Int[np.ndarray, "time rows columns"]:
    """Walk the Halton sequence and note when each cell is first met. The last cells would take very long to meet: after
    16 points per cell they follow in the order of their flat index's own sequence."""
    points = 16 * shape.cells
    met = np.zeros(points, dtype=np.int64)
    for size, base in zip(shape.sizes, (5, 2, 3), strict=True):  # the shortest axis gets the coarsest base
        met = met * size + np.minimum((van_der_corput(points, base) * size).astype(np.int64), size - 1)
    cells, first = np.unique(met, return_index=True)
    ranks = np.full(shape.cells, points)
    ranks[cells] = first
    order = np.lexsort((van_der_corput(shape.cells, 2), ranks))
    ranks[order] = np.arange(shape.cells)
    return ranks.reshape(shape.sizes)


def van_der_corput(count: int, base: int) -> np.ndarray:
    """The first `count` numbers of the sequence in [0, 1): the digits of 0, 1, 2, ... mirrored at the point."""
    index, value, scale = np.arange(count), np.zeros(count), 1.0
    while index.any():
        scale /= base
        value += scale * (index % base)
        index = index // base
    return value
