import json
import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kinetoken.training import loop
from kinetoken.training.batches import moved
from kinetoken.training.checkpoint import Checkpoint, load_checkpoint
from kinetoken.training.loop import train
from tests.training.toy import Toy, ToyBatch, ToyBatches, toy_config, train_toy


def loaded(run: Path) -> Checkpoint:
    checkpoint = load_checkpoint(run)
    assert checkpoint is not None
    return checkpoint


def losses(run: Path) -> list[tuple[int, float]]:
    lines = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


def assert_same(one: Path, other: Path) -> None:
    """Bit for bit: weights, buffers, average, optimizer, and every loss on the way."""
    for part in ("model", "average", "optimizer"):
        ours, theirs = getattr(loaded(one), part), getattr(loaded(other), part)
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert losses(one) == losses(other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty steps in one go."""
    run = tmp_path_factory.mktemp("whole")
    assert train_toy(run).finished
    return run


@pytest.mark.parametrize("workers", [(0, 0), (1, 1), (0, 2)])
def test_ten_steps_and_ten_more_are_twenty(tmp_path: Path, whole: Path, workers: tuple[int, int]) -> None:
    first = train_toy(tmp_path, data_workers=workers[0], stop_after_steps=10)
    assert (first.step, first.finished, first.interrupted) == (10, False, False)
    torch.rand(3)  # whoever uses global randomness in between does not matter
    second = train_toy(tmp_path, data_workers=workers[1])
    assert (second.step, second.finished) == (20, True)
    assert_same(tmp_path, whole)


def test_adamw_resumes_exactly_too(tmp_path: Path) -> None:
    train_toy(tmp_path / "whole", optimizer="adamw")
    for _ in range(2):
        train_toy(tmp_path / "halves", optimizer="adamw", stop_after_steps=10)
    assert_same(tmp_path / "whole", tmp_path / "halves")


def test_a_kill_between_checkpoints_repeats_the_steps_since(tmp_path: Path, whole: Path) -> None:
    class Killed(ToyBatches):
        def batch(self, step: int, rank: int, world: int) -> ToyBatch:
            if step == 13:
                raise KeyboardInterrupt
            return super().batch(step, rank, world)

    with pytest.raises(KeyboardInterrupt):
        train(Toy(), Killed(), toy_config(checkpoint_every_steps=5), tmp_path, clips_per_step=8)
    assert loaded(tmp_path).step == 10 and len(losses(tmp_path)) == 13
    train_toy(tmp_path)
    assert_same(tmp_path, whole)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_a_resume_goes_on(tmp_path: Path, whole: Path, kind: signal.Signals) -> None:
    class Interrupting(ToyBatches):
        def batch(self, step: int, rank: int, world: int) -> ToyBatch:
            if step == 7:
                os.kill(os.getpid(), kind)
            return super().batch(step, rank, world)

    before = signal.getsignal(kind)
    result = train(Toy(), Interrupting(), toy_config(), tmp_path, clips_per_step=8)
    assert (result.step, result.interrupted, result.finished) == (8, True, False)
    assert signal.getsignal(kind) is before
    assert loaded(tmp_path).step == 8
    train_toy(tmp_path)
    assert_same(tmp_path, whole)


@pytest.mark.parametrize("echo", [0.0, 60.0])
def test_the_second_ctrl_c_quits_unless_it_is_an_echo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, echo: float
) -> None:
    """Torchrun sends every process what the terminal has already sent to all of them."""
    monkeypatch.setattr(loop, "ECHO", echo)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is born deaf to it

    class Impatient(ToyBatches):
        def batch(self, step: int, rank: int, world: int) -> ToyBatch:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            return super().batch(step, rank, world)

    try:
        with nullcontext() if echo else pytest.raises(KeyboardInterrupt):
            assert train(Toy(), Impatient(), toy_config(), tmp_path, clips_per_step=8).interrupted
            assert loaded(tmp_path).step == 1
    finally:
        signal.signal(signal.SIGINT, before)


def test_data_workers_survive_a_ctrl_c_of_the_whole_terminal(tmp_path: Path) -> None:
    class Interrupting(ToyBatches):
        def batch(self, step: int, rank: int, world: int) -> ToyBatch:
            if step == 5:
                os.kill(os.getpid(), signal.SIGINT)  # the worker
                os.kill(os.getppid(), signal.SIGINT)
            return super().batch(step, rank, world)

    result = train(Toy(), Interrupting(), toy_config(total_steps=500, data_workers=1), tmp_path, clips_per_step=8)
    assert result.interrupted and loaded(tmp_path).step == result.step < 500


def test_stop_after_seconds_pauses(tmp_path: Path) -> None:
    result = train_toy(tmp_path, total_steps=10**6, stop_after_seconds=0.2, log_every=10**6)
    assert not result.interrupted and 0 < result.step == loaded(tmp_path).step < 10**6
    assert result.line["step"] == result.step and result.seconds > 0


def test_a_finished_run_is_left_as_it_is_and_can_be_extended(tmp_path: Path) -> None:
    train_toy(tmp_path, total_steps=5)
    assert train_toy(tmp_path, total_steps=5).finished
    assert train_toy(tmp_path, total_steps=8).step == 8
    assert [step for step, _ in losses(tmp_path)] == list(range(1, 9))


class Explosive(Toy):
    def forward(self, batch: ToyBatch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = super().forward(batch)
        return (loss / 0 if self.seen == 8 else loss), metrics


def test_a_loss_that_is_not_finite_stops_and_spares_the_checkpoint(tmp_path: Path) -> None:
    toy = Explosive()
    with pytest.raises(FloatingPointError, match="loss is inf at step 7"):
        train(toy, ToyBatches(), toy_config(checkpoint_every_steps=5), tmp_path, clips_per_step=8)
    assert loaded(tmp_path).step == 5
    assert all(weight.isfinite().all() for weight in toy.parameters())


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_it_learns_one_batch_by_heart(tmp_path: Path, optimizer: str) -> None:
    class OneBatch(ToyBatches):
        def batch(self, step: int, rank: int, world: int) -> ToyBatch:
            return super().batch(0, rank, world)

    config = toy_config(total_steps=150, learning_rate=0.02, adam_learning_rate=0.02, optimizer=optimizer)
    result = train(Toy(dropout=0.0), OneBatch(), config, tmp_path, clips_per_step=8)
    assert result.line["loss"] < 0.01


def test_samples_see_the_average_in_eval_mode_and_change_nothing(tmp_path: Path, whole: Path) -> None:
    seen = []

    def on_sample(objective: nn.Module, step: int, folder: Path) -> None:
        seen.append((step, objective.training, torch.is_grad_enabled(), objective.head.weight.clone()))
        torch.rand(5)
        (folder / f"{step}.txt").write_text("a sheet")

    toy = Toy()
    result = train_toy(tmp_path, toy=toy, sample_every=8, on_sample=on_sample)
    assert [entry[:3] for entry in seen] == [(8, False, False), (16, False, False), (20, False, False)]
    assert torch.equal(seen[-1][3], result.average.tensors["head.weight"])
    assert not torch.equal(seen[-1][3], toy.head.weight) and toy.training
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["16.txt", "20.txt", "8.txt"]
    assert_same(tmp_path, whole)


def test_a_sample_that_fails_costs_no_training(tmp_path: Path) -> None:
    def on_sample(objective: nn.Module, step: int, folder: Path) -> None:
        raise OSError("no space for the sheet")

    with pytest.raises(OSError, match="sheet"):
        train_toy(tmp_path, sample_every=6, on_sample=on_sample)
    assert loaded(tmp_path).step == 6


def test_a_line_says_how_fast_and_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "matmul_peak", lambda device, kind: 1e12)
    result = train_toy(tmp_path, log_every=10, flops_per_step=lambda batch: 1e3 * len(batch.vectors))
    assert [step for step, _ in losses(tmp_path)] == [10, 20]
    names = {"step", "loss", "error", "detour_loss", "gradient_norm", "learning_rate"}
    assert set(result.line) == names | {"clips_per_second", "share_of_peak", "seconds"}
    assert result.line["clips_per_second"] > 0 and 0 < result.line["share_of_peak"] < 1


def test_progress_without_a_terminal_is_a_line_now_and_then(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_toy(tmp_path / "toy")
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 and printed[0].startswith("toy  step 1/20  loss ") and "time left" in printed[0]


def test_mistakes_in_the_config_are_found_before_anything_is_done() -> None:
    with pytest.raises(ValueError, match="ema_decay"):
        toy_config(ema_decay=1.0)


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_toy(tmp_path, total_steps=2)
    old = loop.load_checkpoint(tmp_path)
    assert old is not None
    earlier = replace(old, config=old.config | {"compile": False})
    monkeypatch.setattr(loop, "load_checkpoint", lambda run: earlier)
    assert train_toy(tmp_path, total_steps=3).finished
    monkeypatch.setattr(loop, "load_checkpoint", lambda run: replace(earlier, config=old.config | {"later": 1}))
    with pytest.raises(ValueError, match="later"):
        train_toy(tmp_path, total_steps=3)


def test_weights_are_laid_as_gradients_lie(tmp_path: Path, whole: Path) -> None:
    """And that changes nothing."""
    toy = Toy()
    for weight in toy.parameters():
        weight.data = weight.data.T.contiguous().T if weight.ndim == 2 else weight.data
    train_toy(tmp_path, toy=toy)
    assert all(weight.is_contiguous() for weight in toy.parameters())
    assert_same(whole, tmp_path)


def test_batches_of_any_container_are_moved() -> None:
    tensor = torch.zeros(1)
    batch = {"a": [tensor, 3], "b": ToyBatch(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64), True), "c": "text"}
    found = moved(batch, torch.device("meta"))
    assert found["a"][0].is_meta and found["b"].vectors.is_meta and found["b"].detour and found["c"] == "text"
