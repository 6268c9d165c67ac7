from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetoken.grid import GridShape
from kinetoken.processes.masked import (
    FEWEST,
    MaskedObjective,
    SamplingConfig,
    _targets,
    _targets_by_layer,
    fill_grid,
    fill_text,
)
from kinetoken.processes.masking import CanvasBatch, MaskingConfig, training_canvas
from kinetoken.processes.orders import halton_ranks, layer_ranks, outwards
from kinetoken.processes.planning import sample
from kinetoken.tasks import captioning, text_to_video
from kinetoken.transformer import Transformer, TransformerConfig
from kinetoken.vocabulary import Vocabulary
from tests.conftest import noisy

CONFIG = TransformerConfig(text_codes=300, visual_codes=50, depth=2, words=12)
SHAPE = GridShape(time=3, rows=8, columns=8)
ROW = [10, 11, 12, Vocabulary.END]


@pytest.fixture(scope="module")
def network() -> Transformer:
    return noisy(CONFIG)


def _batch(count: int = 64) -> CanvasBatch:
    generator = torch.Generator().manual_seed(1)
    low, high = CONFIG.vocabulary.text_end, CONFIG.vocabulary.size
    return CanvasBatch(
        text=torch.randint(4, 300, (count, 8), generator=generator),
        grid=torch.randint(low, high, (count, *SHAPE.sizes), generator=generator),
        seeds=torch.arange(count),
        captioning=torch.arange(count) % 5 == 0,
    )


def _codes(network: Transformer, seed: int, **changes: object) -> torch.Tensor:
    *_, last = fill_grid(network, text_to_video(ROW, SHAPE), seed, SamplingConfig(steps=6, **changes))
    return last.canvas.grid


@pytest.mark.parametrize("order", ["layers", "halton", "random", "confidence"])
def test_sampling_fills_everything_and_touches_nothing_known(network: Transformer, order: str) -> None:
    empty = text_to_video(ROW, SHAPE)
    known = torch.rand(empty.grid.shape) < 0.4
    grid = torch.randint(CONFIG.vocabulary.text_end, CONFIG.vocabulary.size, empty.grid.shape)
    canvas = replace(empty, grid=torch.where(known, grid, empty.grid), grid_known=known)
    before = canvas
    for step in fill_grid(network, canvas, 5, SamplingConfig(steps=5, order=order)):
        assert (step.canvas.grid[known] == grid[known]).all()
        fresh = step.canvas.grid_known & ~before.grid_known
        assert fresh.any() and (step.canvas.grid_known >= before.grid_known).all()
        assert (step.canvas.grid[before.grid_known] == before.grid[before.grid_known]).all()
        before = step.canvas
    assert before.grid_known.all()
    assert (before.grid >= CONFIG.vocabulary.text_end).all() and (before.grid < CONFIG.vocabulary.size).all()


def test_one_seed_one_clip(network: Transformer) -> None:
    assert (_codes(network, 7) == _codes(network, 7)).all()
    assert (_codes(network, 7) != _codes(network, 8)).any()


def test_no_guidance_is_the_conditional_model_alone(network: Transformer) -> None:
    """guidance = 1 takes the unguided path; guidance barely above 1 takes the guided one. They must agree."""
    first = []
    for guidance in (1.0, 1.0 + 1e-9):
        step = next(fill_grid(network, text_to_video(ROW, SHAPE), 3, SamplingConfig(steps=2, guidance=guidance)))
        first.append(step.canvas.grid[step.canvas.grid_known])
    assert len(first[0]) > 20 and (first[0] == first[1]).all()


def test_samples_follow_the_models_distribution() -> None:
    """A network that says p everywhere must give codes with frequencies p."""
    network = Transformer(CONFIG).eval()
    torch.nn.init.zeros_(network.code_out.weight)
    wanted = torch.linspace(0, 2, 50).softmax(0)
    network.code_out.bias.data = wanted.log()
    large = GridShape(time=5, rows=32, columns=32)
    *_, last = fill_grid(network, text_to_video(ROW, large), 0, SamplingConfig(steps=3, guidance=1.0))
    found = torch.bincount(last.canvas.grid.flatten() - CONFIG.vocabulary.text_end, minlength=50) / large.cells
    assert (found - wanted).abs().max() < 0.008  # about four standard deviations


DIGITS_IN_TURN = replace(CONFIG, levels=(5, 2, 5), digit_first=True)


def _joint(network: Transformer, features: torch.Tensor) -> torch.Tensor:
    """How likely each code is, of each row of features, where its first digit is answered before the rest."""
    codes = torch.arange(CONFIG.visual_codes)
    first = network.grid_logits(features).softmax(-1)
    rest = [network.grid_logits(features, torch.full((len(features),), digit)).softmax(-1) for digit in range(5)]
    return first[:, codes % 5] * torch.stack(rest, dim=1)[:, codes % 5, codes // 5]


def test_samples_follow_the_models_distribution_digit_by_digit() -> None:
    network = noisy(DIGITS_IN_TURN)
    torch.nn.init.zeros_(network.code_enter.weight)  # all places alike
    torch.nn.init.zeros_(network.sketch.draw.weight)
    torch.nn.init.normal_(network.code_given.weight)
    (wanted,) = _joint(network, (network.code_enter.bias + network.sketch.draw.bias)[None])
    assert wanted.sum().item() == pytest.approx(1)
    given_rest = wanted.reshape(10, 5) / wanted.reshape(10, 5).sum(0)
    assert (given_rest - given_rest[:, :1]).abs().max() > 0.01, "the rest hangs on the first digit"
    large = GridShape(time=5, rows=32, columns=32)
    *_, last = fill_grid(network, text_to_video(ROW, large), 0, SamplingConfig(steps=3, guidance=1.0))
    found = torch.bincount(last.canvas.grid.flatten() - CONFIG.vocabulary.text_end, minlength=50) / large.cells
    assert (found - wanted).abs().max() < 0.008


def test_a_code_costs_what_its_digits_cost() -> None:
    network, features = noisy(DIGITS_IN_TURN), torch.randn(40, 4 * CONFIG.code_width)
    codes, shares = torch.randint(CONFIG.visual_codes, (40,)), torch.rand(40)
    found = MaskedObjective(network, MaskingConfig()).cost_of_codes(features, codes, shares)
    likelihood = _joint(network, features)[torch.arange(40), codes]
    torch.testing.assert_close(found, -(shares * likelihood.log()).sum())


@given(unknown=st.integers(1, 3000), steps=st.integers(1, 64), exponent=st.floats(1, 10))
def test_every_step_fills_something_and_the_last_fills_the_rest(unknown: int, steps: int, exponent: float) -> None:
    targets = _targets(unknown, steps, exponent)
    assert targets[-1] == unknown and len(targets) <= steps
    assert all(after > before for before, after in zip([0, *targets], targets, strict=False))


@pytest.mark.parametrize(
    ("known", "loop", "order"),
    [
        ([0, 0, 0, 0], False, [0, 1, 2, 3]),
        ([1, 0, 0, 0], False, [0, 1, 2, 3]),
        ([0, 0, 0, 1], False, [3, 2, 1, 0]),
        ([1, 0, 0, 0, 1], False, [0, 4, 1, 3, 2]),
        ([1, 0, 0, 0, 0], True, [0, 1, 4, 2, 3]),
    ],
)
def test_layers_are_made_away_from_what_is_known(known: list[int], loop: bool, order: list[int]) -> None:
    assert outwards(np.array(known, dtype=bool), loop=loop) == order


@pytest.mark.parametrize("first_layer_known", [False, True])
def test_a_layer_is_finished_before_the_next_begins(network: Transformer, first_layer_known: bool) -> None:
    canvas = text_to_video(ROW, SHAPE)
    if first_layer_known:
        canvas = replace(canvas, grid_known=torch.arange(3)[None, :, None, None].expand(canvas.grid.shape) == 0)
    steps = list(fill_grid(network, canvas, 3, SamplingConfig(steps=12, order="layers", first=2.0)))
    shares = torch.stack([step.canvas.grid_known.float().mean((0, 2, 3)) for step in steps])
    assert (shares[:, 1:] <= shares[:, :-1].floor()).all()  # nothing of a layer before all of its predecessor
    assert len(steps) == (6 if first_layer_known else 12), "three for each layer, and six for one without a past"
    assert [step.done for step in steps] == list(range(1, len(steps) + 1)) and shares[-1].min() == 1
    first_takes = 0 if first_layer_known else 6
    assert int((shares[:, 0] < 1).sum()) == max(0, first_takes - 1)


def test_a_step_costs_the_layer_that_it_fills(network: Transformer) -> None:
    """What is done is asked about once more, to be remembered; what will come is left out, and also if a layer is known
    in part, so that nothing can be remembered."""
    seen: list[int] = []

    class Watched(Transformer):
        def forward(self, text: torch.Tensor, grid: torch.Tensor, *others: torch.Tensor, **options: bool) -> object:
            seen.append(-grid.shape[1])
            return super().forward(text, grid, *others, **options)

        def next_cells(self, text: torch.Tensor, grid: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
            seen.append(grid.shape[1])
            return super().next_cells(text, grid, *others)

    sampling = SamplingConfig(steps=9, order="layers", first=1.0)
    canvas = text_to_video(ROW, SHAPE)
    list(fill_grid(Watched(CONFIG), canvas, 3, sampling))
    assert seen == [1, 1, 1, 2, 1, 1, 2, 1, 1]
    seen.clear()
    corner = torch.zeros_like(canvas.grid_known)
    corner[:, 0, :2, :2] = True
    grid = torch.where(corner, CONFIG.vocabulary.text_end, canvas.grid)
    list(fill_grid(Watched(CONFIG), replace(canvas, grid=grid, grid_known=corner), 3, sampling))
    assert seen == [-1, -1, -1, -2, -2, -2, -3, -3, -3]


def test_of_many_ids_each_is_drawn_as_often_as_is_likely() -> None:
    logits, noise = torch.randn(1944, generator=torch.Generator().manual_seed(0)) * 3, torch.Generator().manual_seed(1)
    logits[::7] = -torch.inf
    drawn = torch.bincount(sample(logits.expand(100_000, -1), noise, 0.7), minlength=1944) / 100_000
    likely = (logits / 0.7).softmax(-1)
    assert not drawn[::7].any()
    assert ((drawn - likely).abs() <= 5 * (likely / 100_000).sqrt() + 1e-5).all()


@given(
    counts=st.lists(st.integers(0, 400), min_size=1, max_size=20).filter(any),
    begun=st.booleans(),
    steps=st.integers(1, 64),
)
def test_layers_share_the_steps_and_never_take_more(counts: list[int], begun: bool, steps: int) -> None:
    targets = _targets_by_layer(counts, begun, SamplingConfig(steps=steps))
    assert targets[-1] == sum(counts) and len(targets) <= steps
    assert all(after > before for before, after in zip([0, *targets], targets, strict=False))


@given(time=st.integers(1, 9), rows=st.integers(1, 20), columns=st.integers(1, 20), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_halton_ranks_are_a_permutation(time: int, rows: int, columns: int, seed: int) -> None:
    shape = GridShape(time=time, rows=rows, columns=columns)
    ranks = halton_ranks(shape, np.random.default_rng(seed))
    assert sorted(ranks.flatten()) == list(range(shape.cells))


def test_layers_filled_by_squares_ask_one_cell_of_each_at_a_time() -> None:
    shape = GridShape(time=3, rows=6, columns=4)
    ranks = layer_ranks(shape, np.random.default_rng(0), [2, 0, 1], by_squares=[0, 1])
    assert sorted(ranks.flatten()) == list(range(shape.cells))
    assert ranks[2].max() < ranks[0].min() and ranks[0].max() < ranks[1].min()
    quarters = (ranks[:2] % 24 // 6).reshape(2, 3, 2, 2, 2).swapaxes(2, 3).reshape(-1, 4)
    assert (np.sort(quarters, axis=1) == np.arange(4)).all()


def test_halton_spreads_more_evenly_than_chance() -> None:
    shape = GridShape(time=5, rows=16, columns=16)
    rng = np.random.default_rng(0)

    def crowding(ranks: np.ndarray) -> float:
        """Variance of how many of the first 160 cells fall into each of 16 blocks."""
        return float((ranks < 160).reshape(5, 4, 4, 4, 4).sum(axis=(0, 2, 4)).var())

    chance = np.mean([crowding(rng.permutation(shape.cells).reshape(shape.sizes)) for _ in range(20)])
    assert crowding(halton_ranks(shape, rng)) < chance / 3


def test_training_hides_by_the_samples_own_seed() -> None:
    whole, masking = _batch(), MaskingConfig()
    part = CanvasBatch(*(field[1::2] for field in whole))
    canvas, half = training_canvas(whole, masking), training_canvas(part, masking)
    assert (canvas.grid_known[1::2] == half.grid_known).all() and (canvas.text_known[1::2] == half.text_known).all()


def test_training_covers_every_job() -> None:
    canvas = training_canvas(_batch(400), MaskingConfig())
    text = canvas.text_known.float().mean(1)
    grid = canvas.grid_known.flatten(1).float().mean(1)
    assert 0.05 < (text == 0).float().mean() < 0.3  # unconditional
    assert ((grid == 1) & (text < 1)).float().mean() > 0.05  # captioning
    assert ((text == 1) & (grid < 0.1)).float().mean() > 0.05  # text-to-video, at its beginning
    assert (((text < 1) | (grid < 1)).float().mean()) == 1  # always something to learn


def test_most_training_canvases_are_as_an_order_by_layers_leaves_them() -> None:
    """All of some layers is known, a part of at most one, and nothing of the rest."""
    masking = MaskingConfig()
    batch = _batch(400)._replace(captioning=torch.zeros(400, dtype=torch.bool))
    shares = training_canvas(batch, masking).grid_known.float().mean((2, 3))
    partly = ((shares > 0) & (shares < 1)).sum(1)
    assert 0.4 < ((partly <= 1) & (shares.amax(1) == 1)).float().mean() < 0.8
    assert (partly == SHAPE.time).float().mean() > 0.15  # and some have cells of all layers known


def test_shares_of_a_batch_give_the_whole_batchs_gradient(network: Transformer) -> None:
    objective, batch = MaskedObjective(network, MaskingConfig()), _batch(8)
    loss, _ = objective(batch)
    halves = [objective(CanvasBatch(*(field[i::2] for field in batch)))[0] for i in range(2)]
    torch.testing.assert_close(loss, sum(halves) / 2)


def test_every_canvas_weighs_the_same_however_much_of_it_is_hidden() -> None:
    """A network that has no idea pays log(codes) for each canvas, but for those that are all but known."""
    torch.manual_seed(0)
    clueless, batch = Transformer(CONFIG), _batch(64)
    torch.nn.init.zeros_(clueless.code_out.weight)
    masking = MaskingConfig(unconditional=0.0, text_weight=0.0)
    hidden = (~training_canvas(batch, masking).grid_known).float().mean((1, 2, 3))
    loss, _ = MaskedObjective(clueless, masking)(batch)
    expected = log(CONFIG.visual_codes) * (hidden / hidden.clamp_min(FEWEST)).mean()
    assert hidden.min() < FEWEST < hidden.max()
    torch.testing.assert_close(loss, expected.to(loss.dtype))


def test_text_is_written_to_its_end_and_no_further(network: Transformer) -> None:
    grid = torch.randint(CONFIG.vocabulary.text_end, CONFIG.vocabulary.size, SHAPE.sizes)
    *_, last = fill_text(network, captioning(grid, 12), 0, temperature=1.0)
    text = last.canvas.text[0].tolist()
    assert last.canvas.text_known.all() and Vocabulary.MASK not in text
    if Vocabulary.END in text:
        assert set(text[text.index(Vocabulary.END) + 1 :]) <= {Vocabulary.PAD}


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"temperature": -1.0}, {"guidance": float("nan")}])
def test_impossible_sampling_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        SamplingConfig(**wrong)


def test_ids_are_drawn_as_often_as_they_are_likely() -> None:
    """At any temperature; one that is impossible never, not even as the first or the last."""
    logits = torch.tensor([float("-inf"), 2.0, 0.0, float("-inf"), 1.0, float("-inf")]).repeat(40_000, 1)
    for temperature in (0.5, 1.0, 3.0):
        drawn = sample(logits, torch.Generator().manual_seed(1), temperature)
        expected = (logits[0] / temperature).softmax(-1)
        assert ((drawn.bincount(minlength=6) / 40_000 - expected).abs() < 0.01).all()
        assert drawn.bincount(minlength=6)[expected == 0].sum() == 0
    assert (sample(logits[:3], torch.Generator(), 0.0) == 1).all()
