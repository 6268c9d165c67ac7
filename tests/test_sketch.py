import torch

from kinetoken.canvas import Canvas
from kinetoken.processes.masked import MaskedObjective, SamplingConfig, fill_grid
from kinetoken.processes.masking import CanvasBatch, MaskingConfig
from kinetoken.sketch import Sketch, tuned
from kinetoken.training.optimizer import Optimizer
from kinetoken.transformer import Transformer, TransformerConfig
from kinetoken.vocabulary import Vocabulary
from tests.conftest import drawn_in_cells


def _awake() -> Sketch:
    torch.manual_seed(0)
    sketch = Sketch(32, 16, 24)
    for layer in (sketch.tell, sketch.draw):  # they start at zero
        torch.nn.init.normal_(layer.weight)
    return sketch


def test_a_larger_picture_shows_the_same_larger() -> None:
    """The middles of a picture's cells are those of every third of one that is three times as wide and high."""
    sketch, gist = _awake(), torch.randn(2, 32)
    small, large = sketch(gist, 4, 6), sketch(gist, 12, 18)
    for one, other in ((small.told, large.told), (drawn_in_cells(small), drawn_in_cells(large))):
        torch.testing.assert_close(one, other[:, :, 1::3, 1::3], rtol=1e-4, atol=1e-4)


def test_what_is_told_differs_from_text_to_text_and_from_place_to_place() -> None:
    drawn = drawn_in_cells(_awake()(torch.randn(2, 32), 4, 4))
    assert (drawn[0] - drawn[1]).abs().mean() > 0.1
    assert drawn.flatten(1, 3).std(1).mean() > 0.1


def test_nothing_is_tuned_by_nothing() -> None:
    x = torch.randn(3, 5)
    assert torch.equal(tuned(x, None), x) and torch.equal(tuned(x, torch.zeros(3, 10)), x)
    torch.testing.assert_close(tuned(x, torch.ones(3, 10)), 2 * x + 1)


def test_pictures_are_learned_by_name() -> None:
    """Twelve names, each a picture of its own in random codes: no code can be guessed from its neighbours."""
    torch.manual_seed(0)
    network = Transformer(TransformerConfig(text_codes=300, visual_codes=50, depth=2, halvings=1, words=4))
    text = torch.randint(Vocabulary.SPECIAL, 300, (12, 4))
    pictures = torch.randint(network.config.vocabulary.text_end, network.config.vocabulary.size, (12, 1, 4, 4))
    objective = MaskedObjective(network, MaskingConfig(unconditional=0.0))
    optimizer = Optimizer(objective, learning_rate=5e-3, adam_learning_rate=2e-3, weight_decay=0.0)
    for step in range(250):
        seeds = torch.arange(12) + 12 * step
        loss, _ = objective(CanvasBatch(text, pictures, seeds, torch.zeros(12, dtype=torch.bool)))
        loss.backward()
        optimizer.step(min(1.0, (250 - step) / 100))
        optimizer.zero_gradients()
    config = SamplingConfig(steps=4, guidance=1.0, temperature=0.0)
    right = []
    for words, picture in zip(text[:, None], pictures[:, None], strict=True):
        canvas = Canvas(
            text=words,
            grid=torch.full_like(picture, Vocabulary.MASK),
            text_known=torch.ones_like(words, dtype=torch.bool),
            grid_known=torch.zeros_like(picture, dtype=torch.bool),
        )
        *_, last = fill_grid(network.eval(), canvas, 0, config)
        right.append((last.canvas.grid == picture).float().mean())
    assert torch.stack(right).mean() > 0.95
