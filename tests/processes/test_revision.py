"""Codes may be taken back (Wang et al. 2025), known places never change."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from kinetoken.grid import GridShape
from kinetoken.processes.masked import SamplingConfig, _least_likely, fill_grid
from kinetoken.tasks import text_to_video
from kinetoken.transformer import Features, Transformer, TransformerConfig
from kinetoken.vocabulary import Vocabulary
from tests.conftest import noisy

CONFIG = TransformerConfig(text_codes=300, visual_codes=50, depth=2, words=12)
SHAPE = GridShape(time=3, rows=8, columns=8)
EMPTY = text_to_video([10, 11, Vocabulary.END], SHAPE)


@pytest.fixture(scope="module")
def network() -> Transformer:
    return noisy(CONFIG)


@pytest.mark.parametrize("order", ["halton", "random", "confidence"])
def test_known_places_stay_and_all_is_filled_in_as_many_steps(network: Transformer, order: str) -> None:
    known = torch.rand(EMPTY.grid.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    grid = torch.randint(CONFIG.vocabulary.text_end, CONFIG.vocabulary.size, EMPTY.grid.shape)
    canvas = replace(EMPTY, grid=torch.where(known, grid, EMPTY.grid), grid_known=known)
    plain = [
        step.canvas.grid_known.sum() for step in fill_grid(network, canvas, 5, SamplingConfig(steps=5, order=order))
    ]
    steps = list(fill_grid(network, canvas, 5, SamplingConfig(steps=5, order=order, revision=0.5)))
    for step in steps:
        assert step.canvas.grid_known[known].all() and (step.canvas.grid[known] == grid[known]).all()
    assert [step.canvas.grid_known.sum() for step in steps] == plain
    last = steps[-1].canvas
    assert last.grid_known.all() and (last.grid >= CONFIG.vocabulary.text_end).all()
    changed = [
        (before.canvas.grid_known & (before.canvas.grid != after.canvas.grid)).any()
        for before, after in pairwise(steps)
    ]
    assert any(changed)


def test_no_revision_takes_nothing_back_and_draws_nothing(network: Transformer) -> None:
    """A share so small that it never makes one code gives the very codes of none."""
    ends = []
    for revision in (0.0, 1e-6):
        *_, last = fill_grid(network, EMPTY, 3, SamplingConfig(steps=6, revision=revision))
        ends.append(last.canvas.grid)
    assert (ends[0] == ends[1]).all()


def test_one_seed_one_clip(network: Transformer) -> None:
    config = SamplingConfig(steps=6, revision=0.2)
    first, again, other = ([*fill_grid(network, EMPTY, seed, config)][-1].canvas.grid for seed in (7, 7, 8))
    assert (first == again).all() and (first != other).any()


class Oracle(Transformer):
    """A network whose answer is known: code 7 everywhere. It is sure of it once a third of the grid is filled; before
    that it knows nothing."""

    def forward(  # type: ignore[override]
        self, text: torch.Tensor, grid: torch.Tensor, layout: torch.Tensor, asked: torch.Tensor, **_: object
    ) -> Features:
        known = (grid != Vocabulary.MASK).flatten(1).float().mean(1) > 1 / 3
        cells = known[:, None, None, None, None].expand(*grid.shape, 1).float()
        return Features(torch.empty(1, 0, 1), torch.empty(1, grid.shape[1], 0, 1), cells[asked])

    def grid_logits(self, cells: torch.Tensor, first: torch.Tensor | None = None) -> torch.Tensor:
        logits = torch.zeros(len(cells), CONFIG.visual_codes)
        logits[:, 7] = 20 * cells[:, 0]
        return logits


def _mistakes(revision: float) -> int:
    config = SamplingConfig(steps=12, guidance=1.0, revision=revision, exponent=2.0, order="halton")
    *_, last = fill_grid(Oracle(CONFIG), EMPTY, 0, config)
    return int((last.canvas.grid != 7 + CONFIG.vocabulary.text_end).sum())


def test_early_mistakes_are_repaired() -> None:
    plain = _mistakes(0.0)
    assert plain > SHAPE.cells / 4  # chosen before anything could be known
    assert _mistakes(0.05) < plain
    assert _mistakes(0.2) < plain / 20


def test_unlikely_codes_go_first_and_only_where_they_may() -> None:
    likelihood = torch.tensor([0.5, 0.25, 0.125, 0.125]).log().reshape(1, 1, 2, 2)
    noise = torch.Generator().manual_seed(0)
    places = torch.tensor([True, True, True, False]).reshape(1, 1, 2, 2)
    drawn = torch.stack([_least_likely(likelihood, places, 1, noise) for _ in range(1500)]).float().mean(0).flatten()
    wanted = torch.tensor([2.0, 4.0, 8.0, 0.0]) / 14  # odds of one over the likelihood
    assert (drawn - wanted).abs().max() < 0.05
    assert _least_likely(likelihood, places, 3, noise).flatten().tolist() == [True, True, True, False]


@pytest.mark.parametrize("revision", [-0.1, 1.5, float("nan")])
def test_impossible_shares_are_refused(revision: float) -> None:
    with pytest.raises(ValueError, match="revision"):
        SamplingConfig(revision=revision)
