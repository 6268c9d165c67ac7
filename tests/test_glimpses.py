"""Glimpses: what is to be seen of a layer of which only a part is known."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinetoken.data.toybox_layout import LOOKS, THINGS
from kinetoken.glimpses import BOUND, ERRS, Glimpses
from kinetoken.grid import GridShape
from kinetoken.layout import EIGHTHS, HIDDEN, MARGIN, SIZE, WAY, X, Y, digits, reached
from kinetoken.processes.planning import with_layout
from kinetoken.reading import BESIDE, UNLIKELY, Read, Reader
from kinetoken.tasks import text_to_video
from kinetoken.transformer import TransformerConfig
from kinetoken.vocabulary import Vocabulary
from tests.conftest import noisy

RADICES = digits(LOOKS)
CONFIG = TransformerConfig(text_codes=300, visual_codes=50, depth=2, words=12, looks=LOOKS, things=THINGS)
ROW = [10, 11, 12, Vocabulary.END]


def _thing(column: float, row: float, *, size: int = 16, shape: int = 1) -> torch.Tensor:
    """Its centre so many cells from the grid's corner."""
    x, y = (round(MARGIN + EIGHTHS * cells - 0.5) for cells in (column, row))
    return torch.tensor((16, shape, 0, 0, x, y, size, 0, WAY, WAY, 0))


def _glimpses(*things: tuple[float, torch.Tensor]) -> Glimpses:
    """Cells that are sure of what they see, and so likely to see it."""
    likely, seen = torch.tensor([of for of, _ in things]), torch.stack([thing for _, thing in things])
    said = [torch.full((len(things), radix), -30.0) for radix in RADICES]
    for of, digit in zip(said, seen.T, strict=True):
        of[torch.arange(len(things)), digit] = 0.0
    return Glimpses(likely, (seen[:, X:SIZE] - MARGIN) / EIGHTHS, said)


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=6), st.integers(0, len(RADICES) - 1))
def test_what_is_believed_of_a_digit_is_a_distribution(likely: list[float], place: int) -> None:
    glimpses = _glimpses(*((of, _thing(3.0 * number, 2)) for number, of in enumerate(likely)))
    believed = glimpses.beliefs(_thing(0, 2), place).exp()
    assert believed.shape == (RADICES[place],) and float(believed.sum()) == pytest.approx(1, abs=1e-4)


def test_digits_that_are_chosen_tell_which_cell_is_right() -> None:
    """Of two places, x says which, and y follows; a shape that only one cell sees says it before that."""
    glimpses = _glimpses((0.6, left := _thing(3, 2, shape=1)), (0.3, right := _thing(9, 7, shape=2)))
    x = glimpses.beliefs(left, 1).exp()
    assert x[1] / x[2] == pytest.approx(2, rel=0.05)
    for thing in (left, right):
        for place in (len(RADICES) + X, len(RADICES) + Y):
            believed = glimpses.beliefs(thing, place).exp()
            assert believed[thing[place]] == pytest.approx(1 - ERRS, abs=0.01)


def test_how_likely_it_is_that_something_is_there() -> None:
    thing = _thing(3, 2)
    for likely, expected in ((0.5, 0.5), (1e-4, BOUND), (1 - 1e-6, 1 - BOUND)):
        assert _glimpses((likely, thing)).beliefs(thing, 0)[0].exp() == pytest.approx(1 - expected, abs=1e-3)
    both = _glimpses((0.5, thing), (0.5, _thing(9, 2)))
    assert both.beliefs(thing, 0)[0].exp() == pytest.approx(0.25, abs=1e-3)


def test_cells_that_speak_of_a_thing_that_is_there_are_not_asked_again() -> None:
    one, other = _thing(3, 2), _thing(9, 7)
    glimpses = _glimpses((0.9, one), (0.4, _thing(4, 2)), (0.5, other))
    absent = torch.zeros_like(one)
    left = glimpses.without(torch.stack((one, absent, torch.full_like(one, HIDDEN))))
    torch.testing.assert_close(left.middles, torch.tensor([[9.0, 7.0]]), atol=0.1, rtol=0)
    nothing = left.without(other[None])
    assert not len(nothing.likely) and float(nothing.beliefs(other, 4).std()) == pytest.approx(0, abs=1e-6)
    assert float(nothing.beliefs(other, 0)[0].exp()) == pytest.approx(1 - BOUND)


def test_cells_that_a_thing_reaches() -> None:
    cells = reached(torch.stack((_thing(4, 3, size=8), _thing(4, 3, size=8) * 0)), 8, 10)
    assert cells.shape == (2, 8, 10) and not cells[1].any()
    assert cells[0, 2:4, 3:5].all() and not cells[0, :, 6:].any() and not cells[0, 5:].any()
    outside = reached(_thing(-1.5, 3, size=16), 8, 10)
    assert outside[2:4, 0].all() and not outside[:, 1:].any()


def test_a_reader_tells_places_from_the_corner_of_the_grid() -> None:
    """Of a layer that is known in part: every cell that is likely enough, and the places of what `read` says it is."""
    torch.manual_seed(0)
    reader = noisy_reader()
    codes = torch.randint(50, (2, 8, 8))
    codes[0, :4] = HIDDEN
    read = reader.read(codes)
    assert list(read.glimpses) == [0]
    glimpses = read.glimpses[0]
    assert (glimpses.likely > UNLIKELY).all() and len(glimpses.likely) > 8
    for axis in range(2):
        said = glimpses.said[X + axis].exp()
        corner = (glimpses.middles[:, axis] - 0.5) * EIGHTHS + MARGIN - BESIDE
        assert all((said[cell, : int(start)] < 1e-9).all() for cell, start in enumerate(corner.tolist()))
        assert (said.sum(1) < 1.001).all()


def noisy_reader() -> Reader:
    reader = Reader(LOOKS, THINGS, 1, torch.zeros(50, 0, dtype=torch.int64))
    for weight in reader.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.2)
    return reader.eval()


def test_what_is_half_hidden_is_written_where_it_is_glimpsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not known for certain, for it reaches into what is hidden; a thing that does not is left as it is read."""
    network = noisy(CONFIG)
    low, high = CONFIG.vocabulary.text_end, CONFIG.vocabulary.size
    canvas = text_to_video(ROW, GridShape(time=1, rows=12, columns=12)).untold()
    known = torch.ones_like(canvas.grid_known)
    known[:, :, :4] = False
    grid = torch.randint(low, high, canvas.grid.shape).where(known, canvas.grid)
    canvas = replace(canvas, grid=grid, grid_known=known)
    sure, half = _thing(3, 8, size=8), _thing(9, 4.5, size=16, shape=4)
    layout = torch.stack((_thing(6, 6, size=40), sure, half, torch.zeros_like(sure)))[None]
    layout[0, 3] = HIDDEN
    glimpses = {0: _glimpses((0.99, sure), (0.97, half))}
    undecided = network.things_out.logits
    monkeypatch.setattr(network.things_out, "logits", lambda *told: 0 * undecided(*told))
    monkeypatch.setattr(network.reader, "read", lambda codes, loop: Read(layout, [[]] * THINGS, glimpses))
    written = with_layout(network, canvas, torch.Generator().manual_seed(0), 0.1)
    assert written.layout_known.all()
    assert (written.layout[0, 0, :2] == layout[0, :2]).all()
    assert (written.layout[0, 0, 2, X:SIZE] - half[X:SIZE]).abs().max() <= 1


def test_without_a_mask_nothing_is_glimpsed() -> None:
    network = noisy(CONFIG)
    codes = torch.randint(50, (2, 8, 8))
    assert not network.reader.read(codes).glimpses
    codes[1] = HIDDEN
    assert not network.reader.read(codes).glimpses
