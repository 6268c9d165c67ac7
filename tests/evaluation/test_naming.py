"""What a model knows by name."""

import json
from pathlib import Path

import numpy as np
import pytest

from kinetoken.apps.cli import main
from kinetoken.clip import Clip
from kinetoken.evaluation.features import MOMENTS
from kinetoken.evaluation.likeness import stretches
from kinetoken.evaluation.naming import SIDE, Known, glance, named
from kinetoken.generator import Generator
from tests.evaluation.test_likeness import SAID, prepared


def test_a_glance_sees_colours_places_and_moments() -> None:
    frames = np.zeros((9, 16, 16, 3), np.uint8)
    frames[8, :, 8:, 0] = 255  # at the end the right half is red
    seen = glance(Clip(frames=frames, fps=8.0)).reshape(MOMENTS, 3, SIDE, SIDE)
    assert not seen[:4].any() and not seen[4, 1:].any()
    assert (seen[4, 0, :, 4:] == 1).all() and not seen[4, 0, :, :4].any()


def test_a_clip_is_taken_for_the_one_that_it_is(tmp_path: Path, tiny: Generator) -> None:
    """A model that makes the second file's clip whatever it is asked for is right about the second file alone."""
    config, parts = tiny.config, stretches(prepared(tmp_path, range(4)), tiny.config)
    examples = [part.read(config) for part in parts]
    known = Known.of(parts, examples)
    prompts = [example.captions[0] for example in examples]
    always = examples[1].clip
    records = list(named(config, examples, prompts, lambda number: always, known, known.matcher(tiny)))
    assert [record.right for record in records] == [False, True, False, False]
    assert {record.below_is for record in records} == {f"{examples[1].source}, second 0"}
    assert records[0].figure == pytest.approx(1, abs=1e-3)


def test_by_the_command(tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, training = prepared(tmp_path / "own", range(4)), prepared(tmp_path / "training", range(4, 7))
    command = ["evaluate", "names", "--model", str(tiny_folder), "--data", str(own.folder), "--count", "3"]
    assert main(command) == 0
    alone = json.loads(capsys.readouterr().out)
    assert (alone["count"], alone["of"], alone["clips"]) == (3, 4, 4)
    out = tmp_path / "out"
    assert main([*command, "--trained-on", str(training.folder), "-o", str(out)]) == 0
    figures, lines = json.loads((out / "figures.json").read_text()), (out / "records.jsonl").read_text().splitlines()
    assert figures["of"] == 7 and 0 <= figures["through_the_tokenizer"]["names_right"] <= 1
    assert len(lines) == 3 and json.loads(lines[0])["nearest"].startswith(SAID)
    assert main(["evaluate", "names"]) == 2
    assert "names needs --data" in capsys.readouterr().err
    assert main([*command, "--trained-on", str(own.folder)]) == 2
    assert "clips are also in" in capsys.readouterr().err
