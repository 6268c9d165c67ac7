"""Tasks: each lays out a Canvas, and differs from the others only in which places are known."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from kinetoken.canvas import Canvas
from kinetoken.grid import GridShape
from kinetoken.vocabulary import Vocabulary


def text_to_video(row: Sequence[int], shape: GridShape) -> Canvas:
    """The text is known, the grid is not. One layer of time is text-to-image."""
    text = torch.tensor([row])
    grid = torch.full((1, *shape.sizes), Vocabulary.MASK)
    return Canvas(
        text=text,
        grid=grid,
        text_known=torch.ones_like(text, dtype=torch.bool),
        grid_known=torch.zeros_like(grid, dtype=torch.bool),
    )


def continuing(empty: Canvas, past: Int[Tensor, "1 layers rows columns"]) -> Canvas:
    """The first layers are known: what came before."""
    places = torch.zeros_like(empty.grid_known)
    places[:, : past.shape[1]] = True
    return empty.with_grid(places, past.flatten())


def closing(empty: Canvas, past: Int[Tensor, "1 layers rows columns"]) -> Canvas:
    """As `continuing`, and time is a circle: what is filled leads from the last known layer to the first."""
    return replace(continuing(empty, past), loop=True)


def captioning(grid: Int[Tensor, "time rows columns"], words: int) -> Canvas:
    """The grid is known, the text is not."""
    text = torch.full((1, words), Vocabulary.MASK)
    return Canvas(
        text=text,
        grid=grid[None],
        text_known=torch.zeros_like(text, dtype=torch.bool),
        grid_known=torch.ones_like(grid[None], dtype=torch.bool),
    )
