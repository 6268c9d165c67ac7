import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from kinetoken.training import checkpoint as module
from kinetoken.training.checkpoint import (
    Checkpoint,
    export_checkpoint,
    fill,
    load_average,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
    trained_tensors,
)
from tests.training.toy import Toy, train_toy


def example(step: int = 1) -> Checkpoint:
    tensors = {"weight": torch.full((2, 3), float(step)), "count": torch.tensor(step)}
    config = {"total_steps": 9}
    return Checkpoint(step=step, seconds=0.5, config=config, model=tensors, average=tensors, optimizer=tensors)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# Weights


def test_weights_come_back_in_half_precision(tmp_path: Path) -> None:
    config = {"channels": 3, "quantizer.levels": [8, 5], "name": "toy", "rate": 0.5, "none": None}
    tied = torch.randn(3, 4)
    save_weights(tmp_path, config, {"a": tied, "b": tied, "view": tied.T, "count": torch.tensor(2**40)})
    found, tensors = load_weights(tmp_path)
    assert found == config
    assert torch.equal(tensors["b"], tied.half()) and torch.equal(tensors["view"], tied.T.half())
    assert tensors["count"] == 2**40
    assert json.loads((tmp_path / "config.json").read_text())["version"] == 1


def test_weights_of_another_format_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path, {"format": "kinetoken-tokenizer"}, {"a": torch.zeros(1)})
    assert load_weights(tmp_path, "kinetoken-tokenizer")[0] == {}
    with pytest.raises(ValueError, match="kinetoken-model"):
        load_weights(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_weights_that_are_not_finite_as_stored_are_refused_before_writing(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        save_weights(tmp_path / "new", {}, {"a": torch.tensor([value])})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("config", [{"nested": {"a": 1}}, {"version": 2}, {"list": [[1]]}])
def test_a_config_that_is_not_flat_is_refused(tmp_path: Path, config: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="flat"):
        save_weights(tmp_path, config, {})


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: damage(folder / "model.safetensors"), "damaged"),
        (lambda folder: damage(folder / "config.json"), "damaged"),
        (lambda folder: (folder / "model.safetensors").unlink(), "missing"),
        (lambda folder: (folder / "config.json").unlink(), "missing"),
        (lambda folder: edit(folder / "config.json", version=2), "version 2"),
        (lambda folder: edit(folder / "config.json", version=None), "version None"),
        (lambda folder: (folder / "config.json").write_text("[]"), "object"),
    ],
)
def test_weights_that_cannot_be_read_say_why(tmp_path: Path, harm, message: str) -> None:
    save_weights(tmp_path, {}, {"a": torch.zeros(4)})
    harm(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_weights(tmp_path)


# Runs


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    for step in (1, 20, 3):
        save_checkpoint(tmp_path, example(step))
    found = load_checkpoint(tmp_path)
    assert found is not None and found.step == 20 and found.config == {"total_steps": 9}
    assert torch.equal(found.optimizer["weight"], torch.full((2, 3), 20.0))
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_kill_while_saving_leaves_the_last_good_one(tmp_path: Path, writes: int, monkeypatch) -> None:
    save_checkpoint(tmp_path, example(1))
    left = iter(range(writes))

    def save_until_killed(tensors, path) -> None:
        if next(left, None) is None:
            Path(path).write_bytes(b"half a file")
            raise SystemExit
        save_file(tensors, path)

    save_file = module.save_file
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(module, "save_file", save_until_killed)
        save_checkpoint(tmp_path, example(2))
    found = load_checkpoint(tmp_path)
    assert found is not None and found.step == 1
    save_checkpoint(tmp_path, example(2))
    assert sorted(path.name[-1] for path in (tmp_path / "checkpoints").iterdir()) == ["1", "2"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: damage(folder / "optimizer.safetensors"), "damaged"),
        (lambda folder: (folder / "ema.safetensors").unlink(), "missing"),
        (lambda folder: damage(folder / "state.json"), "damaged"),
        (lambda folder: edit(folder / "state.json", version=99), "version 99"),
        (lambda folder: edit(folder / "state.json", colour="red"), "colour"),
    ],
)
def test_a_run_that_cannot_be_read_says_why(tmp_path: Path, harm, message: str) -> None:
    harm(save_checkpoint(tmp_path, example()))
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path)


def test_another_network_is_refused_before_anything_is_copied(tmp_path: Path) -> None:
    linear = nn.Linear(2, 2)
    before = linear.weight.clone()
    for tensors in ({"weight": torch.ones(2, 2)}, {"weight": torch.ones(2, 2), "bias": torch.ones(3)}):
        with pytest.raises(ValueError, match="bias"):
            fill(linear, tensors, tmp_path)
    assert torch.equal(linear.weight, before)


def test_frozen_weights_are_not_saved_and_tied_ones_once() -> None:
    network = nn.ModuleDict({"a": nn.Linear(2, 2), "tied": nn.Linear(2, 2), "frozen": nn.Linear(2, 2)})
    network["tied"].weight = network["a"].weight
    network["frozen"].requires_grad_(False)
    assert set(trained_tensors(network)) == {"a.weight", "a.bias", "tied.bias"}


def test_an_exported_run_goes_on_nearly_as_before(tmp_path: Path) -> None:
    train_toy(tmp_path / "run", stop_after_steps=10)
    export_checkpoint(tmp_path / "run", tmp_path / "half")
    sizes = [sum(f.stat().st_size for f in (tmp_path / name).rglob("*.safetensors")) for name in ("run", "half")]
    assert sizes[1] < 0.75 * sizes[0]
    losses = [train_toy(tmp_path / name, stop_after_steps=1).line["loss"] for name in ("run", "half")]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    with pytest.raises(ValueError, match="empty folder"):
        export_checkpoint(tmp_path / "run", tmp_path / "half")


def test_the_average_of_a_run_can_be_loaded(tmp_path: Path) -> None:
    result = train_toy(tmp_path, stop_after_steps=3)
    toy = Toy()
    assert load_average(toy, tmp_path) == 3
    assert all(torch.equal(toy.get_parameter(name), tensor) for name, tensor in result.average.tensors.items())
    assert toy.seen == 3
    with pytest.raises(ValueError, match="no checkpoint"):
        load_average(toy, tmp_path / "nowhere")


def test_a_config_with_an_unknown_key_is_a_newer_version(tmp_path: Path) -> None:
    train_toy(tmp_path, stop_after_steps=1)
    found = load_checkpoint(tmp_path)
    assert found is not None
    save_checkpoint(tmp_path, replace(found, step=2, config={**found.config, "flavour": 1}))
    with pytest.raises(ValueError, match="flavour"):
        train_toy(tmp_path)
