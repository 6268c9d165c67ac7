from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetoken import tasks
from kinetoken.canvas import Canvas
from kinetoken.clip import Clip
from kinetoken.data.toybox import Actor, Colour, Motion, Scene, Shape, render
from kinetoken.draft import Draft, Work
from kinetoken.editing import Card
from kinetoken.generator import Generator
from kinetoken.grid import CellSize, GridShape

FAST = {"seed": 1, "steps": 1, "guidance": 1.0}


def noise(frames: int = 6, width: int = 16, height: int = 16, fps: float = 8.0) -> Clip:
    pixels = np.random.default_rng(frames).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    return Clip(frames=pixels, fps=fps)


def hole(clip: Clip) -> np.ndarray:
    mask = np.zeros((1, clip.height, clip.width), dtype=bool)
    mask[:, 3:9, 5:12] = True
    return mask


def work_of(draft: Draft) -> Work:
    return Work.of(draft, width=32, height=32, context=5, cell=CellSize())


DRAFTS = [
    tasks.animate([(0, noise(1)), (5, noise(2))], frames=7, fps=8.0),
    tasks.extend(noise(), before=3, after=2),
    tasks.extend(noise(30), after=2),
    tasks.connect([noise(), noise(3), noise(4, fps=4.0)], gap=3),
    tasks.inpaint(noise(), hole(noise())),
    tasks.inpaint(noise(3, 120, 90), hole(noise(3, 120, 90))),
    tasks.outpaint(noise(3), width=21, height=30),
    tasks.recut(noise(), keep=(2, 5), at=3, frames=9),
    tasks.remix(noise(), strength=0.0),
]


@pytest.mark.parametrize("draft", DRAFTS)
def test_what_is_kept_comes_back_bit_for_bit(tiny: Generator, draft: Draft) -> None:
    made = tiny.finish(draft, "a red ball", **FAST)
    assert made.frames.shape == draft.clip.frames.shape and made.fps == draft.clip.fps
    assert draft.kept.any() and (made.frames[draft.kept] == draft.clip.frames[draft.kept]).all()
    if not draft.kept.all():
        assert (made.frames[~draft.kept] != draft.clip.frames[~draft.kept]).any()


@pytest.mark.parametrize("draft", DRAFTS)
def test_so_it_does_where_codes_come_in_squares(tiny_mosaic: Generator, draft: Draft) -> None:
    made = tiny_mosaic.finish(draft, "a red ball", **FAST)
    assert (made.frames[draft.kept] == draft.clip.frames[draft.kept]).all()


def test_squares_are_known_whole() -> None:
    """Of a frame of 3 x 3 squares, one pixel that is not kept hides the square around it."""
    kept = np.ones((1, 24, 24), dtype=bool)
    kept[0, 10, 20] = False
    known = Work.of(
        Draft(clip=noise(1, 24, 24), kept=kept), width=32, height=32, context=5, cell=CellSize(square=2)
    ).known
    assert known.shape == (1, 6, 6) and (~known).sum() == 4 and not known[0, 2:4, 4:6].any()


@given(frames=st.integers(1, 23), width=st.integers(1, 40), height=st.integers(1, 40), kept=st.randoms())
@settings(max_examples=100, deadline=None)
def test_work_knows_only_what_is_kept_and_fits_any_size(frames, width, height, kept) -> None:
    flags = np.array([kept.random() < 0.6 for _ in range(frames)])
    draft = Draft.of_frames(noise(frames, width, height), flags)
    work = work_of(draft)
    assert work.known.shape == GridShape.of_clip(len(work.clip), height, width, CellSize()).sizes
    for layer in np.flatnonzero(work.known.any((1, 2))):
        times = [0] if layer == 0 else range(4 * layer - 3, min(4 * layer + 1, len(work.clip)))
        assert all(flags[work.start + time] for time in times)
    finished = work.finished(work.clip)
    assert (finished.frames[flags] == draft.clip.frames[flags]).all() and len(finished) == frames


def test_time_is_moved_so_that_a_kept_clip_has_whole_cells() -> None:
    for length in (5, 6, 7, 8):
        after = work_of(tasks.extend(noise(length), after=4))
        assert after.start == (length - 5) and after.known[:2].all()  # context: 5 frames, two whole layers


@pytest.mark.parametrize(("frames", "size"), [(1, (5, 7)), (2, (33, 17)), (9, (1, 20)), (6, (16, 40))])
def test_any_size_and_length_is_edited(tiny: Generator, frames: int, size: tuple[int, int]) -> None:
    made = tiny.extend(noise(frames, *size), "a ball", before=1, after=frames, **FAST)
    assert made.frames.shape == (2 * frames + 1, size[1], size[0], 3)


def test_a_large_source_is_worked_on_at_the_models_size() -> None:
    work = work_of(tasks.inpaint(noise(2, 320, 160), hole(noise(2, 320, 160))))
    assert (work.clip.width, work.clip.height) == (48, 16)
    assert not work.known.all() and work.known.any()


def test_remixes_are_nested_and_have_their_ends(tiny: Generator) -> None:
    shape, clip = GridShape(time=3, rows=8, columns=8), noise()
    known = [tasks.first_codes(shape, 1 - strength, 4) for strength in (0.0, 0.3, 0.6, 1.0)]
    assert known[0].all() and not known[-1].any()
    assert all((less <= more).all() and less.sum() < more.sum() for more, less in pairwise(known))
    assert (tiny.remix(clip, "a ball", strength=0.0, **FAST).frames == clip.frames).all()
    new = tiny.generate("a ball", frames=6, size=(16, 16), **FAST)
    assert (tiny.remix(clip, "a ball", strength=1.0, **FAST).frames == new.frames).all()


def test_a_storyboard_keeps_its_pictures_and_its_length(tiny: Generator) -> None:
    cards = [Card(frame=0, prompt="a ball"), Card(frame=4, prompt="a square", clip=noise(3))]
    steps = list(tiny.stream_storyboard(cards, frames=9, size=(16, 16), seed=1, steps=1))
    last = steps[-1].clip
    assert last.frames.shape == (9, 16, 16, 3) and (last.frames[4:7] == noise(3).frames).all()
    assert (steps[0].clip.frames[:4] == last.frames[:4]).all()


def test_a_card_that_speaks_of_something_else_begins_anew(tiny: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then its stretch is what its words alone make; else it goes on with what was there."""
    cards = [Card(frame=0, prompt="a ball"), Card(frame=5, prompt="a square")]

    def made(speaks_of: bool) -> np.ndarray:
        monkeypatch.setattr(Generator, "speaks_of", lambda *asked: speaks_of)
        return tiny.storyboard(cards, frames=10, size=(16, 16), seed=1, steps=1).frames

    alone = tiny.generate("a square", frames=5, size=(16, 16), seed=1, steps=1).frames
    cut, going_on = made(False), made(True)
    assert (cut[5:] == alone).all() and (cut[:5] == going_on[:5]).all() and (cut != going_on).any()


def test_the_bundled_model_knows_what_words_speak_of() -> None:
    generator = Generator.from_pretrained("toybox")
    ball = Actor(shape=Shape.BALL, colour=Colour.RED, motion=Motion.STILL, x=0.1, y=0.4)
    picture = render(Scene(actors=(ball,)), frames=1)
    assert generator.speaks_of("a red ball bounces", picture) and generator.speaks_of("the ball falls", picture)
    assert not generator.speaks_of("a blue square spins", picture)
    nothing = Clip(frames=np.zeros_like(picture.frames), fps=8.0)
    assert generator.speaks_of("a blue square spins", nothing)


def test_imagine_says_what_it_shows(tiny: Generator) -> None:
    text, clip = tiny.imagine(seed=2)
    assert isinstance(text, str) and clip.frames.shape == (5, 32, 32, 3)


def test_masks_of_ones_own_compose(tiny: Generator) -> None:
    """A user's canvas: any cells known, through the same engine."""
    shape = GridShape(time=2, rows=8, columns=8)
    known = torch.rand(shape.sizes, generator=torch.Generator().manual_seed(0)) < 0.5
    grid = torch.full(shape.sizes, tiny.config.network.vocabulary.text_end)
    canvas: Canvas = tasks.completion(None, grid, known)
    *_, last = tiny.fill(canvas, seed=3)
    assert last.canvas.grid_known.all() and (last.canvas.grid[0][known] == grid[known]).all()


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (lambda: tasks.extend(noise()), "at least 1 frame"),
        (lambda: tasks.extend(noise(), after=10**9), "GiB"),
        (lambda: tasks.connect([noise()], gap=3), "2 clips"),
        (lambda: tasks.connect([noise(), noise()], gap=0), "gap"),
        (lambda: tasks.connect([noise(), noise(2, 40, 16)], gap=3), "--fit"),
        (lambda: tasks.animate([(9, noise())], frames=5, fps=8.0), "inside"),
        (lambda: tasks.animate([(0, noise())], frames=0, fps=8.0), "0 frames"),
        (lambda: tasks.animate([(1, noise()), (1, noise())], frames=5, fps=8.0), "same time"),
        (lambda: tasks.inpaint(noise(), np.ones((1, 8, 8), dtype=bool)), "same size"),
        (lambda: tasks.inpaint(noise(), np.ones((2, 16, 16), dtype=bool)), "as many"),
        (lambda: tasks.inpaint(noise(), np.zeros((1, 16, 16), dtype=bool)), "empty"),
        (lambda: tasks.outpaint(noise(), width=16, height=8), "larger"),
        (lambda: tasks.remix(noise(), strength=1.5), "strength"),
        (lambda: tasks.recut(noise(), keep=(2, 9), at=0, frames=20), "cannot keep"),
        (lambda: tasks.recut(noise(), keep=(2, 5), at=18, frames=20), "inside"),
        (lambda: tasks.check_board([], 8), "cards"),
        (lambda: tasks.check_board([(0, "a"), (4, "b"), (2, "c")], 8), "order"),
        (lambda: tasks.check_board([(0, "a"), (8, "b")], 8), "past the end"),
        (lambda: tasks.check_board([(0, " ")], 8), "no prompt"),
    ],
)
def test_the_users_mistakes_are_told(task, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        task()


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_clips_of_another_shape_are_fitted(fit) -> None:
    draft = tasks.connect([noise(), noise(4, 40, 16, fps=4.0)], gap=2, fit=fit)
    assert draft.clip.frames.shape == (6 + 2 + 8, 16, 16, 3)
