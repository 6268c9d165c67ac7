import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kinetoken.apps.cli import main
from kinetoken.apps.doctor import _one_clip, overfit_network, overfit_tokenizer
from kinetoken.apps.train import Command, _begun_network, load_tokenizer, train_network, train_tokenizer
from kinetoken.data.toybox_layout import LOOKS
from kinetoken.generator import Generator
from kinetoken.recipes import tokenizer as tokenizers
from kinetoken.recipes.network import NetworkRecipe, debug, painting, planning, telling


def _weights(run: Path) -> dict[str, torch.Tensor]:
    newest = max((run / "checkpoints").iterdir())
    return load_file(newest / "model.safetensors") | {
        f"average.{name}": tensor for name, tensor in load_file(newest / "ema.safetensors").items()
    }


def _train(*arguments: str) -> None:
    assert main(["train", *arguments, "--recipe", "debug"]) == 0


def test_from_nothing_to_a_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real commands: train a tokenizer, go on with it, train a network on its codes (twice: the same), generate."""
    run = tmp_path / "tokenizer"
    for steps in ("2", "4"):
        _train("tokenizer", "--run", str(run), "--steps", steps)
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [2, 4]

    first, second = tmp_path / "first", tmp_path / "second"
    _train("network", "--run", str(first), "--tokenizer", str(run), "--steps", "3")
    _train("network", "--run", str(second), "--tokenizer", str(run), "--steps", "3")
    for name, tensor in _weights(first).items():
        assert (tensor == _weights(second)[name]).all(), name
    assert (first / "samples").exists()
    lines = [json.loads(line) for line in (first / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "code_loss", "word_loss", "clips_per_second"} <= lines[-1].keys()

    third = tmp_path / "third"
    _train(
        *("network", "--run", str(third), "--tokenizer", str(run), "--steps", "1", "--from", str(first / "model")),
    )
    begun, gone_on = (Generator.from_pretrained(folder / "model").network.state_dict() for folder in (first, third))
    moved = max(float((gone_on[name] - begun[name]).abs().max()) for name in begun)
    assert 0 < moved < 0.05

    capsys.readouterr()
    picture = tmp_path / "clip.png"
    assert main(["generate", "a red ball", "-o", str(picture), "--model", str(first / "model"), "--steps", "2"]) == 0
    assert picture.exists()


def test_a_part_is_trained_and_nothing_else(tmp_path: Path) -> None:
    """On the tokens that are there already."""
    tokenizer, first, second = (tmp_path / name for name in ("tokenizer", "first", "second"))
    _train("tokenizer", "--run", str(tokenizer), "--steps", "1")
    _train("network", "--run", str(first), "--tokenizer", str(tokenizer), "--steps", "1")
    recipe = replace(debug(), parts=("things_out", "code_out"))
    made = len(list((first / "tokens").iterdir()))
    train_network(recipe, tokenizer, second, start=str(first / "model"), tokens_folder=first / "tokens")
    assert not (second / "tokens").exists() and len(list((first / "tokens").iterdir())) == made
    before, after = (Generator.from_pretrained(run / "model").network.state_dict() for run in (first, second))
    moved = {name for name in before if not before[name].equal(after[name])}
    assert moved and all(name.startswith(recipe.parts) for name in moved)
    assert {"code_out.weight", "things_out.enter.weight"} <= moved
    with pytest.raises(ValueError, match="--from"):
        train_network(recipe, tokenizer, tmp_path / "third")


def test_a_decoder_is_trained_and_codes_stay(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    _train("tokenizer", "--run", str(first), "--steps", "1", "--quantizer", "mosaic")
    train_tokenizer(replace(tokenizers.debug(), parts=tokenizers.decoding().parts), second, start=first)
    before, after = (load_tokenizer(run).state_dict() for run in (first, second))
    moved = {name for name in before if not before[name].equal(after[name])}
    assert moved and all(name.startswith("decoder") for name in moved)

    deeper = replace(tokenizers.debug(), parts=("decoder",), deepens=True)
    deeper = replace(deeper, tokenizer=replace(deeper.tokenizer, decoder_blocks=2))
    train_tokenizer(deeper, tmp_path / "deeper", start=first)
    assert load_tokenizer(tmp_path / "deeper").config.decoder_blocks == 2

    _train("tokenizer", "--run", str(tmp_path / "double"), "--steps", "1", "--from", str(second), "--double")
    assert load_tokenizer(tmp_path / "double").config.cell.height == 8


@pytest.mark.parametrize("recipe", [painting(), planning(), telling()])
def test_recipes_of_parts_name_parts_that_there_are(recipe: NetworkRecipe) -> None:
    names = [name for name, _ in Generator.from_pretrained("toybox").network.named_parameters()]
    assert recipe.parts and all(any(name.startswith(part) for name in names) for part in recipe.parts)


def test_doctor_learns_one_clip_by_heart() -> None:
    """A model that cannot overfit one clip has a bug."""
    tokenizer, quality, _ = overfit_tokenizer(_one_clip(), torch.device("cpu"))
    assert quality > 30
    share, _ = overfit_network(tokenizer, _one_clip(), torch.device("cpu"))
    assert share == 1.0


@pytest.mark.parametrize(
    ("model", "prompt", "side"),
    [("toybox", "a green star grows on a navy background", 64), ("emoji", "crying face on a blue background", 128)],
)
def test_the_bundled_models_are_whole_and_small(model: str, prompt: str, side: int) -> None:
    """They show something, on the ground that was asked for."""
    folder = Path(__file__).parents[2] / "kinetoken/weights" / model
    assert sum(path.stat().st_size for path in folder.iterdir()) < 40e6
    clip = Generator.from_pretrained(model).generate(prompt, seed=3)
    assert clip.frames.shape == (17, side, side, 3) and clip.frames.std() > 5
    red, _, blue = np.moveaxis(clip.frames[:, :4, :4].astype(int), -1, 0)
    assert (blue - red).min() > 20


def test_layouts_come_with_toybox_and_go_with_own_clips(
    tiny: Generator, tiny_mosaic: Generator, tmp_path: Path
) -> None:
    """Nobody tells the layouts of own clips; what the transformer has learned stays."""
    for begun, data, looks in ((tiny, None, LOOKS), (tiny_mosaic, tmp_path, ()), (tiny_mosaic, None, LOOKS)):
        network, _ = _begun_network(begun, begun.tokenizer, data)
        assert network.config.looks == looks
        weights, before = network.state_dict(), begun.network.state_dict()
        kept = [name for name in weights if name.startswith("layers.") and ".tuning." not in name]
        assert kept and all((weights[name] == before[name]).all() for name in kept)
        assert any(name.startswith("things_") for name in weights) == bool(looks)


def test_a_tokenizer_is_of_the_kind_that_was_asked_for(tmp_path: Path) -> None:
    _train("tokenizer", "--run", str(tmp_path / "run"), "--steps", "1", "--quantizer", "mosaic")
    tokenizer = load_tokenizer(tmp_path / "run")
    assert (tokenizer.config.quantizer.kind, tokenizer.config.cell.square) == ("mosaic", 2)
    assert tokenizer.quantizer.palette.std(1).max() > 0.1  # not grey any more: chosen from clips

    _train("network", "--run", str(tmp_path / "network"), "--tokenizer", str(tmp_path / "run"), "--steps", "1")
    network = Generator.from_pretrained(tmp_path / "network" / "model").network
    whole = load_tokenizer(tmp_path / "network")
    assert (whole.quantizer.bytes == tokenizer.quantizer.bytes).all()

    words, again = tmp_path / "words", tmp_path / "again"
    _train("tokenizer", "--run", str(tmp_path / "learned"), "--steps", "1")
    for run in (words, again):
        _train(
            *("network", "--run", str(run), "--tokenizer", str(tmp_path / "learned"), "--steps", "1"),
            *("--from", str(tmp_path / "network" / "model")),
        )
    for name, tensor in _weights(words).items():
        assert (tensor == _weights(again)[name]).all(), name
    other = Generator.from_pretrained(words / "model").network
    assert other.config.visual_codes == 1000 and network.config.visual_codes == 1944
    near = (other.layers[0].query_key_value.weight - network.layers[0].query_key_value.weight).abs().max()
    assert near < 0.05


def test_rates_are_multiplied(tmp_path: Path) -> None:
    usual, slower = (Command(what="network", run=tmp_path, rate=rate)._changed(debug()).training for rate in (1.0, 0.1))
    assert slower.learning_rate == pytest.approx(0.1 * usual.learning_rate)
    assert slower.adam_learning_rate == pytest.approx(0.1 * usual.adam_learning_rate)


def test_kinds_and_recipes_that_do_not_fit_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, why in (
        (("network", "--tokenizer", "t", "--quantizer", "mosaic"), "new tokenizer"),
        (("tokenizer", "--from", "t", "--quantizer", "mosaic"), "new tokenizer"),
        (("tokenizer", "--recipe", "pictures"), "no recipe pictures"),
        (("network", "--tokenizer", "t", "--recipe", "painting"), "--from"),
        (("tokenizer", "--recipe", "decoding"), "--from"),
        (("tokenizer", "--double"), "--from"),
        (("network", "--data", "d", "--tokens", "t"), "tokens of its own"),
        (("tokenizer", "--rate", "0"), "--rate must be more than 0"),
    ):
        assert main(["train", *wrong, "--run", str(tmp_path / "run")]) == 2
        assert why in capsys.readouterr().err
