"""Layouts: what is where, told, painted and written."""

from dataclasses import replace
from math import pi

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kinetoken.canvas import Canvas
from kinetoken.data.token_shards import seen_from
from kinetoken.data.toybox import (
    Actor,
    Background,
    BackgroundColour,
    Camera,
    Colour,
    Motion,
    Scene,
    Shape,
    Speed,
    render,
    sample_scene,
)
from kinetoken.data.toybox_layout import LOOKS, THINGS, ground, layout
from kinetoken.generator import Generator
from kinetoken.glimpses import Glimpses
from kinetoken.grid import CellSize, GridShape
from kinetoken.layout import (
    ANGLE,
    ANGLES,
    BENDS,
    EIGHTHS,
    GUESSES,
    HALVES,
    HIDDEN,
    MARGIN,
    PLACES,
    SIZE,
    SIZES,
    TURNS,
    WAY,
    WAY_ANGLE,
    WAY_X,
    WAY_Y,
    Others,
    X,
    Y,
    agreement,
    at,
    at_an_instant,
    beside,
    centres,
    digits,
    going_on,
    halfway,
    together,
    ways,
)
from kinetoken.processes.masked import MaskedObjective, SamplingConfig, fill_grid, fill_text
from kinetoken.processes.masking import CanvasBatch, MaskingConfig, to_be_written, training_canvas
from kinetoken.processes.planning import _with_next, with_layout
from kinetoken.tasks import captioning, text_to_video
from kinetoken.things import Asked, ThingsOut
from kinetoken.transformer import Transformer, TransformerConfig
from kinetoken.vocabulary import Vocabulary
from tests.conftest import noisy

CONFIG = TransformerConfig(text_codes=300, visual_codes=50, depth=2, words=12, looks=LOOKS, things=THINGS)
CELL = CellSize()
SHAPE = GridShape(time=3, rows=8, columns=8)
ROW = [10, 11, 12, Vocabulary.END]


@pytest.fixture(scope="module")
def network() -> Transformer:
    return noisy(CONFIG)


def _layouts(count: int) -> torch.Tensor:
    told = [layout(sample_scene(seed), CELL, frames=9, width=32, height=32) for seed in range(count)]
    return torch.from_numpy(np.stack(told))


def _batch(count: int = 16, *, told: bool = True) -> CanvasBatch:
    generator = torch.Generator().manual_seed(1)
    low, high = CONFIG.vocabulary.text_end, CONFIG.vocabulary.size
    return CanvasBatch(
        text=torch.randint(4, 300, (count, 8), generator=generator),
        grid=torch.randint(low, high, (count, *SHAPE.sizes), generator=generator),
        seeds=torch.arange(count),
        captioning=torch.arange(count) % 5 == 0,
        layout=_layouts(count) if told else CONFIG.untold(count, SHAPE.time),
    )


# What toybox tells


@pytest.mark.parametrize("motion", [Motion.STILL, Motion.RIGHT, Motion.ORBITS, Motion.GROWS])
@pytest.mark.parametrize("size", [(64, 64), (96, 64), (64, 96)])
def test_things_are_where_their_pixels_are(motion: Motion, size: tuple[int, int]) -> None:
    """A ball's pixels in the last frame of a layer have the centre and the area that the layout says."""
    width, height = size
    scene = Scene(actors=(Actor(shape=Shape.BALL, colour=Colour.WHITE, motion=motion, y=0.5),))
    told = layout(scene, CELL, width=width, height=height)
    frames = render(scene, width=width, height=height).frames[::4]
    for frame, (view, thing, *others) in zip(frames, told, strict=True):
        light = np.argwhere(frame.min(-1) > 128)
        x, y = 4 * centres(torch.from_numpy(thing)).numpy()
        assert np.abs(light.mean(0)[::-1] + 0.5 - (x, y)).max() < 0.6
        assert abs((len(light) / np.pi) ** 0.5 - thing[SIZE] * 4 / EIGHTHS) < 0.6
        assert view[0] > 0 and not np.array(others).any()


@pytest.mark.parametrize("camera", [Camera.STILL, Camera.PANS_LEFT, Camera.ZOOMS_IN, Camera.ZOOMS_OUT])
def test_the_view_is_where_the_marks_are(camera: Camera) -> None:
    """Marks lie half a distance from the view's centre, and then one distance from each other."""
    scene = Scene(actors=(Actor(shape=Shape.BALL, colour=Colour.WHITE, y=5.0),), camera=camera)
    scene = replace(scene, background=Background(colours=(BackgroundColour.BEIGE,), marks=True))
    frames, told = render(scene).frames[::4].min(-1), layout(scene, CELL)[:, 0]
    assert (told[:, 1:4] == ground(scene.background)).all()
    for frame, view in zip(frames, told, strict=True):
        x, y = 4 * centres(torch.from_numpy(view)).numpy()
        away = view[SIZE] * 4 / EIGHTHS
        for right, down in ((0.5, 0.5), (-0.5, 0.5), (0.5, -0.5)):
            column, row = int(x + right * away), int(y + down * away)
            if 2 < column < 61:
                assert frame[row - 1 : row + 2, column - 1 : column + 2].min() < frame.max() - 30  # a mark
                assert frame[row, int(x)] == frame.max()  # and none between two


def test_every_ground_looks_different_to_the_view() -> None:
    grounds = {sample_scene(seed).background for seed in range(300)}
    assert len(grounds) > 60 and len({ground(background) for background in grounds}) == len(grounds)


def test_what_turns_and_what_is_gone_is_told() -> None:
    star = Actor(shape=Shape.STAR, colour=Colour.RED, motion=Motion.SPINS)
    turned = layout(Scene(actors=(star,)), CELL)[:, 1, [ANGLE, WAY_ANGLE]].T
    assert turned[0].tolist() == [round(k / 2 / 3 * ANGLES) % ANGLES for k in range(5)]  # a third of a turn each second
    assert turned[1].tolist() == [0] + [ANGLES - 2] * 4
    blinks = replace(star, motion=Motion.BLINKS)
    seen = [layout(Scene(actors=(replace(blinks, speed=speed),)), CELL)[:, 1, 0].tolist() for speed in Speed]
    assert {tuple(pattern) for pattern in seen} == {
        (16, 1 + 0b1111, 1 + 0b0111, 1, 1 + 0b1000),
        (16, 1 + 0b0111, 1 + 0b1000, 1 + 0b0111, 1 + 0b1000),
        (16, *[1 + 0b1001] * 4),
    }


@pytest.mark.parametrize("motion", [Motion.STILL, Motion.RIGHT, Motion.ORBITS, Motion.BOUNCES])
def test_things_come_the_way_their_pixels_come(motion: Motion) -> None:
    """Half-way from layer to layer, a ball's pixels have the centre that the layout says."""
    scene = Scene(actors=(Actor(shape=Shape.BALL, colour=Colour.WHITE, motion=motion, y=0.6),))
    things = torch.from_numpy(layout(scene, CELL)[1:, 1])
    for frame, (x, y) in zip(render(scene).frames[2::4], 4 * (centres(things) - ways(things)).numpy(), strict=True):
        assert np.abs(np.argwhere(frame.min(-1) > 128).mean(0)[::-1] + 0.5 - (x, y)).max() < 0.8


def test_an_instant_is_what_an_image_of_it_tells() -> None:
    """The end of a layer of a clip, as the layout of a clip that begins there: but for what cannot be known of one."""
    for seed in range(40):
        told = torch.from_numpy(layout(sample_scene(seed), CellSize(square=2)))
        instants = at_an_instant(told)
        assert (instants[0] == told[0]).all()  # the first layer is an image
        there = told[..., 0] > 0
        assert (instants[~there] == told[~there]).all()
        assert set(instants[there][:, 0].tolist()) <= {1, 16}
        assert ((told[there][:, 0] > 8) == (instants[there][:, 0] == 16)).all()
        assert (instants[there][:, WAY_X:] == torch.tensor((WAY, WAY, 0))).all()
        assert (instants[there][:, 1:WAY_X] == told[there][:, 1:WAY_X]).all()


@pytest.mark.parametrize("motion", [Motion.RIGHT, Motion.ORBITS, Motion.BOUNCES])
def test_on_a_circle_things_are_where_their_pixels_are(motion: Motion) -> None:
    """At the end of each layer and half-way to it, the first one's, too."""
    scene = Scene(actors=(Actor(shape=Shape.BALL, colour=Colour.WHITE, motion=motion, y=0.7),))
    frames = render(scene, frames=24, loop=True).frames
    things = torch.from_numpy(layout(scene, CELL, frames=24, loop=True)[:, 1])
    for shown, places in ((frames[3::4], centres(things)), (frames[1::4], centres(things) - ways(things))):
        assert len(shown) == len(places) == 6
        for frame, place in zip(shown, 4 * places.numpy(), strict=True):
            assert np.abs(np.argwhere(frame.min(-1) > 128).mean(0)[::-1] + 0.5 - place).max() < 0.8


def test_every_digit_has_its_radix() -> None:
    told = np.stack([layout(sample_scene(seed), CELL, width=96, height=64, frames=33) for seed in range(200)])
    assert (told >= 0).all() and (told.max((0, 1, 2)) < digits(LOOKS)).all()
    there = told[told[..., 0] > 0]
    places = there[:, X:SIZE]
    assert (places > 0).all() and (places < PLACES - 1).all() and (there[:, SIZE] < SIZES - 1).all()


def test_windows_see_things_from_their_corner() -> None:
    looks, way = (3, 4, 2), (WAY, WAY + 3, 1)
    told = np.zeros((1, 1, 2, len(digits(LOOKS))), np.int16)
    told[0, 0, 0] = (1, 1, 2, 0, MARGIN + 8, MARGIN + 8, 10, 0, *way)  # a cell from the corner, a cell and a bit large
    told[0, 0, 1] = (1, *looks, MARGIN + 80, MARGIN + 72, 16, 5, *way)
    (((gone, seen),),) = seen_from(told, np.array([[8, 6]]), 8)
    assert not gone.any()
    assert seen.tolist() == [1, *looks, MARGIN + 80 - 48, MARGIN + 72 - 64, 16, 5, *way]


# What the network does with it


def _logits(out: ThingsOut, asked: Asked, things: torch.Tensor, place: int) -> torch.Tensor:
    """Of one of a thing's digits, all before it being heard."""
    heard = sum((out.heard(asked.ahead, things, earlier) for earlier in range(place)), 0.0)
    return out.logits(asked, things, place, heard)


def test_a_things_nats_are_those_of_its_digits_in_turn() -> None:
    torch.manual_seed(0)
    out, features, told = ThingsOut(LOOKS, THINGS, 32), torch.randn(6, 32), _layouts(20)
    for parameter in out.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    nears, others, now, things = (part[:, 1].flatten(0, 1)[:6] for part in (beside(told), *together(told), told))
    by_hand = torch.zeros(())
    for number, (feature, near, thing) in enumerate(zip(features, nears, things, strict=True)):
        asked = out.asked(feature[None], near[None], Others(others[number, None], now[number, None]))
        for place in range(len(thing) if thing[0] else 1):
            logits = _logits(out, asked, thing[None], place)
            assert logits.shape == (1, digits(LOOKS)[place])
            by_hand = by_hand + F.cross_entropy(logits, thing[None, place])
            later = thing.clone()
            later[place:] = 0
            blind = _logits(out, asked, later[None], place)  # no look ahead
            torch.testing.assert_close(blind, logits)
    asked = out.asked(features, nears, Others(others, now))
    torch.testing.assert_close(out.cross_entropy(asked, things).sum(), by_hand)


def test_things_are_foretold_from_either_side() -> None:
    """Whatever stands, moves evenly, falls or goes round: one of the guesses is right, wherever enough is known."""
    ball, usual = Actor(shape=Shape.BALL, colour=Colour.RED), Speed.USUAL
    bends, turns = 2, 2 + len(BENDS)
    cases = (
        (Motion.STILL, usual, 0),
        (Motion.RIGHT, usual, 1),
        (Motion.SPINS, usual, 1),
        (Motion.ORBITS, Speed.SLOW, bends),
        (Motion.ORBITS, usual, bends + 2),
        (Motion.ORBITS, Speed.QUICK, bends + 4),
        (Motion.BOUNCES, usual, turns),
        (Motion.ORBITS, Speed.SLOW, turns + 1),
        (Motion.ORBITS, usual, turns + 2),
        (Motion.ORBITS, Speed.QUICK, turns + 3),
        (Motion.RIGHT, usual, GUESSES - 1),
        (Motion.ORBITS, Speed.SLOW, GUESSES - 1),
        (Motion.ORBITS, usual, GUESSES - 1),
        (Motion.ORBITS, Speed.QUICK, GUESSES - 1),
    )
    for motion, speed, guess in cases:
        high = replace(ball, motion=motion, speed=speed, y=4.6)  # two seconds from the ground
        told = torch.from_numpy(layout(Scene(actors=(high,)), CellSize(height=32, width=32)))[None, :, 1:2]
        guesses, known, _ = going_on(beside(told).flatten(0, 2), digits(LOOKS))
        place = [X, Y, SIZE, ANGLE]
        guesses, known = guesses.flatten(1, 2), known.flatten(1, 2)  # a side after the other
        wrong = (guesses[:, guess, place] - told.flatten(0, 2)[:, place]).abs()[known[:, guess, X]]
        assert len(wrong) and wrong.max() <= 4  # places are whole eighths of a cell
        assert known[..., 1].long().sum(0).tolist() == [4, *[3] * (1 + len(BENDS)), *[2] * len(TURNS), 3] * 2
    nobody = torch.full((1, 5, 1, len(digits(LOOKS))), HIDDEN)
    assert not going_on(beside(nobody).flatten(0, 2), digits(LOOKS))[1].any()
    assert going_on(beside(told, loop=True).flatten(0, 2), digits(LOOKS))[1].all()
    assert going_on(beside(told).flatten(0, 2), digits(LOOKS))[0].shape[1:3] == (2, GUESSES)


def test_who_goes_round_was_half_way_where_one_of_the_halves_says() -> None:
    for speed, ways_ in ((Speed.SLOW, (1, -1)), (Speed.USUAL, (2, -2)), (Speed.QUICK, (4, -4))):
        ball = Actor(shape=Shape.BALL, colour=Colour.RED, motion=Motion.ORBITS, speed=speed)
        told = torch.from_numpy(layout(Scene(actors=(ball,)), CELL))[:, 1]
        found = halfway(told[:-1], told[1:])
        away = (found - told[1:, None, WAY_X : WAY_Y + 1]).abs().amax((0, 2))
        assert min(away[HALVES.index(way)] for way in ways_) <= 2  # places are whole eighths of a cell
        assert away[HALVES.index(0)] > 2


def test_a_guess_has_the_credit_of_what_it_was_right_about() -> None:
    ball = Actor(shape=Shape.BALL, colour=Colour.RED, motion=Motion.ORBITS, phase=1.0)
    told = torch.from_numpy(layout(Scene(actors=(ball,)), CELL))[None, :, 1:2]
    ahead, things = going_on(beside(told).flatten(0, 2), digits(LOOKS)), told.flatten(0, 2)
    come = halfway(ahead.guesses[:, 0, 0], things)
    of_y, of_way_x = (agreement(ahead, things, digit, None) for digit in (Y, WAY_X))
    of_way_y = agreement(ahead, things, WAY_Y, come)
    curving, standing, to_the_right = GUESSES - 1, 0, 2 * GUESSES + HALVES.index(2)
    assert (of_way_y[3:, curving] > 0.3).all() and (of_way_y[1:, standing] < 0.1).all()
    assert (of_way_y <= of_way_x).logical_or(torch.arange(of_y.shape[1]) >= 2 * GUESSES).all()
    assert not of_y[0, :GUESSES].any() and not of_way_x[:, 2 * GUESSES :].any()  # nothing comes before; not yet asked
    assert of_way_y[1:, 2 * GUESSES :].amax(1).min() > 0.3 and not of_way_y[0, to_the_right]


def test_what_may_go_round_either_way_goes_round_one_of_them() -> None:
    """Half-way of a first step, x by x and then y by y: the two must be of the same arc, at places never seen."""
    torch.manual_seed(0)

    def orbits(count: int) -> torch.Tensor:
        phases, turns = (2 * pi * torch.rand(count)).tolist(), torch.randint(2, (count,)).tolist()
        balls = [
            Actor(shape=Shape.BALL, colour=Colour.RED, motion=Motion.ORBITS, phase=phase, clockwise=bool(turn))
            for phase, turn in zip(phases, turns, strict=True)
        ]
        return torch.cat([torch.from_numpy(layout(Scene(actors=(ball,)), CELL))[None, :2, 1:2] for ball in balls])

    out = ThingsOut(LOOKS, THINGS, 16)
    optimizer = torch.optim.AdamW(out.parameters(), lr=3e-3)

    def logits(told: torch.Tensor, things: torch.Tensor, digit: int) -> torch.Tensor:
        hidden = told.clone()
        hidden[:, 1:] = HIDDEN
        others = at(together(hidden), (slice(None), 1, 0))
        asked = out.asked(torch.zeros(len(told), 16), beside(hidden)[:, 1, 0], others)
        return _logits(out, asked, things, digit + told.shape[-1])

    for _ in range(150):
        told = orbits(64)
        things = told[:, 1, 0]
        loss = sum(F.cross_entropy(logits(told, things, digit), things[:, digit]) for digit in (WAY_X, WAY_Y))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    told = orbits(64)
    things = told[:, 1, 0].clone()
    for digit in (WAY_X, WAY_Y):
        things[:, digit] = logits(told, things, digit).softmax(-1).multinomial(1)[:, 0]
    arcs = halfway(told[:, 0, 0], things)[:, [HALVES.index(2), HALVES.index(-2)]]
    away = (arcs - things[:, None, WAY_X : WAY_Y + 1]).abs().amax(-1).amin(-1)
    assert away.float().quantile(0.9) <= 3


def test_how_something_bounces_is_learned_from_where_it_was() -> None:
    """What no recurrence foretells: where a ball is when it comes back from the ground."""
    torch.manual_seed(0)
    heights = torch.linspace(0.3, 0.9, 40).tolist()
    balls = [Actor(shape=Shape.BALL, colour=Colour.RED, motion=Motion.BOUNCES, y=y) for y in heights]
    told = torch.cat([torch.from_numpy(layout(Scene(actors=(ball,)), CELL))[None, :, 1:2] for ball in balls])
    near, things = beside(told)[:, 1:, 0].flatten(0, 1), told[:, 1:, 0].flatten(0, 1)
    out, words = ThingsOut(LOOKS, THINGS, 16), torch.zeros(len(things), 16)
    seen = torch.arange(len(things)) // 4 % 4 > 0
    optimizer = torch.optim.AdamW(out.moving.parameters(), lr=3e-3)
    others = Others(near[:, 0], near[:, 0, :, 0] > 0)  # whatever: it is not read

    def misguess(some: torch.Tensor, truth: torch.Tensor = things) -> torch.Tensor:
        asked = out.asked(words[some], near[some], at(others, some))
        return out.misguess(asked, truth[some])

    every = torch.ones_like(seen)
    before = misguess(every)
    for _ in range(400):
        misguess(seen).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = misguess(every)
    assert after[~seen].median() < 0.1 * before[~seen].median()
    gone = things.clone()
    gone[:, 0] = 0
    assert not misguess(every, gone).any()


def test_others_of_a_layer_are_as_they_were_until_they_are_written() -> None:
    told = _layouts(1)
    known = told.clone()
    known[:, 2, 2:] = HIDDEN
    things, now = together(known)
    assert now[0, 2].tolist() == [[True, True, False, False]] * 4
    assert (things[0, 2, :, :2] == told[0, 2, :2]).all()
    assert (things[0, 2, 3, 2] == told[0, 1, 2]).all() and (things[0, 2, 2, 3] == told[0, 1, 3]).all()
    assert (things[0, 2, 2, 2] == HIDDEN).all() and (things[0, 2, 3, 3] == HIDDEN).all()


def test_what_lies_beside_something_is_learned_of_all_places() -> None:
    """A thing two cells to the right of another and three below it, taught in one half of the grid, asked in the
    other."""
    torch.manual_seed(0)
    out = ThingsOut(LOOKS, 2, 16)
    optimizer = torch.optim.AdamW(out.apart.parameters(), lr=1e-2)

    def told(places: torch.Tensor) -> tuple[Asked, torch.Tensor]:
        """(what is known of it, the thing) for every place of the other."""
        layout = _layouts(1)[:, :1, 1:2].repeat(len(places), 1, 2, 1)
        layout[:, 0, 0, X:SIZE] = places
        layout[:, 0, 1, X:SIZE] = places + torch.tensor([2 * EIGHTHS, 3 * EIGHTHS])
        known = layout.clone()
        known[:, :, 1] = HIDDEN
        one = (slice(None), 0, 1)
        return out.asked(torch.zeros(len(places), 16), beside(known)[one], at(together(known), one)), layout[one]

    for _ in range(120):
        asked, things = told(torch.randint(80, 120, (32, 2)))
        loss = sum(
            F.cross_entropy(_logits(out, asked, things, place), things[:, place])
            for place in (X + things.shape[1], Y + things.shape[1])
        )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    asked, things = told(torch.randint(140, 180, (50, 2)))
    for number in (X, Y):
        found = _logits(out, asked, things, number + things.shape[1]).argmax(-1)
        assert (found - things[:, number]).abs().max() <= 1


def test_training_tells_all_a_beginning_or_nothing() -> None:
    canvas = training_canvas(_batch(400), MaskingConfig())
    known = canvas.layout_known
    share, layers = known.flatten(1).float().mean(1), known.long().sum(2)
    assert (((layers > 0) & (layers < THINGS)).sum(1) <= 1).all()  # whole layers and the beginning of one
    assert 0.5 < (share == 1).float().mean() < 0.8
    assert (share == 0).float().mean() > 0.05 and ((share > 0) & (share < 1)).float().mean() > 0.15


def test_a_quarter_of_training_goes_on_from_known_layers() -> None:
    """Whole layers are known, and what is in them; of the others nothing is painted and something is to be written."""
    canvas = training_canvas(_batch(400)._replace(captioning=torch.zeros(400, dtype=torch.bool)), MaskingConfig())
    cells, things = canvas.grid_known.flatten(2), canvas.layout_known
    goes_on = (cells.all(2) == cells.any(2)).all(1) & cells.any((1, 2)) & ~things.flatten(1).all(1)
    goes_on &= things.flatten(1).any(1)  # else it is the unconditional case
    assert 0.2 < goes_on.float().mean() < 0.4
    assert things[goes_on][cells[goes_on].all(2)].all()
    assert to_be_written(canvas)[goes_on].any((1, 2)).all()


def test_what_is_in_known_cells_has_been_read() -> None:
    canvas = training_canvas(_batch(400), MaskingConfig())
    conditional = canvas.text_known.any(1) | canvas.layout_known.any((1, 2))
    assert canvas.layout_known[conditional][canvas.grid_known[conditional].any((2, 3))].all()


def test_the_gist_is_of_words_and_of_nothing_else(network: Transformer) -> None:
    """However long the row; in which order they stand counts; a text of no words says nothing."""
    text = torch.tensor([ROW])
    gist = network.gist(text, network.embedding(text))
    longer = torch.cat((text, torch.full((1, 4), Vocabulary.PAD)), dim=1)
    torch.testing.assert_close(network.gist(longer, network.embedding(longer)), gist)
    other = text[:, [1, 0, 2, 3]]
    assert not torch.allclose(network.gist(other, network.embedding(other)), gist)
    assert not network.gist(text[:, :0], network.embedding(text[:, :0])).any()


def test_what_is_learned_is_what_would_be_written_next() -> None:
    """Nothing is known: the first layer. Its beginning: its end. The layers around one: that one."""
    told = _layouts(1).expand(4, -1, -1, -1)
    layout_known = torch.zeros(told.shape[:3], dtype=torch.bool)
    layout_known[1, 0, :2] = True
    layout_known[2, (0, 2)] = True
    layout_known[3] = True
    asked = torch.zeros_like(layout_known)
    asked[0, 0] = True
    asked[1, 0, 2:] = True
    asked[2, 1] = True
    canvas = Canvas(
        text=torch.zeros(4, 1).long(),
        grid=torch.zeros(4, *SHAPE.sizes).long(),
        text_known=torch.ones(4, 1).bool(),
        grid_known=torch.zeros(4, *SHAPE.sizes).bool(),
        layout=told,
        layout_known=layout_known,
    )
    assert (to_be_written(canvas) == asked).all()
    assert not to_be_written(replace(canvas, layout=torch.full_like(told, HIDDEN))).any()


def test_nothing_is_learned_of_what_nobody_told(network: Transformer) -> None:
    objective, batch = MaskedObjective(network, MaskingConfig()), _batch(told=False)
    canvas = training_canvas(batch, MaskingConfig())
    assert not canvas.layout_known.any()
    loss, metrics = objective(batch)
    assert metrics["thing_loss"] == 0
    torch.testing.assert_close(objective(batch._replace(layout=_batch().layout[:, :, :0]))[0], loss)
    assert objective(_batch())[1]["thing_loss"] > 0


def test_a_layout_is_written_before_the_grid_and_what_is_told_stays(network: Transformer) -> None:
    canvas = text_to_video(ROW, SHAPE)
    *_, last = fill_grid(network, canvas, 3, SamplingConfig(steps=4, layout_temperature=2.0))
    written = last.canvas.layout
    assert written.shape == (1, SHAPE.time, THINGS, len(digits(LOOKS))) and last.canvas.layout_known.all()
    assert (written >= 0).all() and (written < torch.tensor(digits(LOOKS))).all()
    assert not written[written[..., 0] == 0].any()
    told = _layouts(1)
    known = torch.tensor([[[True, False, True, False]] * SHAPE.time])
    mine = replace(canvas, layout=told, layout_known=known)
    *_, last = fill_grid(network, mine, 3, SamplingConfig(steps=4))
    assert (last.canvas.layout[known] == told[known]).all() and last.canvas.layout_known.all()


def test_one_seed_one_layout_whatever_happens_to_the_grid(network: Transformer) -> None:
    canvas, options = text_to_video(ROW, SHAPE), {"layout_temperature": 1.0}
    first, again = (
        [*fill_grid(network, canvas, 5, SamplingConfig(steps=steps, **options))][-1].canvas.layout for steps in (3, 6)
    )
    assert (first == again).all()


def test_layouts_are_learned_from_words_alone() -> None:
    """A canvas may have no cells at all."""
    network, batch = Transformer(CONFIG), _batch()
    loss, metrics = MaskedObjective(network, MaskingConfig())(batch._replace(grid=batch.grid[:, :, :0, :0]))
    assert metrics["thing_loss"] > 0 and metrics["code_loss"] == 0
    loss.backward()
    assert network.things_out.enter.weight.grad.abs().sum() > 0 and network.code_out.weight.grad is None


def test_where_a_circle_of_time_is_cut_does_not_matter_to_its_layout(network: Transformer) -> None:
    torch.manual_seed(1)
    torch.nn.init.normal_(network.things_in.near.weight, std=0.1)
    layout = _layouts(2)
    with torch.inference_mode():
        here, turned = (network.things_in(told, True) for told in (layout, layout.roll(1, dims=1)))
        line = network.things_in(layout)
    torch.testing.assert_close(here.roll(1, dims=1), turned)
    assert not torch.allclose(here, line)


def test_a_network_without_layouts_writes_none() -> None:
    plain = Transformer(replace(CONFIG, looks=()))
    canvas = text_to_video(ROW, SHAPE)
    assert with_layout(plain, canvas, torch.Generator(), 1.0) is canvas
    *_, last = fill_grid(plain, canvas, 0, SamplingConfig(steps=2))
    assert not last.canvas.layout.numel()


def test_captions_are_written_after_a_layout(network: Transformer) -> None:
    grid = torch.randint(CONFIG.vocabulary.text_end, CONFIG.vocabulary.size, SHAPE.sizes)
    first = next(iter(fill_text(network, captioning(grid, 12), 0)))
    assert first.canvas.layout_known.all() and first.canvas.layout.shape[2] == THINGS


def test_what_is_told_is_learned_to_be_written() -> None:
    """One scene by heart: from its words alone, its layout comes back digit for digit."""
    from kinetoken.training.optimizer import Optimizer

    torch.manual_seed(0)
    network, told = Transformer(CONFIG), _layouts(1)
    objective = MaskedObjective(network, MaskingConfig(unconditional=0.0))
    optimizer = Optimizer(objective, learning_rate=5e-3, adam_learning_rate=3e-3)
    grid = torch.zeros(4, SHAPE.time, 0, 0, dtype=torch.int64)  # words and layouts alone
    for step in range(200):
        batch = CanvasBatch(
            text=torch.tensor([ROW] * 4),
            grid=grid,
            seeds=torch.arange(4 * step, 4 * step + 4),
            captioning=torch.zeros(4, dtype=torch.bool),
            layout=told.expand(4, -1, -1, -1),
        )
        objective(batch)[0].backward()
        optimizer.step(1 - step / 200)
        optimizer.zero_gradients()
    canvas = with_layout(network.eval(), text_to_video(ROW, SHAPE), torch.Generator(), 0.0)
    assert (canvas.layout == told).all()


def test_words_are_told_what_becomes_of_things(network: Transformer) -> None:
    """Of the same ball in another place, nearly the same; of one that moves the other way, something else; of what
    nobody told, the same whatever there may be."""
    ball = Scene(actors=(Actor(shape=Shape.BALL, colour=Colour.RED, motion=Motion.RIGHT, x=-0.3),))
    left = replace(ball, actors=(replace(ball.actors[0], motion=Motion.LEFT, x=0.3),))
    told = torch.from_numpy(np.stack([layout(scene, CELL) for scene in (ball, left)]))
    right, other = network.things_in_words(told)
    assert not torch.allclose(right, other, atol=1e-3)
    hidden = network.things_in_words(torch.full_like(told, HIDDEN))
    torch.testing.assert_close(hidden[0], hidden[1])


def test_what_is_surely_not_there_is_not_waited_for() -> None:
    """A pass for each layer, where each thing would have one of its own."""
    passes = []
    for surely in (0.0, 100.0):
        network, count = noisy(CONFIG), []
        with torch.no_grad():
            network.things_out.out[0].bias[0] += surely
        network.register_forward_hook(lambda *_, count=count: count.append(1))
        canvas = with_layout(network, text_to_video(ROW, SHAPE), torch.Generator().manual_seed(0), 1.0)
        assert canvas.layout_known.all()
        passes.append(len(count))
    assert passes == [SHAPE.time * THINGS, SHAPE.time] and not canvas.layout.any()


def test_what_is_certain_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a thing can be but one, and all of them are there, a layer's things are written from one pass."""
    network, passes = noisy(CONFIG), []
    logits = network.things_out.logits
    with torch.no_grad():
        network.things_out.out[0].bias[0] -= 100.0
    network.register_forward_hook(lambda *_: passes.append(1))
    for sharper, expected in ((1e5, SHAPE.time), (1.0, SHAPE.time * THINGS)):
        monkeypatch.setattr(network.things_out, "logits", lambda *told, by=sharper: by * logits(*told))
        canvas = with_layout(network, text_to_video(ROW, SHAPE), torch.Generator().manual_seed(0), 1.0)
        assert canvas.layout_known.all() and (canvas.layout[..., 0] > 0).all() and len(passes) == expected
        passes.clear()


class Blind(Glimpses):
    """Glimpses that say nothing. Things that are glimpsed are written one after another."""

    def without(self, things: torch.Tensor) -> "Blind":
        return self

    def beliefs(self, thing: torch.Tensor, place: int) -> torch.Tensor:
        return torch.zeros(digits(LOOKS)[place])


def test_side_by_side_things_are_what_they_are_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a network that has learned what grounds do, which is what the haste rests on."""
    generator = Generator.from_pretrained("toybox", device="cpu")
    network, asked = generator.network, []
    logits = network.things_out.logits
    monkeypatch.setattr(network.things_out, "logits", lambda *told: asked.append(1) or logits(*told))

    @torch.inference_mode()
    def written(prompt: str, glimpses: Glimpses | None) -> torch.Tensor:
        row = generator.codec.row(prompt, 16)
        canvas = text_to_video(row, GridShape(time=4, rows=16, columns=16))
        layout = network.config.untold(1, 4)
        canvas = replace(canvas, layout=layout, layout_known=torch.zeros(layout.shape[:3]).bool())
        for time in range(4):
            while not canvas.layout_known[0, time].all():
                text, grid, told = canvas.masked
                things = network(text, grid[:, :, :0, :0], told).things[0, time]
                canvas = _with_next(network.things_out, canvas, things, time, glimpses, torch.Generator(), 0.0)
        return canvas.layout

    blind = Blind(torch.zeros(0), torch.zeros(0, 2), [])
    for prompt in ("a red ball stands still", "a blue star moves left", "a white ring orbits and a red square falls"):
        one_by_one, calls = written(prompt, blind), len(asked)
        asked.clear()
        assert (written(prompt, None) == one_by_one).all() and len(asked) < 0.9 * calls
        asked.clear()
