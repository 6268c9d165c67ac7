"""Reading: what is where, found in a grid."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinetoken.canvas import Canvas
from kinetoken.data.toybox import sample_scene
from kinetoken.data.toybox_layout import LOOKS, THINGS, layout
from kinetoken.grid import CellSize, GridShape
from kinetoken.layout import HIDDEN, MARGIN, SIZE, WAY, X, beside, digits, order_of_telling
from kinetoken.processes.masking import CanvasBatch, to_be_read
from kinetoken.processes.planning import _as_named, with_layout, with_shown
from kinetoken.reading import BESIDE, STEP, Read, Reader, _lesson
from kinetoken.tasks import captioning, text_to_video
from kinetoken.things import Asked
from kinetoken.transformer import Transformer, TransformerConfig
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


@given(st.permutations(range(3)))
def test_things_are_named_in_one_order_in_whatever_order_they_came(order: list[int]) -> None:
    told = _told([[7, 90, 20, 50], [7, 80, 20, 50]])  # the first moves
    shuffled = told[:, :, [0, *(1 + place for place in order)]][0]
    assert shuffled[:, order_of_telling(shuffled)][0, :, X].tolist() == [7, 90, 20, 50]


def test_what_comes_later_is_named_where_it_comes_and_what_never_comes_last() -> None:
    told = _told([[0, 0, 0, 50], [0, 0, 20, 50]])[0]
    assert told[:, order_of_telling(told)][1, :, X].tolist() == [0, 20, 50, 0]


def test_who_does_something_to_another_is_named_first() -> None:
    """In scenes of toybox, that is, as their captions have it."""
    relations = set()
    for seed in range(60):
        scene = sample_scene(seed, actors=2)
        if scene.relation:
            relations.add(scene.relation)
            told = torch.from_numpy(layout(scene, CellSize(square=2)))
            assert order_of_telling(told) == [0, 1, 2, 3]
    assert len(relations) == 3


def test_readers_see_whole_grids_beginnings_some_layers_and_parts() -> None:
    grid = torch.randint(LOW, HIGH, (600, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(600, 3, 2, len(digits(LOOKS)), dtype=torch.int64)
    batch = CanvasBatch(ROW.expand(600, -1), grid, torch.arange(600), torch.zeros(600, dtype=torch.bool), nothing)
    read = to_be_read(batch).grid
    shown = read != Vocabulary.MASK
    assert (read[shown] == grid[shown]).all()
    layers = shown.any((2, 3))
    whole, parts = shown.flatten(1).all(1), (shown.flatten(2).all(2) != layers).any(1)
    beginning = layers[:, 0] & ~layers[:, 2] & ~parts
    for share in (whole, parts, beginning):
        assert 0.1 < share.float().mean() < 0.6
    assert (to_be_read(batch).grid == read).all()  # a pure function of the seeds


def test_readers_see_things_by_halves() -> None:
    """Of a thing in a corner of a large grid mere rectangles would show everything, or nothing, nearly always."""
    grid = torch.full((400, 1, 24, 24), LOW)
    layout = torch.zeros(400, 1, 2, len(digits(LOOKS)), dtype=torch.int64)
    layout[:, 0, 1] = torch.tensor((16, 1, 0, 0, MARGIN + 8 * 4, MARGIN + 8 * 4, 16, 0, WAY, WAY, 0))
    batch = CanvasBatch(ROW.expand(400, -1), grid, torch.arange(400), torch.zeros(400, dtype=torch.bool), layout)
    around = (to_be_read(batch).grid != Vocabulary.MASK)[:, 0, 2:6, 2:6].float().mean((1, 2))
    assert ((around > 0.1) & (around < 0.9)).float().mean() > 0.1


def test_grids_are_read_in_larger_ones_too() -> None:
    """A thing stays on its code, wherever the grid has come to lie."""
    grid, layout = torch.full((1, 1, 8, 8), LOW), torch.zeros(1, 1, 2, len(digits(LOOKS)), dtype=torch.int64)
    grid[0, 0, 5, 2] = LOW + 7
    layout[0, 0, 1] = torch.tensor((16, 1, 0, 0, MARGIN + 8 * 2 + 4, MARGIN + 8 * 5 + 4, 8, 0, WAY, WAY, 0))
    sizes, corners = set(), set()
    for seed in range(300):
        batch = CanvasBatch(ROW, grid, torch.tensor([seed]), torch.zeros(1, dtype=torch.bool), layout)
        seen = to_be_read(batch)
        x, y = (seen.layout[0, 0, 1, X:SIZE] - MARGIN - 4) // 8
        if seen.grid[0, 0, y, x] != Vocabulary.MASK:
            assert seen.grid[0, 0, y, x] == LOW + 7
        assert not seen.layout[0, 0, 0].any() and (seen.grid != Vocabulary.MASK).sum() <= 64
        sizes.add(tuple(seen.grid.shape[2:]))
        corners.add((int(x) - 2, int(y) - 5))
    assert all(size % 4 == 0 for shape in sizes for size in shape) and (8, 8) in sizes and len(sizes) > 15
    assert all(place % 2 == 0 for corner in corners for place in corner) and len(corners) > 15


@pytest.fixture(scope="module")
def scenes() -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and layouts of scenes of one colour on another: a code for each shape where its centre is."""
    torch.manual_seed(0)
    layouts = torch.zeros(256, 3, THINGS, len(digits(LOOKS)), dtype=torch.int64)
    codes = torch.zeros(256, 3, 8, 8, dtype=torch.int64)
    for scene in range(256):
        start, step = torch.randint(2, 6, (2, 2)), torch.randint(-1, 2, (2, 2))
        for thing in range(1 + scene % 2):
            shape = int(torch.randint(1, 6, ()))
            for time in range(3):
                x, y = (start[thing] + time * step[thing]).tolist()
                row = (16, shape, 0, 0, MARGIN + 8 * x + 4, MARGIN + 8 * y + 4, 8, 0, WAY, WAY, 0)
                layouts[scene, time, 1 + thing] = torch.tensor(row)
                if 0 <= x < 8 and 0 <= y < 8:
                    codes[scene, time, y, x] = shape
    return codes, layouts


def test_what_is_there_is_learned_to_be_read(scenes: tuple[torch.Tensor, torch.Tensor]) -> None:
    """On grids never seen before: how many things, what they are, and where, for all of time."""
    torch.manual_seed(0)
    codes, layouts = scenes
    reader = Reader(LOOKS, THINGS, 1, torch.zeros(50, 0, dtype=torch.int64))
    optimizer = torch.optim.AdamW(reader.parameters(), lr=3e-3)
    for step in range(150):
        some = torch.arange(200)[step % 5 :: 5]
        reader.loss(codes[some], layouts[some])[0].backward()
        optimizer.step()
        optimizer.zero_grad()
    right = 0
    for scene in range(200, 256):
        read, told = reader.read(codes[scene]).layout, layouts[scene]
        told = told[:, order_of_telling(told)]
        assert read.shape == told.shape and (read >= 0).all()  # of a grid that is known nothing stays open
        right += bool(
            (read[..., :2] == told[..., :2]).all() and (read[..., X:SIZE] - told[..., X:SIZE]).abs().max() < 4
        )
    assert right > 40


def test_of_what_is_not_shown_nothing_is_read(scenes: tuple[torch.Tensor, torch.Tensor]) -> None:
    codes, _ = scenes
    torch.manual_seed(0)
    reader = Reader(LOOKS, THINGS, 1, torch.zeros(50, 0, dtype=torch.int64))
    beginning = codes[0].clone()
    beginning[1:] = HIDDEN
    read = reader.read(beginning).layout
    assert (read[1:] == HIDDEN).all() and (read[0] >= 0).all()
    part = codes[0].clone()
    part[0, 0, 0] = HIDDEN  # a layer that is known in part: who is not seen may yet be there
    assert (reader.read(part).layout[0, 1:, 0] != 0).all()


def test_cells_are_taught_what_a_layout_says() -> None:
    """Each thing's centre is one cell's; its neighbours are not asked, and may say what it is; it says where the thing
    lies from there and how far it has come."""
    layout = torch.zeros(1, 2, 2, len(digits(LOOKS)), dtype=torch.int64)
    layout[0, :, 1] = torch.tensor((16, 3, 2, 1, MARGIN + 20, MARGIN + 13, 8, 0, WAY, WAY, 0))
    layout[0, 1, 1, X] += 9
    lesson = _lesson(layout, beside(layout)[:, :, :, 0, 0], 8, 8)
    assert lesson.centre.nonzero().tolist() == [[0, 0, 1, 2], [0, 1, 1, 3]]
    assert (
        not (lesson.centre & lesson.passed_over).any() and (lesson.speaks == lesson.centre | lesson.passed_over).all()
    )
    assert 2 <= int(lesson.passed_over[0, 0].sum()) <= 4
    says = lesson.says[0, 1, 1, 3]
    assert says[:4].tolist() == [16, 3, 2, 1]
    assert (says[4:6] - BESIDE).tolist() == [29 - 24, 13 - 8]
    assert (says[-2:] - STEP).tolist() == [9, 0] and lesson.says[0, 0, 1, 2, -1] == HIDDEN


def test_what_lies_outside_is_spoken_for_by_the_nearest_cell_while_it_reaches_in() -> None:
    layout = torch.zeros(1, 2, 2, len(digits(LOOKS)), dtype=torch.int64)
    layout[0, :, 1] = torch.tensor((16, 3, 2, 1, MARGIN - 6, MARGIN + 13, 8, 0, WAY, WAY, 0))
    layout[0, 1, 1, X] -= 6
    lesson = _lesson(layout, beside(layout)[:, :, :, 0, 0], 8, 8)
    assert lesson.centre.nonzero().tolist() == [[0, 0, 1, 0]]


def _read(*looks: tuple[float, float]) -> tuple[Canvas, Read]:
    """A layer with a thing for each pair: how likely it is of shape 1, and of shape 2."""
    canvas = text_to_video(ROW[0].tolist(), GridShape(time=1, rows=4, columns=4))
    canvas = replace(canvas, layout=CONFIG.untold(1, 1), layout_known=torch.zeros(1, 1, THINGS, dtype=torch.bool))
    layout = _told([[9, *(40 * (1 + k) for k in range(len(looks))), *[0] * (THINGS - 1 - len(looks))]])[0]
    beliefs: list[list[torch.Tensor]] = [[] for _ in range(THINGS)]
    for thing, likely in enumerate(looks, start=1):
        beliefs[thing] = [torch.full((radix,), 1e-4) for radix in LOOKS]
        beliefs[thing][0][1:3] = torch.tensor(likely)
        beliefs[thing][1][0] = beliefs[thing][2][0] = 1.0
        beliefs[thing] = [of.log() for of in beliefs[thing]]
        layout[0, thing, 1:4] = torch.stack([of.argmax() for of in beliefs[thing]])
    return canvas, Read(layout, beliefs, {})


def _names_shapes(network: Transformer, monkeypatch: pytest.MonkeyPatch, *shapes: int) -> None:
    """Words that say of the first thing that it has the first shape, of the second …; anything else costs 3 nats."""
    slots = iter(slot for slot in range(1, THINGS) for _ in shapes)

    def nats(asked: Asked, things: torch.Tensor, looks: bool) -> torch.Tensor:
        slot = next(slots)
        return 3.0 * (things[:, 1] != (shapes[slot - 1] if slot <= len(shapes) else -1))

    monkeypatch.setattr(network.things_out, "cross_entropy", nats)


def test_things_that_are_seen_stand_in_the_order_in_which_words_name_them(monkeypatch: pytest.MonkeyPatch) -> None:
    network = noisy(CONFIG)
    _names_shapes(network, monkeypatch, 2, 1)
    canvas, read = _read((1.0, 1e-4), (1e-4, 1.0))
    assert (_as_named(network, canvas, read) == read.layout[:, [0, 2, 1, 3]]).all()


def test_what_a_reader_doubts_is_for_the_words_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    network = noisy(CONFIG)
    for likely, shape in (((0.7, 0.3), 2), ((0.96, 0.04), 1), ((1.0, 1e-4), 1)):
        _names_shapes(network, monkeypatch, 2)
        canvas, read = _read(likely)
        assert _as_named(network, canvas, read)[0, 1, 1] == shape


def test_a_known_grid_is_read_and_the_rest_is_written() -> None:
    """Layers that are known are told as they are read, but for what words have to say of looks; those that are not are
    written after them."""
    network = noisy(CONFIG)
    grid = torch.randint(LOW, HIGH, (1, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    known = torch.zeros(1, 3, 8, 8, dtype=torch.bool)
    known[:, 0] = True
    canvas = replace(text_to_video(ROW[0].tolist(), GridShape(time=3, rows=8, columns=8)), grid=grid, grid_known=known)
    told = with_layout(network, canvas, torch.Generator().manual_seed(0), 1.0)
    assert told.layout_known.all()
    codes = network.codes(canvas.masked[1])[0]
    read = network.reader.read(codes).layout[0]
    places = [digit for digit in range(read.shape[1]) if digit not in range(1, 1 + len(LOOKS))]
    assert sorted(told.layout[0, 0][:, places].tolist()) == sorted(read[:, places].tolist())


def test_who_brings_a_layout_is_taken_at_their_word() -> None:
    network = noisy(CONFIG)
    grid = torch.randint(LOW, HIGH, (1, 8, 8), generator=torch.Generator().manual_seed(1))
    canvas, told = captioning(grid, 12), _told([[9, 80, 40, 0]])
    canvas = replace(canvas, layout=told, layout_known=torch.tensor([[[True, True, False, False]]]))
    filled = with_layout(network, canvas, torch.Generator(), 0.0)
    assert (filled.layout[0, 0, :2] == told[0, 0, :2]).all() and filled.layout_known.all()


def test_what_another_canvas_shows_is_told_in_the_layers_that_are_named() -> None:
    network = noisy(CONFIG)
    grid = torch.randint(LOW, HIGH, (4, 8, 8), generator=torch.Generator().manual_seed(0))
    seen, canvas = captioning(grid, 4), captioning(grid, 4)
    canvas = replace(canvas, grid_known=torch.zeros_like(canvas.grid_known))
    told, whole = with_shown(network, canvas, seen, [0, 3]), with_shown(network, canvas, seen, range(4))
    assert told.layout_known.any(2)[0].tolist() == [True, False, False, True]
    assert (told.layout[:, [0, 3]] == whole.layout[:, [0, 3]]).all() and not told.grid_known.any()
    none = noisy(replace(CONFIG, looks=()))
    assert with_shown(none, canvas, seen, [0]) is canvas
