"""Telling: how what is in a layout is put into words."""

import torch
import torch.nn.functional as F

from kinetoken.data.toybox_layout import LOOKS, THINGS
from kinetoken.layer import rotation_by
from kinetoken.layout import HIDDEN, MARGIN, WAY, X, Y, digits
from kinetoken.telling import Telling
from kinetoken.transformer import Transformer, TransformerConfig
from kinetoken.vocabulary import Vocabulary
from tests.conftest import noisy

CONFIG = TransformerConfig(text_codes=300, visual_codes=50, depth=2, words=12, looks=LOOKS, things=THINGS)
LOW, HIGH = CONFIG.vocabulary.text_end, CONFIG.vocabulary.size


def _moving(shapes: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Layouts of two things of these shapes, each of which moves right by so many eighths in every layer."""
    layout = torch.zeros(len(shapes), 3, THINGS, len(digits(LOOKS)), dtype=torch.int64)
    layout[:, :, 1:3] = torch.tensor((16, 0, 0, 0, MARGIN + 40, MARGIN + 40, 8, 0, WAY, WAY, 0))
    layout[:, :, 1:3, 1] = shapes[:, None]
    layout[:, :, 1:3, X] += steps[:, None] * torch.arange(3)[:, None]
    layout[:, :, 2, Y] += 30
    return layout


def test_what_moves_is_told_of_the_thing_that_was_named() -> None:
    """Of two things, whichever is named: how it moves, and not how the other does. For pairs never seen before."""
    torch.manual_seed(0)
    width, rotation = 64, rotation_by(torch.zeros(1, 16))
    telling = Telling(LOOKS, THINGS, width, 32, 128)
    names, out = torch.nn.Embedding(7, width), torch.nn.Linear(width, 3)
    parameters = [*telling.parameters(), *names.parameters(), *out.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    every = torch.cartesian_prod(*[torch.arange(6)] * 2, *[torch.arange(3)] * 2, torch.arange(2))
    every = every[every[:, 0] != every[:, 1]][torch.randperm(540)]

    def told(scenes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(logits of how the named thing moves, how it does)."""
        layout = _moving(scenes[:, :2], 10 * (scenes[:, 2:4] - 1))
        which = scenes[:, 4:]
        words = names(scenes[:, :2].gather(1, which))
        more = telling(words, layout, rotation)
        return out(words + more)[:, 0], scenes[:, 2:4].gather(1, which)[:, 0]

    for step in range(400):
        logits, true = told(every[:400][torch.arange(40) + step * 40 % 400])
        F.cross_entropy(logits, true).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.inference_mode():
        logits, true = told(every[400:])
    assert (
        logits.argmax(-1) == true
    ).float().mean() > 0.75  # who could not tell them apart would be right in two of three


def test_only_words_that_are_written_are_told_and_at_first_nothing() -> None:
    network = Transformer(CONFIG)
    row = torch.tensor([[10, Vocabulary.MASK, 12, Vocabulary.MASK]])
    grid = torch.randint(LOW, HIGH, (1, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    layout = _moving(torch.tensor([[1, 2]]), torch.tensor([[3, -3]]))
    with torch.inference_mode():
        words = network(row, grid, layout).words
        assert (network.told_words(words, layout) == words).all()


def test_words_are_told_of_grounds_and_without_a_layout_that_nothing_is_known() -> None:
    network = noisy(CONFIG)
    row = torch.full((1, 4), Vocabulary.MASK)
    layout = _moving(torch.tensor([[1, 2]]), torch.tensor([[3, -3]]))
    layout[:, :, 0] = torch.tensor((16, LOOKS[0] - 1, 0, 1, 128, 128, 32, 0, WAY, WAY, 0))
    other = layout.clone()
    other[:, :, 0, 2] = 3
    with torch.inference_mode():
        words = network(row, row[:, :3, None, None].expand(1, 3, 0, 0), layout).words
        told, otherwise = (network.told_words(words, things) for things in (layout, other))
        untold = network.told_words(words, layout[:, :, :0])
        hidden = network.told_words(words, torch.full_like(layout, HIDDEN))
    assert told.isfinite().all() and not torch.allclose(told, otherwise)
    torch.testing.assert_close(untold, hidden)
