import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kinetoken.training.checkpoint import load_checkpoint
from tests.training.toy import Toy, train_toy

ROOT = Path(__file__).parents[2]


def losses(run: Path) -> list[float]:
    return [json.loads(text)["loss"] for text in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_under_torchrun_are_one_with_the_same_batch(tmp_path: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tests.training.toy"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *torchrun, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    train_toy(tmp_path / "one", toy=Toy(dropout=0.0))
    assert losses(tmp_path / "alike") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    two, one = load_checkpoint(tmp_path / "alike"), load_checkpoint(tmp_path / "one")
    assert two is not None and one is not None and two.step == one.step == 20
    for name in one.average:
        torch.testing.assert_close(two.average[name], one.average[name], rtol=1e-3, atol=1e-4)
    for name in ("mixed", "part"):  # ranks that use different layers in the same step, or none that learns
        assert len(losses(tmp_path / name)) == 20
