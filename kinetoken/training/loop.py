"""train: the one loop, for everything that is trained.

Data, randomness and learning rate are functions of the step. A run that is stopped and resumed therefore goes on bit
for bit as if it had never stopped, with any number of data workers (on the same machine and number of processes).
"""

import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from kinetoken.training.checkpoint import (
    Checkpoint,
    config_from,
    fill,
    load_checkpoint,
    save_checkpoint,
    trained_tensors,
)
from kinetoken.training.distributed import Group, joined_group
from kinetoken.training.metrics import Line, Meter, MetricsWriter, check_tensorboard, matmul_peak, merged_means
from kinetoken.training.optimizer import Optimizer
from kinetoken.training.progress import Progress
from kinetoken.training.schedule import learning_rate_scale
from kinetoken.training.weight_average import WeightAverage

Amount = float | Callable[[Any], float]
"""A number for each step of the whole group, or a function of this process's batch, summed over the group."""


@runtime_checkable
class Batches(Protocol):
    """Data as a pure function of the step: that is what makes resuming exact and workers trivial."""

    def batch(self, step: int, rank: int, world: int) -> Any:
        """The rank's equal share of the step's global batch, on the CPU: a tensor, or a dict, list, tuple, NamedTuple
        or dataclass of tensors. Shapes may differ from step to step. Randomness comes from the step and own seeds."""
        ...


@runtime_checkable
class Objective(Protocol):
    """What is minimised; an nn.Module. It may also say `adamw_parameters()`, see `Optimizer`."""

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """(the scalar loss, a mean over this rank's samples; scalar metrics to log)."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """All of it may be changed when a run resumes. In particular total_steps may grow or shrink: the learning rate is
    computed anew from the config in force, so a run that had come down goes up again.

    learning_rate: Muon's; adam_learning_rate: that of embeddings, norms, biases and heads, and of everything if
    optimizer is "adamw". decay: the last share of the run, in which the learning rate comes down. gradient_clip: largest
    norm of all gradients together. log_every, sample_every, checkpoint_every_steps: in steps; 0 is never (the end and
    every stop are always saved). data_workers: processes that prepare batches; 0 prepares them here. device: None is
    CUDA if there is one, else the CPU.
    """

    total_steps: int
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: float = 1e-3
    adam_learning_rate: float = 1e-3
    warmup_steps: int = 100
    decay: float = 0.4
    decay_shape: Literal["linear", "cosine"] = "linear"
    weight_decay: float = 0.1
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    checkpoint_every_seconds: float = 600.0
    checkpoint_every_steps: int = 0
    log_every: int = 20
    sample_every: int = 0
    seed: int = 0
    data_workers: int = 1
    compile: bool = False
    tensorboard: bool = False
    device: str | None = None

    def __post_init__(self) -> None:
        checks = {
            "total_steps >= 1": self.total_steps >= 1,
            "optimizer is muon or adamw": self.optimizer in ("muon", "adamw"),
            "decay_shape is linear or cosine": self.decay_shape in ("linear", "cosine"),
            "0 <= decay <= 1": 0 <= self.decay <= 1,
            "0 <= ema_decay < 1": 0 <= self.ema_decay < 1,
            "gradient_clip > 0": self.gradient_clip > 0,
            "learning rates > 0": min(self.learning_rate, self.adam_learning_rate) > 0,
            "counts >= 0": min(self.warmup_steps, self.log_every, self.sample_every, self.data_workers) >= 0,
            "checkpoint intervals >= 0": min(self.checkpoint_every_seconds, self.checkpoint_every_steps) >= 0,
        }
        if broken := [rule for rule, holds in checks.items() if not holds]:
            raise ValueError(f"a training config needs {' and '.join(broken)}, found {self}")


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """step: steps done in all; seconds: spent in all, over every resumption; interrupted: by a signal; line: the newest
    metrics. `with result.average.swapped_in():` the objective holds its averaged weights, e.g. to save them."""

    step: int
    seconds: float
    finished: bool
    interrupted: bool
    line: Line
    average: WeightAverage


def train(
    objective: nn.Module,
    batches: Batches,
    config: TrainingConfig,
    run: Path,
    *,
    clips_per_step: Amount,
    flops_per_step: Amount | None = None,
    on_sample: Callable[[nn.Module, int, Path], None] | None = None,
    stop_after_steps: int | None = None,
    stop_after_seconds: float | None = None,
) -> TrainingResult:
    """Train `objective`, in place, until config.total_steps, resuming if `run` holds a checkpoint.

    on_sample(objective, step, folder) is called every config.sample_every steps and at the end, with the averaged
    weights in place, in eval mode, without gradients; the folder is run/samples. flops_per_step: of forward and backward,
    for the share of the machine's matmul peak. stop_after_steps and stop_after_seconds pause this call: it saves and
    returns, and the same call later goes on. Ctrl-C and SIGTERM do so too, after the step at hand; a second one quits.

    Raises: ValueError if the checkpoint is damaged or another network's; FloatingPointError if the loss or the gradient
    is not finite, in which case nothing is saved over the last good checkpoint.
    """
    if config.tensorboard:
        check_tensorboard()
    with joined_group(config.device) as (group, device), _Wish() as wish:
        state = _resumed(objective.to(device), config, run)
        trainer = _Trainer(state, batches, config, run, group, device, clips_per_step, flops_per_step, on_sample)
        last = config.total_steps if stop_after_steps is None else state.step + stop_after_steps
        deadline = float("inf") if stop_after_seconds is None else monotonic() + stop_after_seconds
        trainer.run_until(min(last, config.total_steps), deadline, wish)
        return TrainingResult(
            step=state.step,
            seconds=state.seconds,
            finished=state.step >= config.total_steps,
            interrupted=wish.made and state.step < config.total_steps,
            line=trainer.line,
            average=state.average,
        )


@dataclass(kw_only=True)
class _State:
    """What changes in a run, and is saved."""

    objective: nn.Module
    optimizer: Optimizer
    average: WeightAverage
    step: int = 0
    seconds: float = 0.0


def _resumed(objective: nn.Module, config: TrainingConfig, run: Path) -> _State:
    """The state a run was left in, or a new one."""
    optimizer = Optimizer(
        objective,
        learning_rate=config.learning_rate,
        adam_learning_rate=config.adam_learning_rate,
        weight_decay=config.weight_decay,
        use_muon=config.optimizer == "muon",
    )
    state = _State(objective=objective, optimizer=optimizer, average=WeightAverage(objective, config.ema_decay))
    if (saved := load_checkpoint(run)) is None:
        return state
    config_from(TrainingConfig, saved.config, run)  # an unknown key is a newer kinetoken's
    fill(objective, saved.model, run)
    optimizer.load_state(saved.optimizer)
    state.average.load(saved.average)
    state.step, state.seconds = saved.step, saved.seconds
    return state


class _Trainer:
    def __init__(
        self,
        state: _State,
        batches: Batches,
        config: TrainingConfig,
        run: Path,
        group: Group,
        device: torch.device,
        clips_per_step: Amount,
        flops_per_step: Amount | None,
        on_sample: Callable[[nn.Module, int, Path], None] | None,
    ) -> None:
        self.state, self.batches, self.config, self.run = state, batches, config, run
        self.group, self.device = group, device
        self.clips_per_step, self.flops_per_step, self.on_sample = clips_per_step, flops_per_step, on_sample
        self.peak = 0.0 if flops_per_step is None else matmul_peak(device) * group.world
        self.meter, self.line = Meter(), Line()
        self.parameters = [weight for weight in state.objective.parameters() if weight.requires_grad]
        if config.compile:
            state.objective.compile()
        self.network: nn.Module = state.objective
        if group.world > 1:  # tasks differ from batch to batch, so some weights may go unused
            self.network = DistributedDataParallel(state.objective, find_unused_parameters=True)

    def run_until(self, last: int, deadline: float, wish: "_Wish") -> None:
        state, config = self.state, self.config
        if state.step >= last:
            return
        if self.group.leads:
            self.run.mkdir(parents=True, exist_ok=True)
        progress = Progress(self.run.name, step=state.step, total_steps=config.total_steps)
        writer = (
            MetricsWriter(self.run, resumed_step=state.step, tensorboard=config.tensorboard)
            if self.group.leads
            else None
        )
        state.objective.train()
        saved = tick = monotonic()
        shown = progress.shown() if self.group.leads else _nothing()
        try:
            with shown:
                for batch in _stream(self.batches, range(state.step, last), config, self.group):
                    self._step(moved(batch, self.device))
                    tock = monotonic()
                    state.seconds += tock - tick
                    self.meter.add({}, seconds=tock - tick)
                    stop = state.step == last or self.group.any(wish.made or tock > deadline, self.device)
                    line = self._log() if stop or _due(state.step, config.log_every) else None
                    if self.group.leads:
                        if line is not None and writer is not None:
                            writer.write(line)
                        progress.update(state.step, line)
                        if (
                            stop
                            or _due(state.step, config.checkpoint_every_steps)
                            or (0 < config.checkpoint_every_seconds <= tock - saved)
                        ):
                            self._save()
                            saved = tock
                        if _due(state.step, config.sample_every) or state.step == config.total_steps:
                            self._sample()
                    tick = tock
                    if stop:
                        break
        finally:
            if writer is not None:
                writer.close()

    def _step(self, batch: Any) -> None:
        state, config = self.state, self.config
        _seed(config.seed, 0, state.step, self.group.rank)
        scale = learning_rate_scale(
            state.step,
            total_steps=config.total_steps,
            warmup_steps=config.warmup_steps,
            decay=config.decay,
            decay_shape=config.decay_shape,
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss, metrics = self.network(batch)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, config.gradient_clip)
        alarm(state.step, self.group.mean(loss), norm)
        state.optimizer.step(scale)
        state.optimizer.zero_gradients()
        state.average.update(state.step)
        state.step += 1
        self.meter.add(
            {**metrics, "loss": loss, "gradient_norm": norm},
            clips=_amount(self.clips_per_step, batch, self.group),
            flops=_amount(self.flops_per_step or 0.0, batch, self.group),
        )
        self.learning_rate = scale * (config.learning_rate if state.optimizer.muon else config.adam_learning_rate)

    def _log(self) -> Line:
        """Means since the last line, over all processes."""
        sums, totals = self.meter.take()
        parts = self.group.gather((sums, totals))
        means = merged_means([part for part, _ in parts])
        seconds = totals["seconds"]
        speed = {"clips_per_second": sum(total["clips"] for _, total in parts) / seconds}
        if self.peak:
            speed["share_of_peak"] = sum(total["flops"] for _, total in parts) / seconds / self.peak
        first = {"step": self.state.step, "loss": means.pop("loss")}
        self.line = {**first, **means, "learning_rate": self.learning_rate, **speed, "seconds": self.state.seconds}
        return self.line

    def _save(self) -> None:
        state = self.state
        save_checkpoint(
            self.run,
            Checkpoint(
                step=state.step,
                seconds=state.seconds,
                config=asdict(self.config),
                model=trained_tensors(state.objective),
                average=state.average.tensors,
                optimizer=state.optimizer.state(),
            ),
        )

    def _sample(self) -> None:
        """A sampler that fails must not cost the training since the last checkpoint."""
        if self.on_sample is None:
            return
        folder = self.run / "samples"
        folder.mkdir(exist_ok=True)
        objective = self.state.objective.eval()
        try:
            with self.state.average.swapped_in(), torch.no_grad():
                self.on_sample(objective, self.state.step, folder)
        except Exception:
            self._save()
            raise
        finally:
            objective.train()


def alarm(step: int, loss: Tensor, gradient_norm: Tensor) -> None:
    """Raises: FloatingPointError if either is not finite; all processes see the same values, so all stop."""
    for name, value in {"loss": float(loss), "norm of the gradient": float(gradient_norm)}.items():
        if not np.isfinite(value):
            raise FloatingPointError(
                f"the {name} is {value} at step {step}: training stopped and the last checkpoint was left as it is. "
                f"Look at batch({step}, …), or resume with a lower learning rate"
            )


# Data


class _Steps(Dataset[Any]):
    """Batches by step, as a data worker sees them: one thread, so that sums are the same in a worker and outside."""

    def __init__(self, batches: Batches, seed: int, group: Group) -> None:
        self.batches, self.seed, self.group = batches, seed, group

    def __getitem__(self, step: int) -> Any:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            _seed(self.seed, 1, step, self.group.rank)
            return self.batches.batch(step, self.group.rank, self.group.world)
        finally:
            torch.set_num_threads(threads)


def _stream(batches: Batches, steps: range, config: TrainingConfig, group: Group) -> Iterator[Any]:
    loader = DataLoader(
        _Steps(batches, config.seed, group),
        batch_size=None,
        sampler=steps,
        num_workers=config.data_workers,
        collate_fn=_as_it_is,
        worker_init_fn=_deaf,
    )
    yield from loader


def _as_it_is(batch: Any) -> Any:
    return batch


def _deaf(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; workers leave it to the one that trains, which ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def moved(batch: Any, device: torch.device) -> Any:
    """The batch on a device; what holds no tensors stays as it is."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: moved(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(moved(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(moved(value, device) for value in batch)
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{f.name: moved(getattr(batch, f.name), device) for f in fields(batch) if f.init})
    return batch


def _seed(*numbers: int) -> None:
    """Global randomness (dropout, and whatever a library draws) as a function of the step."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


# Small things


class _Wish:
    """The wish to stop, made by Ctrl-C or SIGTERM. The second of a kind does what it would have done without us."""

    def __init__(self) -> None:
        self.made = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Wish":
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            self._before = {kind: signal.signal(kind, self._note) for kind in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, kind: int, frame: FrameType | None) -> None:
        self.made = True
        signal.signal(kind, self._before[kind] or signal.SIG_DFL)

    def __exit__(self, *error: object) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler or signal.SIG_DFL)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _amount(amount: Amount, batch: Any, group: Group) -> float:
    """This process's share."""
    return float(amount(batch)) if callable(amount) else amount / group.world
