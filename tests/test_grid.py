import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetoken.grid import CellSize, GridShape

sides = st.integers(1, 300)


@pytest.mark.parametrize(("frames", "time"), [(1, 1), (2, 2), (5, 2), (6, 3), (17, 5), (33, 9)])
def test_the_first_frame_stands_alone(frames: int, time: int) -> None:
    assert GridShape.of_clip(frames, 64, 64, CellSize()).time == time


@given(frames=sides, height=sides, width=sides)
def test_a_grid_covers_its_clip_and_no_more_than_one_cell_beyond(frames: int, height: int, width: int) -> None:
    cell = CellSize(frames=4, height=4, width=8)
    grid = GridShape.of_clip(frames, height, width, cell)
    assert 0 <= grid.frames(cell) - frames < cell.frames
    assert 0 <= grid.rows * cell.height - height < cell.height
    assert 0 <= grid.columns * cell.width - width < cell.width


@given(height=st.integers(1, 60), width=st.integers(1, 60))
def test_a_grid_has_whole_squares(height: int, width: int) -> None:
    shape = GridShape.of_clip(1, height, width, CellSize(square=2))
    assert shape.rows % 2 == shape.columns % 2 == 0
    assert 0 <= 4 * shape.rows - height < 8 and 0 <= 4 * shape.columns - width < 8


def test_coordinates_are_in_flattening_order() -> None:
    shape = GridShape(time=2, rows=3, columns=4)
    flat = np.arange(shape.cells).reshape(shape.sizes)
    assert [flat[tuple(place)] for place in shape.coordinates()] == list(range(shape.cells))


def test_nothing_has_no_grid() -> None:
    with pytest.raises(ValueError, match="at least 1 frame"):
        GridShape.of_clip(0, 64, 64, CellSize())
