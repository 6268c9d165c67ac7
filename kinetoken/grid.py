"""GridShape: how many cells a clip has, and where they are. The causal rule of time is written here, nowhere else."""

from dataclasses import dataclass
from math import ceil

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True, kw_only=True)
class CellSize:
    """The block of pixels that one cell stands for: frames x height x width. square: the side, in cells, of what must
    not be cut: a grid has whole squares, and what is known of it is known by whole squares."""

    frames: int = 4
    height: int = 4
    width: int = 4
    square: int = 1

    def __post_init__(self) -> None:
        if min(self.frames, self.height, self.width, self.square) < 1:
            raise ValueError(f"a cell must be at least 1 x 1 x 1 pixels, found {self}")

    @property
    def pixels(self) -> int:
        return self.frames * self.height * self.width


@dataclass(frozen=True, kw_only=True)
class GridShape:
    """A grid of time x rows x columns cells."""

    time: int
    rows: int
    columns: int

    @classmethod
    def of_clip(cls, frames: int, height: int, width: int, cell: CellSize, *, loop: bool = False) -> "GridShape":
        """The smallest grid that covers a clip. Time is causal: the first frame has cells of its own, so that an image
        is a clip of one frame, and every further `cell.frames` frames share a layer: 1 + (frames - 1) / cell.frames.

        loop: time is a circle, on which no frame is the first: frames / cell.frames layers.
        """
        if min(frames, height, width) < 1:
            raise ValueError(
                f"a clip has at least 1 frame of 1 x 1 pixels, found {frames} frames of {width} x {height}"
            )
        return cls(
            time=ceil(frames / cell.frames) if loop else 1 + ceil((frames - 1) / cell.frames),
            rows=ceil(height / (cell.height * cell.square)) * cell.square,
            columns=ceil(width / (cell.width * cell.square)) * cell.square,
        )

    @property
    def cells(self) -> int:
        return self.time * self.rows * self.columns

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.time, self.rows, self.columns

    def frames(self, cell: CellSize, *, loop: bool = False) -> int:
        """How many frames the whole grid decodes to."""
        return self.time * cell.frames if loop else 1 + (self.time - 1) * cell.frames

    def rounded_up(self, patch: tuple[int, int, int]) -> "GridShape":
        """The smallest grid of whole patches (time, rows, columns) that covers this one."""
        time, rows, columns = (ceil(size / step) * step for size, step in zip(self.sizes, patch, strict=True))
        return GridShape(time=time, rows=rows, columns=columns)

    def coordinates(self) -> Int[np.ndarray, "cells 3"]:
        """(time, row, column) of every cell, in the order in which a grid is flattened."""
        return np.stack(np.unravel_index(np.arange(self.cells), self.sizes), axis=-1)


def layers_of_loop(frames: int, cell: CellSize) -> int:
    """How many layers of cells a loop of so many frames has."""
    return GridShape.of_clip(frames, 1, 1, cell, loop=True).time


def around(frames: int, turn: int) -> Int[np.ndarray, " turn"]:
    """Which frame of a loop is shown at each of the `turn` frames of a circle: some are held, or some left out, evenly
    spread; the step over the seam leaves out the fewest."""
    return stretched(frames, turn) if frames <= turn else picked(turn, frames)


def stretched(frames: int, turn: int) -> Int[np.ndarray, " turn"]:
    """Which frame of a loop is shown at each of the `turn` frames of a circle's whole layers, turn >= frames: some are
    held for one more, evenly spread."""
    return np.arange(turn) * frames // turn


def picked(frames: int, turn: int) -> Int[np.ndarray, " frames"]:
    """Which of the `turn` frames that a circle decodes to make a loop of `frames`: the inverse of `stretched`.

    The frames left out are evenly spread, and never lie between the last and the first: picked[i] is i * turn / frames
    rounded up, so that the step over the seam is the shortest of all. None is blended: a blend is no frame of the clip.
    """
    return -(-np.arange(frames) * turn // frames)
