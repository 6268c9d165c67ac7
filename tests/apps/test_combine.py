from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kinetoken.apps.cli import main
from kinetoken.apps.train import save_tokenizer
from kinetoken.generator import BUNDLED, Generator
from kinetoken.tokenizer.video_tokenizer import VideoTokenizer


def _learned(module: torch.nn.Module, prefix: str | tuple[str, ...], by: float) -> None:
    for name, weight in module.named_parameters():
        if name.startswith(prefix):
            weight.data += by


def _run(tiny: Generator, run: Path, change: Callable[[Generator], None]) -> str:
    model = Generator(tiny.config, deepcopy(tiny.tokenizer), tiny.codec, deepcopy(tiny.network))
    change(model)
    model.save(run / "model")
    return str(run)


def test_what_runs_have_learned_comes_together(
    tiny: Generator, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of what two have changed, the mean; and a tokenizer's decoder."""
    words = _run(tiny, tmp_path / "words", lambda model: _learned(model.network, "word_out", 0.5))
    both = _run(tiny, tmp_path / "both", lambda model: _learned(model.network, ("word_out", "code_out"), 1.0))
    decoder = deepcopy(tiny.tokenizer)
    _learned(decoder, "decoder.stack", 0.25)
    save_tokenizer(decoder, tmp_path / "decoder" / "model")

    output = tmp_path / "combined"
    assert main(["combine", str(tiny_folder), words, both, str(tmp_path / "decoder"), "-o", str(output)]) == 0
    before, after = (Generator.from_pretrained(folder) for folder in (tiny_folder, output))
    for part, expected in (
        ("network", {"word_out": 0.75, "code_out": 1.0}),
        ("tokenizer", {"decoder.stack": 0.25}),
    ):
        was, weights = getattr(before, part).state_dict(), getattr(after, part).state_dict()
        for name, weight in weights.items():
            moved = next((by for prefix, by in expected.items() if name.startswith(prefix)), 0.0)
            torch.testing.assert_close(weight, was[name] + moved, rtol=0, atol=2e-3, msg=name)
    said = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in said[:-1]] == [str(tmp_path / "decoder"), words, both]
    assert said[1].endswith("weights of word_out") and said[2].endswith("weights of code_out, word_out")


@pytest.mark.parametrize(("blocks", "of_frames"), [(4, 3), (2, 1)])
def test_a_decoder_of_another_shape_takes_the_others_place(
    tiny: Generator,
    tiny_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    blocks: int,
    of_frames: int,
) -> None:
    other = VideoTokenizer(replace(tiny.tokenizer.config, decoder_blocks=blocks, frame_blocks=of_frames))
    other.encoder.load_state_dict(tiny.tokenizer.encoder.state_dict())
    other.quantizer.load_state_dict(tiny.tokenizer.quantizer.state_dict())
    save_tokenizer(other.half().float(), tmp_path / "other")
    assert main(["combine", str(tiny_folder), str(tmp_path / "other"), "-o", str(tmp_path / "combined")]) == 0
    assert "weights of decoder\n" in capsys.readouterr().out
    combined = Generator.from_pretrained(tmp_path / "combined")
    assert combined.config.tokenizer == other.config
    for name, weight in combined.tokenizer.state_dict().items():
        assert weight.equal(other.state_dict()[name]), name


def test_what_does_not_fit_is_refused(
    tiny: Generator, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tokenizer(VideoTokenizer(tiny.tokenizer.config), tmp_path / "stranger")
    for runs, complaint in (
        ([str(tmp_path / "stranger")], "has other codes than the model"),
        ([str(BUNDLED / "toybox")], "has other codes"),
        ([str(tmp_path / "nothing")], "nothing is no folder of a run"),
        ([], "name the runs"),
    ):
        assert main(["combine", str(tiny_folder), *runs, "-o", str(tmp_path / "combined")]) == 2
        assert complaint in capsys.readouterr().err
    assert not (tmp_path / "combined").exists()
