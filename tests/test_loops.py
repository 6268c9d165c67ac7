"""Time as a circle: in the grid, the tokenizer, the network, and the clips that come out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinetoken.apps.cli import main
from kinetoken.canvas import Canvas
from kinetoken.clip import Clip
from kinetoken.evaluation.generation import looping
from kinetoken.generator import Generator
from kinetoken.grid import CellSize, GridShape, around, picked, stretched
from kinetoken.joins import FADE
from kinetoken.loops import LoopPlan, closed, cut, loops, seam, there_and_back
from kinetoken.processes.masked import MaskedObjective
from kinetoken.processes.masking import CanvasBatch, MaskingConfig
from kinetoken.tasks import text_to_video
from kinetoken.transformer import Transformer, _circular
from tests.evaluation.test_likeness import prepared

PROMPT = "a red ball bounces"


def _clip(frames: int, height: int = 16, width: int = 16, seed: int = 0) -> Clip:
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    return Clip(frames=pixels, fps=8.0)


def _codes(generator: Generator, *sizes: int) -> torch.Tensor:
    return torch.randint(generator.tokenizer.config.quantizer.codes, sizes, generator=torch.Generator().manual_seed(0))


@given(frames=st.integers(1, 300), step=st.integers(1, 8))
def test_a_circle_has_whole_layers_and_gives_back_every_frame(frames: int, step: int) -> None:
    cell = CellSize(frames=step)
    turn = GridShape.of_clip(frames, 4, 4, cell, loop=True).frames(cell, loop=True)
    assert frames <= turn < frames + step
    assert (stretched(frames, turn)[picked(frames, turn)] == np.arange(frames)).all()
    steps = np.diff([*picked(frames, turn), turn])
    assert steps[-1] == steps.min() and steps.max() - steps.min() <= 1


@given(frames=st.integers(1, 60), turn=st.integers(1, 60))
def test_a_loop_is_laid_on_a_circle_of_any_length(frames: int, turn: int) -> None:
    """Evenly, from its first frame on; what is left out lies within it, and the last frame stays next to the first."""
    shown = around(frames, turn)
    assert len(shown) == turn and shown[0] == 0 and (np.diff(shown) >= 0).all()
    if frames <= turn:
        assert set(shown) == set(range(frames))
    else:
        steps = np.diff([*shown, frames])
        assert steps[-1] == steps.min() and steps.max() - steps.min() <= 1


@given(frames=st.integers(1, 20), seed=st.integers(0, 1000))
def test_a_circle_is_cut_where_it_shows_least(frames: int, seed: int) -> None:
    """The same frames in the same order; the step over the seam is no larger than the median of the others; a circle
    that does so already stays as it is."""
    circle = _clip(frames, 2, 2, seed)
    made = cut(circle)
    begin = next(k for k in range(frames) if (np.roll(circle.frames, -k, axis=0) == made.frames).all())
    assert loops(made) and made.fps == circle.fps
    assert begin == 0 or not loops(circle)
    assert (cut(made).frames == made.frames).all()


@pytest.mark.parametrize("layers", [1, 2, 5, 9])
def test_a_circle_decodes_as_one_period_of_endless_repetition(tiny: Generator, layers: int) -> None:
    codes = _codes(tiny, 1, layers, 4, 4)
    circle = tiny.tokenizer.decode(codes, loop=True)
    repeated = tiny.tokenizer.decode(codes.repeat(1, 8 // layers + 4, 1, 1))
    assert circle.shape[1] == 4 * layers
    torch.testing.assert_close(circle, repeated[:, -4 * layers :], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", [1, 3, 6])
def test_a_circle_encodes_as_one_period_of_endless_repetition(tiny: Generator, layers: int) -> None:
    frames = torch.rand(1, 4 * layers, 16, 16, 3) * 2 - 1
    circle = tiny.tokenizer.encode(frames, loop=True)
    endless = frames.repeat(1, 8 // layers + 4, 1, 1, 1)
    repeated = tiny.tokenizer.encode(torch.cat((frames[:, -1:], endless), dim=1))
    assert circle.shape[1] == layers
    assert (circle == repeated[:, -layers:]).all()


def test_where_the_circle_is_cut_does_not_matter_to_the_tokenizer(tiny: Generator) -> None:
    codes = _codes(tiny, 1, 5, 4, 4)
    frames, turned = (tiny.tokenizer.decode(grid, loop=True) for grid in (codes, codes.roll(2, dims=1)))
    torch.testing.assert_close(frames.roll(8, dims=1), turned, atol=1e-5, rtol=1e-5)
    assert (
        tiny.tokenizer.encode(frames.roll(4, 1), loop=True) == tiny.tokenizer.encode(frames, loop=True).roll(1, 1)
    ).all()


@pytest.mark.parametrize("frames", [1, 3, 8, 21])
def test_clips_go_around_with_their_length(tiny: Generator, frames: int) -> None:
    clip = _clip(frames, 18, 13)
    codes = tiny.tokenizer.encode_clip(clip, loop=True)
    shape = {"fps": 8.0, "frames": frames, "height": 18, "width": 13}
    assert len(codes) == -(-frames // 4)
    assert tiny.tokenizer.decode_clip(codes, **shape, loop=True).frames.shape == clip.frames.shape
    with pytest.raises(ValueError, match="layers"):
        tiny.tokenizer.decode_clip(torch.cat((codes, codes)), **shape, loop=True)


@pytest.mark.parametrize("layers", [1, 2, 4, 5, 13])
def test_where_the_circle_is_cut_does_not_matter_to_the_network(tiny: Generator, layers: int) -> None:
    """Turning the grid turns the features. (Words stand beside the circle, and tell its places apart.)"""
    grid = _codes(tiny, 1, layers, 8, 8) + tiny.config.network.vocabulary.text_end
    text = torch.zeros(1, 0, dtype=torch.int64)
    with torch.inference_mode():
        cells = tiny.network(text, grid, loop=True).cells
        turned = tiny.network(text, grid.roll(1, dims=1), loop=True).cells
    torch.testing.assert_close(cells.roll(1, dims=1), turned, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("layers", [2, 3, 4, 5, 6, 9, 17, 40])
def test_angles_close_and_neighbours_stay_near_to_what_was_trained(layers: int) -> None:
    frequencies = 100.0 ** -torch.linspace(0, 1, 4).double()
    angles = _circular(torch.arange(layers + 1).double(), layers, frequencies)
    torch.testing.assert_close((angles[-1] - angles[0]).sin(), torch.zeros(4).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close((angles[-1] - angles[0]).cos(), torch.ones(4).double(), atol=1e-9, rtol=0)
    steps = (angles[1] - angles[0] - frequencies).abs()
    assert (steps[1:] <= torch.pi / layers + 1e-9).all()  # no multiple of a turn is nearer
    assert 0 < angles[1, 0] - angles[0, 0] <= torch.pi + 1e-9  # neighbours can be told apart
    if layers >= 5:
        assert steps[0] < 0.45


def test_a_canvas_stays_a_circle() -> None:
    canvas = replace(text_to_video([5, 6], GridShape(time=2, rows=4, columns=4)), loop=True)
    everywhere = torch.ones_like(canvas.grid_known)
    filled = canvas.with_grid(everywhere, torch.full((32,), 9))
    changed: list[Canvas] = [
        filled,
        filled.without_grid(everywhere),
        canvas.untold(),
        canvas.to(torch.device("cpu")),
    ]
    assert all(other.loop for other in changed)


@pytest.mark.parametrize("frames", [1, 2, 7, 16, 17])
def test_a_generated_loop_has_the_length_that_was_asked_for(tiny: Generator, frames: int) -> None:
    *_, last = tiny.stream(PROMPT, seed=1, frames=frames, steps=2, loop=True)
    assert last.codes.shape[0] == -(-frames // 4)
    assert last.clip.frames.shape == (frames, 32, 32, 3)
    assert (last.clip.frames == tiny.generate(PROMPT, seed=1, frames=frames, steps=2, loop=True).frames).all()


@pytest.mark.parametrize(("frames", "size"), [(5, (16, 16)), (18, (20, 12)), (12, (70, 90))])
def test_a_clip_keeps_its_beginning_bit_for_bit(tiny: Generator, frames: int, size: tuple[int, int]) -> None:
    clip = _clip(frames, *size)
    *_, last = tiny.stream_loop(clip, seed=1, steps=2)
    plan = LoopPlan.of_clip(clip, tiny.config.tokenizer.cell, None)
    assert last.step.canvas.loop and 0 < plan.kept < frames
    assert last.clip.frames.shape == clip.frames.shape and last.clip.fps == clip.fps
    assert (last.clip.frames[: plan.kept] == clip.frames[: plan.kept]).all()
    assert (last.clip.frames[plan.kept :] != clip.frames[plan.kept :]).any()
    assert (tiny.loop(clip, seed=1, steps=2, seconds=clip.seconds / 2).frames == last.clip.frames).all()


def test_what_is_replaced_has_no_say_in_what_replaces_it(tiny: Generator) -> None:
    clip = _clip(16)
    other = Clip(frames=np.concatenate((clip.frames[:12], _clip(4, seed=9).frames)), fps=8.0)
    first, second = (tiny.loop(source, seed=1, steps=2, seconds=0.5) for source in (clip, other))
    assert (first.frames == second.frames).all()


@pytest.mark.parametrize(("seconds", "kept"), [(None, 8), (0.1, 12), (0.51, 8), (1.99, 4)])
def test_as_much_is_made_anew_as_was_asked_for(seconds: float | None, kept: int) -> None:
    assert LoopPlan.of_clip(_clip(16), CellSize(), seconds).kept == kept


def test_joins_carry_the_codecs_error_across() -> None:
    """A codec that is always wrong by the same amount leaves no step: the new frames are wrong by nothing."""
    still = Clip(frames=np.full((12, 4, 4, 3), 100, dtype=np.uint8), fps=8.0)
    wrong = Clip(frames=np.full((12, 4, 4, 3), 93, dtype=np.uint8), fps=8.0)
    assert (closed(still, wrong, kept=8, first=wrong).frames == still.frames).all()


def test_what_loops_already_is_left_alone(tiny: Generator, tmp_path: Path) -> None:
    still = Clip(frames=np.full((12, 4, 4, 3), 100, dtype=np.uint8), fps=8.0)
    assert tiny.loop(still) is still
    assert main(["loop", str(still.save(tmp_path / "a.webp")), "-o", str(tmp_path / "b.webp"), "--model", "none"]) == 0
    assert (Clip.read(tmp_path / "b.webp").frames == still.frames).all()


def test_the_seam_is_measured() -> None:
    ramp = np.arange(0, 50, 10, dtype=np.uint8)[:, None, None, None] + np.zeros((5, 2, 2, 3), dtype=np.uint8)
    assert seam(Clip(frames=ramp, fps=8.0)) == (40.0, 10.0)


@pytest.mark.parametrize(
    ("frames", "wrong", "why"),
    [
        (4, {}, "too short"),
        (16, {"seconds": 2.0}, "shorter"),
        (16, {"seconds": 0.0}, "shorter"),
        (16, {"prompt": ""}, "empty"),
    ],
)
def test_mistakes_are_told_before_any_work(tiny: Generator, frames: int, wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        tiny.stream_loop(_clip(frames), **wrong)


def test_the_commands(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, made = tmp_path / "made.webp", tmp_path / "loop.webp"
    ends = ["--model", str(tiny_folder), "--steps", "2", "--seed", "3", "--json"]
    assert main(["generate", "a ball", "-o", str(source), "--loop", "--frames", "9", *ends]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 9
    assert main(["loop", str(source), "-o", str(made), "--seconds", "0.4", *ends]) == 0
    record = json.loads(capsys.readouterr().out)
    kept = LoopPlan.of_clip(Clip.read(source), CellSize(), 0.4).kept
    assert 0 < kept < record["frames"] == 9
    assert (Clip.read(made).frames[:kept] == Clip.read(source).frames[:kept]).all()
    assert f"by {seam(Clip.read(made))[0]:.2f} of 255" in record["notes"][0]


def test_circles_are_learned_as_circles(tiny: Generator) -> None:
    """Where the circle is cut does not matter to the loss of what is hidden, and that of a line it does; a batch may be
    divided."""
    network, text_end = tiny.network, tiny.config.network.vocabulary.text_end
    objective = MaskedObjective(network, MaskingConfig(unconditional=0.0))
    grid = _codes(tiny, 4, 5, 4, 4) + text_end
    line = CanvasBatch(torch.full((4, 2), 5), grid, torch.arange(4), torch.zeros(4, dtype=torch.bool))
    circle = line._replace(loop=torch.ones(4, dtype=torch.bool))
    with torch.inference_mode():
        losses = [[float(objective(each._replace(seeds=line.seeds + k))[0]) for each in (line, circle)] for k in (0, 8)]
        parts = [float(objective(CanvasBatch(*(field[k::2] for field in circle)))[0]) for k in range(2)]
    assert max(abs(of_line - of_circle) for of_line, of_circle in losses) > 1e-3
    assert sum(parts) / 2 == pytest.approx(losses[0][1], abs=1e-4)


def test_a_loop_is_as_long_as_those_that_were_learned(tiny: Generator) -> None:
    learned = Generator(replace(tiny.config, loop_frames=12), tiny.tokenizer, tiny.codec, tiny.network)
    assert len(learned.generate(PROMPT, seed=0, loop=True, steps=2)) == 12
    assert len(learned.generate(PROMPT, seed=0, steps=2)) == tiny.config.frames
    assert len(tiny.generate(PROMPT, seed=0, loop=True, steps=2)) == tiny.config.frames


def test_loops_are_told_from_clips_that_do_not_loop(tiny: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = np.arange(0, 80, 10, dtype=np.uint8)[:, None, None, None] + np.zeros((8, 2, 2, 3), dtype=np.uint8)
    made = {0: ramp, 1: np.concatenate((ramp, ramp[-2:0:-1]))}
    monkeypatch.setattr(
        Generator, "generate", lambda self, prompt, *, seed, loop: Clip(frames=made[seed], fps=8.0) if loop else None
    )
    line, loop = looping(tiny, ["a line", "a loop"])
    assert (line.right, line.figure, loop.right, loop.figure) == (False, 7.0, True, 1.0)
    assert [record.measures["largest_over_median_step"] for record in (line, loop)] == [1, 1]
    jump = np.concatenate((ramp, ramp[-2:3:-1], ramp[2:0:-1]))
    made[0] = jump
    assert next(looping(tiny, ["a jump"])).measures["largest_over_median_step"] == 2


def test_loops_are_measured_by_the_command(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = prepared(tmp_path, range(3))
    own_clips = ["--data", str(own.folder), "--count", "2"]
    command = ["evaluate", "loops", "--model", str(tiny_folder), *own_clips, "--steps", "2"]
    assert main(command) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["count"] == 2 and figures["clips_right"] == 1
    assert 0 < figures["seam_over_median_step"]["mean"] <= 1 <= figures["largest_over_median_step"]
    assert main([*command, "--trained-on", str(own.folder)]) == 2
    assert "clips are also in" in capsys.readouterr().err
    assert main(["evaluate", "loops"]) == 2
    assert "loops needs --data" in capsys.readouterr().err


def test_networks_without_a_circle_are_as_before(tiny: Generator) -> None:
    """On a line, the first and the last layer are no neighbours."""
    network: Transformer = tiny.network
    grid = _codes(tiny, 1, 5, 4, 4) + tiny.config.network.vocabulary.text_end
    text = torch.full((1, 2), 5)
    with torch.inference_mode():
        line = network(text, grid).cells
        circle = network(text, grid, loop=True).cells
    assert (line - circle).abs().max() > 1e-3


def test_what_stands_in_for_a_new_end_leads_back() -> None:
    frames = np.arange(17, dtype=np.uint8)[:, None, None, None] + np.zeros((17, 2, 2, 3), dtype=np.uint8)
    turned = there_and_back(Clip(frames=frames, fps=8.0), 9).frames[:, 0, 0, 0].tolist()
    assert turned == [0, 1, 2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 4, 3, 2, 1]


def test_what_the_codec_lost_of_something_is_given_back_to_it_alone() -> None:
    """Of a bright row and of a dark one it lost the same; only the dark one is still there in the new frames."""
    source, coded, made = np.full((3, 16, 4, 4, 3), 100, dtype=np.uint8)
    source[:, 0], coded[:, 0] = 250, 200
    source[:, 1], coded[:, 1] = 50, 60
    made[:] = coded
    made[4:, 0] = 100
    first, *clips = (Clip(frames=frames, fps=8.0) for frames in (coded, source, made))
    joined = closed(*clips, kept=4, first=first).frames
    new = joined[4 : len(joined) - FADE]
    assert (new[:, 0] == 100).all() and (new[:, 1] == 50).all() and (new[:, 2:] == 100).all()
