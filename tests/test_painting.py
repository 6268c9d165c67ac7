"""Painting: what cells are told of things."""

from dataclasses import replace
from math import pi

import numpy as np
import torch

from kinetoken.data.toybox import sample_scene
from kinetoken.data.toybox_layout import LOOKS, THINGS, layout
from kinetoken.grid import CellSize
from kinetoken.layout import ANGLES, EIGHTHS, HIDDEN, MARGIN, WAY, digits
from kinetoken.painting import NOT_DRAWN, Painted, SquareColours, ThingsOnGrid, _on_the_thing, _poses
from kinetoken.processes.masked import MaskedObjective
from kinetoken.processes.masking import CanvasBatch, MaskingConfig
from kinetoken.transformer import Transformer, TransformerConfig
from kinetoken.vocabulary import Vocabulary
from tests.conftest import drawn_in_cells

TURNED = ANGLES // 4


def _layouts(count: int) -> torch.Tensor:
    told = [layout(sample_scene(seed), CellSize(), frames=9, width=32, height=32) for seed in range(count)]
    return torch.from_numpy(np.stack(told))


def _thing(*, x: int, y: int, size: int = EIGHTHS, angle: int = 0) -> list[int]:
    """x, y: eighths of a cell from the grid's corner."""
    return [16, 0, 0, 0, MARGIN + x, MARGIN + y, size, angle, WAY, WAY, 0]


def _one(things: list[list[int]]) -> torch.Tensor:
    """A canvas with a thing in the slot after the view's, in every layer one of these."""
    told = torch.zeros(1, len(things), 2, len(digits(LOOKS)), dtype=torch.int64)
    told[0, :, 1] = torch.tensor(things)
    return told


def _painter() -> ThingsOnGrid:
    """Whose every weight matters."""
    torch.manual_seed(0)
    paint = ThingsOnGrid(LOOKS, THINGS, 16, 24, colours=8).requires_grad_(False)
    for parameter in paint.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return paint


def test_painting_knows_no_absent_things() -> None:
    paint, layouts = _painter(), _layouts(8)
    nothing = layouts[..., :1] == 0
    assert nothing.any() and not nothing.all()
    hidden, whole = paint(layouts.masked_fill(nothing, HIDDEN), 8, 8), paint(layouts, 8, 8)
    for part, same in ((hidden.told, whole.told), (drawn_in_cells(hidden), drawn_in_cells(whole))):
        torch.testing.assert_close(part, same, atol=1e-4, rtol=1e-4)
        assert (same[nothing.all(2).squeeze(-1)] == 0).all()


def test_which_is_over_which_can_be_told() -> None:
    """For things are painted in order."""
    paint = _painter()
    told = torch.cat((_one([_thing(x=16, y=16)]), torch.zeros(1, 1, 1, len(digits(LOOKS)), dtype=torch.int64)), dim=2)
    first, second = paint(told, 8, 8), paint(told[:, :, [0, 2, 1]], 8, 8)
    assert not torch.allclose(drawn_in_cells(first), drawn_in_cells(second))


def test_painting_moves_with_the_thing() -> None:
    paint = _painter()
    here, there = (_one([_thing(x=place, y=place)]) for place in (3 * EIGHTHS, 5 * EIGHTHS))
    one, other = paint(here, 8, 8), paint(there, 8, 8)
    for cells, moved in ((one.told, other.told), (drawn_in_cells(one), drawn_in_cells(other))):
        torch.testing.assert_close(cells[:, :, :6, :6], moved[:, :, 2:, 2:], atol=1e-4, rtol=1e-4)


def test_what_is_drawn_is_near_to_where_the_thing_is_or_was() -> None:
    paint, told = _painter(), _one([_thing(x=16, y=16), _thing(x=96, y=96)])  # cells (2, 2), then (12, 12)
    drawn = (drawn_in_cells(paint(told, 16, 16))[0] != 0).any(-1)
    first, second = torch.zeros(2, 16, 16, dtype=torch.bool)
    first[1:3, 1:3] = second[11:13, 11:13] = True
    for layer, within in ((0, first), (1, first | second)):
        assert (drawn[layer] & within).sum() == within.sum()
    assert not drawn[0, 5:].any() and not drawn[1, :, 5:10].any() and not drawn[1, 5:9].any()


def test_a_ground_is_told_to_every_cell_and_drawn_for_none() -> None:
    paint = _painter()

    def painted(look: int) -> Painted:
        told = _one([[0] * len(digits(LOOKS))])
        told[0, 0, 0] = torch.tensor(_thing(x=8 * 8, y=8 * 8, size=4 * EIGHTHS))
        told[0, 0, 0, 1] = look
        return paint(told, 16, 16)

    bare, floor = painted(6), painted(8)
    assert (bare.told != floor.told).any(-1).all()
    assert not len(bare.drawn) and (bare.row == NOT_DRAWN).all()


def test_a_cell_knows_where_on_a_thing_it_lies() -> None:
    """Of a thing that has turned by a quarter, what lies above its centre lies on its right."""
    above = _on_the_thing(torch.zeros(1), torch.tensor([-3.0]), torch.tensor([2.0]), torch.tensor([pi / 2]))
    points = above.unflatten(-1, (4, 2))
    torch.testing.assert_close(points.mean(1).flatten(), torch.tensor([1.5, 0.0]), atol=1e-6, rtol=0)
    spread = points - points.mean(1, keepdim=True)
    assert spread.abs().allclose(torch.full((4, 2), 0.125))  # a quarter of a cell, of two


def test_a_thing_is_seen_as_it_is_as_it_was_half_way_and_before() -> None:
    """One without a past, or that was not there, is seen as it is."""
    before = torch.tensor([_thing(x=0, y=8, size=16)])
    now = torch.tensor([_thing(x=16, y=8, size=8, angle=TURNED)])
    now[:, [-3, -1]] = torch.tensor([WAY - 12, ANGLES - TURNED])  # half-way 12 eighths behind, not yet turned
    poses = _poses(now, before)
    x = (torch.tensor([16.0, 4.0, 0.0]) + 0.5) / EIGHTHS
    torch.testing.assert_close(poses.seats[0], torch.stack((x, torch.full((3,), 8.5 / EIGHTHS)), dim=1))
    assert poses.radii.tolist() == [[1.0, 1.5, 2.0]]
    torch.testing.assert_close((poses.angles.cos() + 1).round(decimals=4), torch.tensor([[1.0, 2.0, 2.0]]))
    for absent in (0, HIDDEN):
        alone = _poses(now, torch.full_like(before, absent))
        assert (alone.seats[:, 2] == alone.seats[:, 0]).all() and (alone.radii == 1).all()


def test_a_cell_is_told_the_colours_of_its_square_once_both_digits_are_known() -> None:
    """Of its upper cells the first, of its lower ones the second; what other squares have does not count."""
    torch.manual_seed(0)
    tell, digits = SquareColours(8, 12), torch.full((1, 1, 4, 4), HIDDEN)
    torch.nn.init.normal_(tell.leave.weight)
    here = torch.tensor([2, 3, 6, 7])  # the upper right square
    nothing = tell(digits, here)
    for places in ([(0, 2)], [(0, 1), (0, 2)], [(2, 2), (2, 3), (0, 0), (0, 1)], [(0, 2), (1, 2)]):
        some = digits.clone()
        for row, column in places:
            some[0, 0, row, column] = 5
        assert tell(some, here).equal(nothing)
    first, second = digits.clone(), digits.clone()
    first[0, 0, 0, 2:], second[0, 0, 1, 2:] = torch.tensor([3, 5]), torch.tensor([3, 5])
    told = tell(first, here)
    assert (told != nothing).any(1).all() and not torch.allclose(told, tell(second, here))
    first[0, 0, 0, 2:] = torch.tensor([5, 3])
    assert not torch.allclose(tell(first, here), told)
    assert (nothing[0] != nothing[3]).any()  # upper and lower cells are told of where they are


def test_what_is_drawn_reaches_the_logits_of_its_cells_alone() -> None:
    """A drawing is for the head; the network need not carry it there."""
    config = TransformerConfig(text_codes=300, visual_codes=50, depth=1, words=8, looks=LOOKS, things=THINGS)
    network = Transformer(config).eval()
    told = torch.zeros(1, 1, THINGS, len(digits(LOOKS)), dtype=torch.int64)
    told[0, 0, 1] = torch.tensor(_thing(x=16, y=16))
    text, grid = torch.full((1, 4), 5), torch.full((1, 1, 8, 8), config.vocabulary.text_end)
    with torch.no_grad():
        before = network(text, grid, told).cells
        network.things_on_grid.draw.weight.fill_(1.0)
        changed = (network(text, grid, told).cells != before).any(-1)[0, 0]
    assert changed[1:3, 1:3].all() and not changed[:, 5:].any() and not changed[5:].any()


def test_what_is_painted_once_serves_every_step() -> None:
    """A sampler asks for it before its first step, of all layers, and then leaves out those that are not begun."""
    config = TransformerConfig(text_codes=300, visual_codes=1944, levels=(8, 3, 3, 3, 3, 3), depth=1, words=8)
    config = replace(config, squares=True, looks=LOOKS, things=THINGS)
    torch.manual_seed(0)
    network = Transformer(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    text, told = torch.randint(4, 300, (2, 6)), _layouts(2)
    grid = torch.randint(config.vocabulary.text_end, config.vocabulary.size, (2, 3, 8, 8))
    grid[:, :, 2:4] = Vocabulary.MASK
    painted = network.painted(text, told, 8, 8)
    assert (painted.row != NOT_DRAWN).any()
    for canvases, layers in ((2, 3), (1, 2)):
        few = text[:canvases], grid[:canvases, :layers], told[:canvases, :layers]
        for part, same in zip(network(*few, painted=painted.part(canvases, slice(layers))), network(*few), strict=True):
            torch.testing.assert_close(part, same, atol=1e-5, rtol=1e-5)


def test_things_are_learned_in_bfloat16() -> None:
    """Where a processor multiplies faster in it, products are in bfloat16 and weights are not: the two must meet."""
    config = TransformerConfig(text_codes=300, visual_codes=1944, levels=(8, 3, 3, 3, 3, 3), depth=1, words=8)
    network = Transformer(replace(config, squares=True, looks=LOOKS, things=THINGS))
    vocabulary, layouts = config.vocabulary, _layouts(2)
    batch = CanvasBatch(
        text=torch.randint(4, 300, (2, 6)),
        grid=torch.randint(vocabulary.text_end, vocabulary.size, (2, 3, 8, 8)),
        seeds=torch.arange(2),
        captioning=torch.zeros(2, dtype=torch.bool),
        layout=layouts,
    )
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = MaskedObjective(network, MaskingConfig())(batch)
    loss.backward()
    assert loss.isfinite() and network.things_on_grid.colours.leave.weight.grad.isfinite().all()
