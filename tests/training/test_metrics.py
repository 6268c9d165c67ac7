import json
from pathlib import Path

import pytest
import torch

from kinetoken.training import metrics
from kinetoken.training.metrics import Meter, MetricsWriter, alarm, matmul_peak, means


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (path / "metrics.jsonl").read_text().splitlines()]


def write(path: Path, resumed_step: int, *numbers: int) -> None:
    writer = MetricsWriter(path, resumed_step=resumed_step, tensorboard=False)
    for number in numbers:
        writer.write({"step": number, "loss": 1.0})
    writer.close()


def test_lines_past_the_resumed_step_are_dropped(tmp_path: Path) -> None:
    write(tmp_path, 0, 1, 2, 3, 4)
    write(tmp_path, 2, 3)
    assert steps(tmp_path) == [1, 2, 3]


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    write(tmp_path, 0, 1, 2)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    write(tmp_path, 5, 6)
    assert steps(tmp_path) == [1, 2, 6]


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, resumed_step=0, tensorboard=False)
    writer.write({"step": 1, "psnr": float("inf")})
    writer.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "psnr": None}


def test_tensorboard_gets_the_same(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    writer = MetricsWriter(tmp_path, resumed_step=0, tensorboard=True)
    writer.write({"step": 1, "loss": 2.0})
    writer.close()
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_a_metric_is_averaged_over_the_steps_and_processes_that_had_it() -> None:
    first, second = Meter(), Meter()
    first.add({"loss": torch.tensor(1.0), "words": torch.tensor(5.0)})
    first.add({"loss": torch.tensor(3.0)})
    second.add({"loss": torch.tensor(8.0)})
    first.count(clips=4)
    first.count(clips=2)
    assert means([first.sums(), second.sums()]) == {"loss": 4.0, "words": 5.0}
    assert first.sums().totals == {"clips": 6}


def test_the_alarm_says_at_which_step() -> None:
    alarm(7, torch.tensor(1.0), torch.tensor(2.0))
    with pytest.raises(FloatingPointError, match="loss is nan at step 7"):
        alarm(7, torch.tensor(float("nan")), torch.tensor(2.0))
    with pytest.raises(FloatingPointError, match="gradient is inf"):
        alarm(7, torch.tensor(1.0), torch.tensor(float("inf")))


def test_the_peak_is_a_positive_speed() -> None:
    assert matmul_peak(torch.device("cpu"), size=128) > 1e6


@pytest.mark.parametrize(
    ("instructions", "half", "worth_it"), [(False, 9.0, False), (True, 9.0, True), (True, 4.0, False)]
)
def test_bfloat16_must_be_faster(
    monkeypatch: pytest.MonkeyPatch, instructions: bool, half: float, worth_it: bool
) -> None:
    """A processor may have the instructions and be slower by them."""
    speeds = {torch.bfloat16: half, torch.float32: 4.0}
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr(metrics, "matmul_peak", lambda device, kind, size: speeds[kind])
    assert metrics.multiplies_in_bfloat16.__wrapped__(torch.device("cpu")) is worth_it
