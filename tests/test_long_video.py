"""Clips of any length from a window of one length."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kinetoken import generator as generator_module
from kinetoken.apps.cli import main
from kinetoken.clip import Clip
from kinetoken.generator import Generator
from kinetoken.long_video import Stretch, Window, stretches

PROMPT = "a red ball bounces"


def _all(generator: Generator, frames: int, **options: object) -> tuple[np.ndarray, torch.Tensor, list[Stretch]]:
    parts = list(generator.stream_long(PROMPT, frames=frames, seed=4, steps=2, **options))
    return np.concatenate([part.clip.frames for part in parts]), torch.cat([part.codes for part in parts]), parts


@pytest.mark.parametrize(
    ("frames", "size"), [(1, (32, 32)), (4, (17, 20)), (6, (32, 32)), (23, (9, 16)), (50, (16, 16))]
)
def test_exactly_as_many_frames_as_were_asked_for(tiny: Generator, frames: int, size: tuple[int, int]) -> None:
    pixels, codes, parts = _all(tiny, frames, size=size, fps=12.0)
    assert pixels.shape == (frames, size[1], size[0], 3)
    assert len(codes) == 1 + -(-(frames - 1) // 4)
    assert [part.done for part in parts] == list(np.cumsum([len(part.clip) for part in parts]))
    assert {(part.total, part.clip.fps) for part in parts} == {(frames, 12.0)}


def test_the_same_again_and_a_longer_clip_begins_with_the_shorter(tiny: Generator) -> None:
    _, codes, _ = _all(tiny, 30)
    _, again, _ = _all(tiny, 30)
    _, longer, _ = _all(tiny, 61)
    assert (codes == again).all()
    assert (longer[: len(codes) - 1] == codes[:-1]).all()


def test_it_begins_with_the_clip_of_the_trained_length(tiny: Generator) -> None:
    *_, plain = tiny.stream(PROMPT, seed=4, steps=2)
    _, codes, (first, *_) = _all(tiny, 30)
    assert (codes[: len(plain.codes)] == plain.codes).all()
    assert np.abs(first.clip.frames.astype(int) - plain.clip.frames).max() <= 1


def test_the_window_is_all_there_is(tiny_mosaic: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every canvas has the trained length; each window's past is the end of the window before, and begins with an image
    of how its layer ended; frames leave before the next window is begun."""
    seen, fill = [], generator_module.fill_grid

    def watched(network, canvas, seed, config):  # type: ignore[no-untyped-def]
        seen.append((canvas, seed))
        yield from fill(network, canvas, seed, config)

    monkeypatch.setattr(generator_module, "fill_grid", watched)
    done = []
    for number, part in enumerate(tiny_mosaic.stream_long(PROMPT, frames=40, seed=4, steps=2), start=1):
        assert len(seen) == number
        done.append(part.codes)
    time = 1 + (tiny_mosaic.config.frames - 1) // 4
    assert {canvas.grid.shape[1] for canvas, _ in seen} == {time}
    assert len({seed for _, seed in seen}) == len(seen) > 5
    text_end = tiny_mosaic.config.network.vocabulary.text_end
    for number in range(1, len(seen)):
        canvas, past = seen[number][0], (time + 1) // 2
        assert canvas.grid_known[0, :past].all() and not canvas.grid_known[0, past:].any()
        before, known = torch.cat(done[:number]), canvas.grid[0, :past] - text_end
        assert (known[1:] == before[len(before) - past + 1 :]).all()
        assert (known[:1] == tiny_mosaic.tokenizer.last_frame(before[None, : len(before) - past + 1])[0]).all()


def test_no_window_begins_with_a_jump(tiny: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a window begins with, its first step is no larger than most of those before it, or it fades in."""
    jump = np.array([100, 101, 102, 103, 104, 140, 141, 142, 143, 200, 201, 202, 203])
    frames = np.broadcast_to(jump[:, None, None, None], (13, 8, 8, 3)).astype(np.uint8)
    pieces = [frames[:5], frames[5:9], frames[9:]]
    monkeypatch.setattr(
        tiny.tokenizer, "decode_stream", lambda codes, layers: (p for p, _ in zip(pieces, codes, strict=True))
    )
    filled = iter([Window(torch.zeros(n, 2, 2, dtype=torch.long), 1) for n in (2, 1, 1)])
    parts = list(stretches(filled, tiny.tokenizer, 0, frames=13, height=8, width=8, fps=8.0))
    levels = np.concatenate([part.clip.frames for part in parts])[:, 0, 0, 0]
    assert levels[:5].tolist() == [100, 101, 102, 103, 104] and levels[5] == 104 + 36 // 5
    steps = np.diff(levels.astype(int))
    assert (steps > 0).all() and steps.max() < 25 and levels[12] > 190


def test_the_codec_has_no_seam(tiny: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames are those of all codes decoded at once, where no window is led on."""
    monkeypatch.setattr("kinetoken.long_video.STILL", 255.0)
    pixels, codes, _ = _all(tiny, 41, size=(16, 16))
    whole = tiny.tokenizer.decode_clip(codes, fps=8.0, frames=41, height=16, width=16)
    assert np.abs(pixels.astype(int) - whole.frames).max() <= 1


def test_generate_turns_to_it_beyond_what_one_window_does(tiny: Generator) -> None:
    frames = tiny.longest_frames + 3
    clip = tiny.generate(PROMPT, seed=4, steps=2, frames=frames, fps=5.0)
    assert (clip.frames == _all(tiny, frames)[0]).all() and clip.fps == 5.0
    assert len(tiny.generate(PROMPT, seed=4, steps=1, frames=frames, loop=True)) == frames


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"size": (0, 9)}, {"fps": -1.0}, {"steps": 0}])
def test_mistakes_are_told_before_any_work(tiny: Generator, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        tiny.stream_long(PROMPT, **{"frames": 100, **wrong})


@pytest.mark.parametrize("ending", ["mp4", "webp"])
def test_the_command_writes_it(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    path = tmp_path / f"long.{ending}"
    arguments = [
        "generate",
        PROMPT,
        "-o",
        str(path),
        "--frames",
        "47",
        "--seed",
        "4",
        "--steps",
        "2",
        "--size",
        "16x16",
    ]
    assert main([*arguments, "--model", str(tiny_folder), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["frames"], record["width"], record["height"]) == (47, 16, 16)
    assert len(record["sha256"]) == 64 and Clip.read(path).frames.shape == (47, 16, 16, 3)
