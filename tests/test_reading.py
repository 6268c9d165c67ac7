"""Reading: what is where, found in a grid."""

from math import pi

import torch
from hypothesis import given
from hypothesis import strategies as st

from kinetoken.data.toybox_layout import LOOKS, THINGS
from kinetoken.layout import HIDDEN, PLACES, X, digits, from_the_left
from kinetoken.processes.masking import CanvasBatch, MaskingConfig, training_canvas
from kinetoken.reading import GridOnThings, _moved
from kinetoken.things import FINE_WAVES, waves
from kinetoken.transformer import TransformerConfig
from kinetoken.vocabulary import Vocabulary
from tests.conftest import noisy

CONFIG = TransformerConfig(text_codes=300, visual_codes=50, depth=2, words=12, looks=LOOKS, things=THINGS)
ROW = torch.tensor([[10, 11, 12, Vocabulary.END]])
LOW, HIGH = CONFIG.vocabulary.text_end, CONFIG.vocabulary.size


def _told(places: list[list[int]]) -> torch.Tensor:
    """One canvas, a layer for each list; of each thing its x, or 0 for one that is not there."""
    told = torch.zeros(1, len(places), len(places[0]), len(digits(LOOKS)), dtype=torch.int64)
    told[..., X] = torch.tensor(places)
    told[..., 0] = (told[..., X] > 0) * 16
    return told


@given(st.permutations(range(3)), st.lists(st.integers(1, PLACES - 1), min_size=3, max_size=3, unique=True))
def test_things_from_the_left_are_the_same_in_whatever_order_they_came(order: list[int], places: list[int]) -> None:
    first, second = [7, *places], [7, *places[::-1]]  # the view, and three things that change places
    told = _told([first, second])
    shuffled = told[:, :, [0, *(1 + place for place in order)]]
    ordered = from_the_left(shuffled)
    assert (ordered == from_the_left(told)).all()
    assert ordered[0, 0, :, X].tolist() == [7, *sorted(places)]
    assert ordered[0, 1].sort(dim=0).values.equal(told[0, 1].sort(dim=0).values)


def test_what_comes_later_stands_where_it_comes_and_what_never_comes_last() -> None:
    told = _told([[0, 0, 0, 50], [0, 0, 20, 90]])
    assert from_the_left(told)[0, :, :, X].tolist() == [[0, 0, 50, 0], [0, 20, 90, 0]]


def test_training_has_things_from_the_left_if_nobody_named_or_placed_them() -> None:
    """Else they stand as they were told: it is their words' order."""
    told = _told([[9, 80, 40, 0]] * 3).expand(300, -1, -1, -1)
    grid = torch.randint(LOW, HIGH, (300, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    captioning = torch.zeros(300, dtype=torch.bool)
    batch = CanvasBatch(ROW.expand(300, -1), grid, torch.arange(300), captioning, told)
    canvas = training_canvas(batch, MaskingConfig())
    unnamed = ~canvas.text_known.any(1) & ~canvas.layout_known[:, :, 1:].any((1, 2))
    assert 0.1 < unnamed.float().mean() < 0.4
    assert (canvas.layout[unnamed][..., 1, X] == 40).all() and (canvas.layout[~unnamed][..., 1, X] == 80).all()


def test_a_vote_says_the_same_from_wherever_it_is_cast() -> None:
    places = torch.tensor([[0.5, 3.5], [6.5, 1.5]])
    meant = torch.tensor([2.25, 2.75])
    votes = waves(meant - places, FINE_WAVES).flatten(-2)
    moved = _moved(votes[None, None], places)[0, 0]
    torch.testing.assert_close(moved, waves(meant, FINE_WAVES).flatten().expand(2, -1), atol=1e-4, rtol=0)


def test_only_things_of_which_nothing_is_told_are_shown_the_cells() -> None:
    """Of two canvases in one batch, the one that is all told is as it is alone, and does not ask."""
    network = noisy(CONFIG)
    grid = torch.randint(LOW, HIGH, (2, 2, 8, 8), generator=torch.Generator().manual_seed(1))
    told = _told([[9, 80, 40, 0]] * 2)
    both = torch.cat((told, torch.full_like(told, HIDDEN)))
    asked: list[int] = []
    network.grid_on_things.register_forward_hook(lambda module, given, shown: asked.append(len(shown)))
    with torch.inference_mode():
        together = network(ROW.expand(2, -1), grid, both).things
        alone = network(ROW, grid[:1], told).things
        without = network(ROW, grid[:, :, :0, :0][:1], both[1:]).things
    assert asked == [1]
    torch.testing.assert_close(together[:1], alone, atol=1e-4, rtol=1e-4)
    assert without.isfinite().all()


def test_where_something_lies_is_learned_to_be_read() -> None:
    """One bright cell on dark ground, anywhere on grids never seen before: its place, to a quarter of a cell."""
    torch.manual_seed(0)
    reading, out = GridOnThings(1, 32, (32, 64)), torch.nn.Linear(32, 4)
    parameters = [*reading.parameters(), *out.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=4e-3)
    bright, wave = torch.randn(32), 16.0

    def read(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(sine and cosine of x and y as they are read, and as they are)."""
        places = torch.randint(8, (count, 2))
        cells = 0.1 * torch.randn(count, 1, 8, 8, 32)
        cells[torch.arange(count), 0, places[:, 1], places[:, 0]] += bright
        shown = out(reading(torch.zeros(count, 1, 1, 32), (cells, torch.zeros(count, 1, 4, 4, 64))))[:, 0, 0]
        turns = (places + 0.5) * (2 * pi / wave)
        return shown.unflatten(-1, (2, 2)), torch.stack((turns.sin(), turns.cos()), dim=-1)

    for step in range(200):
        found, true = read(32)
        (found - true).square().mean().backward()
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 - step / 200)
        optimizer.step()
        optimizer.zero_grad()
    with torch.inference_mode():
        found, true = (torch.atan2(*each.unbind(-1)) * wave / (2 * pi) for each in read(200))
    assert (found - true).abs().amax(-1).median() < 0.25
