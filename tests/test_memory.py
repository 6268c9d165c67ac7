"""What is remembered of a canvas, and what is kept of weights, is what would be worked out again."""

from dataclasses import replace

import pytest
import torch

from kinetoken.data.toybox_layout import LOOKS, THINGS
from kinetoken.kept import Kept
from kinetoken.memory import Memory
from kinetoken.transformer import Transformer, TransformerConfig
from kinetoken.vocabulary import Vocabulary
from tests.conftest import noisy

CONFIG = TransformerConfig(text_codes=300, visual_codes=50, depth=2, words=12)
TIME = 4


@pytest.fixture(scope="module", params=[(), LOOKS], ids=["gist", "layout"])
def asked(request: pytest.FixtureRequest) -> tuple[Transformer, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A network, two texts, grids of which all but the last layer is known, layouts."""
    network = noisy(replace(CONFIG, looks=request.param, things=THINGS))
    text, vocabulary = torch.randint(4, 300, (2, 5)), CONFIG.vocabulary
    grid = torch.randint(vocabulary.text_end, vocabulary.size, (1, TIME, 8, 8)).repeat(2, 1, 1, 1)
    grid[:, -1, 2:] = Vocabulary.MASK
    layout = network.config.untold(2, TIME).clamp_min(0) if request.param else torch.zeros(0, 0, 0, 1, dtype=torch.long)
    return network, text, grid, layout


def _cells(
    network: Transformer, text: torch.Tensor, grid: torch.Tensor, layout: torch.Tensor, *, by: int
) -> torch.Tensor:
    """Of all layers, asked for so many at a time."""
    painted = network.painted(text, layout, *grid.shape[2:])
    memory, made = Memory(TIME), []
    for first in range(0, TIME, by):
        now = slice(first, first + by)
        assert memory.layers == first
        made.append(network.next_cells(text, grid[:, now], layout, painted.part(len(text), now), memory))
    return torch.cat(made, dim=1)


@torch.inference_mode()
def test_what_is_remembered_is_what_would_be_made_again(
    asked: tuple[Transformer, torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    at_once = _cells(*asked, by=TIME)
    for by in (1, 2):
        torch.testing.assert_close(_cells(*asked, by=by), at_once, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_layer_knows_what_comes_before_it_and_nothing_after(
    asked: tuple[Transformer, torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    network, text, grid, layout = asked
    made = _cells(network, text, grid, layout, by=1)
    for changed in range(TIME - 1):
        other = grid.clone()
        other[:, changed, :2, :2] = CONFIG.vocabulary.text_end + (other[:, changed, :2, :2] + 1) % 50
        differ = (_cells(network, text, other, layout, by=1) - made).abs().amax((0, 2, 3, 4)) > 1e-5
        assert differ.tolist() == [layer >= changed for layer in range(TIME)]


@torch.inference_mode()
def test_what_is_not_done_is_asked_about_again(
    asked: tuple[Transformer, torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """A layer with unknown cells is not remembered, so that it may be filled in several steps."""
    network, text, grid, layout = asked
    painted = network.painted(text, layout, 8, 8)
    memory, first = Memory(TIME), slice(1)
    part = painted.part(2, first)
    begun = grid[:, first].clone()
    begun[:, :, 4:] = Vocabulary.MASK
    network.next_cells(text, begun, layout, part, memory)
    assert memory.layers == 0
    again = network.next_cells(text, grid[:, first], layout, part, memory)
    fresh = network.next_cells(text, grid[:, first], layout, part, Memory(TIME))
    assert memory.layers == 1
    torch.testing.assert_close(again, fresh, atol=1e-5, rtol=1e-5)


def test_what_follows_from_weights_is_worked_out_once_for_each_of_their_values() -> None:
    weight, kept, calls = torch.nn.Parameter(torch.ones(3)), Kept(), []

    def doubled() -> torch.Tensor:
        calls.append(1)
        return 2 * weight

    with torch.inference_mode():
        assert kept.of([weight], doubled) is kept.of([weight], doubled) and len(calls) == 1
    kept.of([weight], doubled).sum().backward()  # a gradient is asked for
    assert weight.grad is not None and len(calls) == 2
    with torch.no_grad():
        weight.mul_(3)
        assert kept.of([weight], doubled).tolist() == [6, 6, 6] and len(calls) == 3
