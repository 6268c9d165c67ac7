"""train: the one loop, for everything that is trained.

Data, randomness and learning rate are functions of the step. A run that is stopped and resumed therefore goes on bit
for bit as if it had never stopped, with any number of data workers (on the same machine and number of processes).
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, Final, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kinetoken.config import from_flat, to_flat
from kinetoken.training.batches import Batches, moved, seed_step, stream
from kinetoken.training.checkpoint import Checkpoint, fill, load_checkpoint, save_checkpoint, trained_tensors
from kinetoken.training.distributed import Group, join_group
from kinetoken.training.metrics import (
    Line,
    Meter,
    MetricsWriter,
    Number,
    alarm,
    check_tensorboard,
    matmul_peak,
    means,
    multiplies_in_bfloat16,
)
from kinetoken.training.optimizer import Optimizer
from kinetoken.training.progress import Progress
from kinetoken.training.schedule import learning_rate_scale
from kinetoken.training.weight_average import WeightAverage

Amount = Number | Callable[[Any], Number]
"""A number for each step of the whole group, or a function of one process's batch, to be summed over the group."""

ECHO: Final = 1.0
"""Seconds within which a second wish to stop is the first one, heard again."""

RETIRED: Final = ("compile",)
"""What runs of earlier versions have in their configs."""

OnSample = Callable[[nn.Module, int, Path], None]


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
    optimizer is "adamw". decay: the last share of the run, in which the learning rate comes down. gradient_clip: the
    largest norm of all gradients together. log_every, sample_every, checkpoint_every_steps: in steps; 0 is never (the
    end and every stop are always saved). data_workers: processes that prepare batches; 0 prepares them here. device:
    None is CUDA if there is one, else the CPU. bfloat16: whether matrix products are (weights and optimizer stay fp32);
    None is wherever the device has instructions for them.
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
    bfloat16: bool | None = None
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
    """step: steps done in all; seconds: spent in steps, over every resumption; interrupted: by a signal; leads: whether
    this is the process of its group that writes; line: the newest metrics. `with result.average.swapped_in():` the
    objective holds its averaged weights, e.g. to save them."""

    step: int
    seconds: float
    finished: bool
    interrupted: bool
    leads: bool
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
    on_sample: OnSample | None = None,
    on_line: Callable[[Line], str | None] | None = None,
    stop_after_steps: int | None = None,
    stop_after_seconds: Number | None = None,
) -> TrainingResult:
    """Train `objective`, in place, until config.total_steps, resuming if `run` holds a checkpoint.

    on_sample(objective, step, folder) is called every config.sample_every steps and at the end, with the averaged
    weights in place, in eval mode, without gradients; the folder is run/samples. on_line(metrics) may return a
    warning, which is shown. flops_per_step: of forward and backward, for the share of the machine's matmul peak.
    stop_after_steps and stop_after_seconds pause this call: it saves and returns, and the same call later goes on.
    Ctrl-C and SIGTERM do so too, after the step at hand; a second one quits.

    Raises: ValueError if the checkpoint is damaged or another network's; FloatingPointError if the loss or the gradient
    is not finite, in which case nothing is saved over the last good checkpoint.
    """
    if config.tensorboard:
        check_tensorboard()
    deadline = float("inf") if stop_after_seconds is None else monotonic() + stop_after_seconds
    group, device = join_group(config.device)
    with _Wish() as wish:
        half = multiplies_in_bfloat16(device) if config.bfloat16 is None else config.bfloat16
        state = _resumed(objective.to(device), config, run, half, group)
        last = config.total_steps if stop_after_steps is None else state.step + stop_after_steps
        trainer = _Trainer(state, batches, config, group, device, clips_per_step, flops_per_step)
        trainer.run_until(
            min(last, config.total_steps),
            stop=lambda: group.any(wish.made or monotonic() > deadline, device),
            desk=_Desk(state, config, run, on_sample, on_line) if group.leads else None,
        )
        finished = state.step >= config.total_steps
        return TrainingResult(
            step=state.step,
            seconds=state.seconds,
            finished=finished,
            interrupted=group.any(wish.made, device) and not finished,
            leads=group.leads,
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


def _resumed(objective: nn.Module, config: TrainingConfig, run: Path, half: bool, group: Group) -> _State:
    """The state a run was left in, or a new one. Weights of a model that was loaded to sample lie as its products read
    them; gradients would have to be copied to lie like that."""
    for weight in objective.parameters():
        weight.data = weight.data.contiguous()
    optimizer = Optimizer(
        objective,
        learning_rate=config.learning_rate,
        adam_learning_rate=config.adam_learning_rate,
        weight_decay=config.weight_decay,
        use_muon=config.optimizer == "muon",
        bfloat16=half,
        group=group,
    )
    state = _State(objective=objective, optimizer=optimizer, average=WeightAverage(objective, config.ema_decay))
    if (saved := load_checkpoint(run)) is not None:
        record = {key: value for key, value in saved.config.items() if key not in RETIRED}
        from_flat(TrainingConfig, record)  # only a record, but an unknown key means a newer version
        fill(objective, saved.model, run)
        optimizer.load_state(saved.optimizer)
        state.average.load(saved.average)
        state.step, state.seconds = saved.step, saved.seconds
    return state


class _Answering(nn.Module):
    """An objective whose loss always hangs on a weight, if only by nothing: where a batch asks nothing of the parts
    that learn, the other processes would wait for this one's gradients for ever."""

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective
        self.smallest = min((w for w in objective.parameters() if w.requires_grad), key=torch.numel)

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = self.objective(batch)
        return loss + 0 * self.smallest.sum(), metrics


class _Trainer:
    """What every process does: steps."""

    def __init__(
        self,
        state: _State,
        batches: Batches,
        config: TrainingConfig,
        group: Group,
        device: torch.device,
        clips_per_step: Amount,
        flops_per_step: Amount | None,
    ) -> None:
        self.state, self.batches, self.config, self.group, self.device = state, batches, config, group, device
        self.clips_per_step, self.flops_per_step = clips_per_step, flops_per_step
        self.half = state.optimizer.bfloat16
        kind = torch.bfloat16 if self.half else torch.float32
        self.peak = 0.0 if flops_per_step is None else matmul_peak(device, kind) * group.world
        self.meter, self.line, self.scale = Meter(), Line(), 1.0
        self.parameters = [weight for weight in state.objective.parameters() if weight.requires_grad]
        self.network: nn.Module = state.objective
        if group.world > 1:  # tasks differ from batch to batch, so some weights may go unused
            self.network = DistributedDataParallel(_Answering(state.objective), find_unused_parameters=True)

    def run_until(self, last: int, stop: Callable[[], bool], desk: "_Desk | None") -> None:
        """Steps until `last`, or until `stop` says so; `desk` is rank 0's."""
        state, config, group = self.state, self.config, self.group
        steps = range(state.step, last)
        if not steps:
            return
        state.objective.train()
        incoming = stream(
            self.batches, steps, rank=group.rank, world=group.world, seed=config.seed, workers=config.data_workers
        )
        with closing(incoming), _shown(desk):
            start = monotonic()
            for batch in incoming:
                self._step(moved(batch, self.device))
                seconds = monotonic() - start
                state.seconds += seconds
                self.meter.count(seconds=seconds)
                ends = state.step == last or stop()
                line = self._take_line() if ends or _due(state.step, config.log_every) else None
                if desk is not None:
                    desk.after_step(line, ends)
                if ends:
                    break
                start = monotonic()

    def _step(self, batch: Any) -> None:
        state, config = self.state, self.config
        seed_step(config.seed, state.step, self.group.rank)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            loss, metrics = self.network(batch)
        if loss.requires_grad:  # else the batch asks nothing of the parts that learn
            loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, config.gradient_clip)
        alarm(state.step, self.group.mean(loss), norm)
        self.scale = self._scheduled()
        state.optimizer.step(self.scale)
        state.optimizer.zero_gradients()
        state.average.update(state.step)
        state.step += 1
        self.meter.add({**metrics, "loss": loss, "gradient_norm": norm})
        self.meter.count(clips=self._share(self.clips_per_step, batch), flops=self._share(self.flops_per_step, batch))

    def _scheduled(self) -> float:
        config = self.config
        return learning_rate_scale(
            self.state.step,
            total_steps=config.total_steps,
            warmup_steps=config.warmup_steps,
            decay=config.decay,
            decay_shape=config.decay_shape,
        )

    def _share(self, amount: Amount | None, batch: Any) -> float:
        """This process's."""
        return float(amount(batch)) if callable(amount) else (amount or 0.0) / self.group.world

    def _take_line(self) -> Line:
        """Means since the last line, over all processes."""
        state, config = self.state, self.config
        meter, self.meter = self.meter, Meter()
        parts = self.group.gather(meter.sums())
        averages, seconds = means(parts), parts[0].totals["seconds"]
        rate = config.learning_rate if state.optimizer.muon else config.adam_learning_rate
        self.line = {
            "step": state.step,
            "loss": averages.pop("loss"),
            **averages,
            "learning_rate": rate * self.scale,
        }
        self.line["clips_per_second"] = sum(part.totals["clips"] for part in parts) / seconds
        if self.peak:
            self.line["share_of_peak"] = sum(part.totals["flops"] for part in parts) / seconds / self.peak
        self.line["seconds"] = state.seconds
        return self.line


class _Desk:
    """What rank 0 does between steps: it writes metrics, shows progress, saves and samples."""

    def __init__(
        self,
        state: _State,
        config: TrainingConfig,
        run: Path,
        on_sample: OnSample | None,
        on_line: Callable[[Line], str | None] | None,
    ) -> None:
        self.state, self.config, self.run, self.on_sample, self.on_line = state, config, run, on_sample, on_line
        self.saved_at = monotonic()

    @contextmanager
    def open(self) -> Iterator[None]:
        step, config = self.state.step, self.config
        self.run.mkdir(parents=True, exist_ok=True)
        self.progress = Progress(self.run.name, step=step, total_steps=config.total_steps)
        writer = MetricsWriter(self.run, resumed_step=step, tensorboard=config.tensorboard)
        with closing(writer) as self.writer, self.progress.shown():
            yield

    def after_step(self, line: Line | None, ends: bool) -> None:
        step, config = self.state.step, self.config
        if line is not None:
            self.writer.write(line)
            if self.on_line is not None and (warning := self.on_line(line)):
                self.progress.note(warning)
        self.progress.update(step, line)
        late = 0 < config.checkpoint_every_seconds <= monotonic() - self.saved_at
        if ends or late or _due(step, config.checkpoint_every_steps):
            self._save()
        if self.on_sample is not None and (step == config.total_steps or _due(step, config.sample_every)):
            self._sample(self.on_sample)

    def _save(self) -> None:
        state = self.state
        checkpoint = Checkpoint(
            step=state.step,
            seconds=state.seconds,
            config=to_flat(self.config),
            model=trained_tensors(state.objective),
            average=state.average.tensors,
            optimizer=state.optimizer.state(),
        )
        save_checkpoint(self.run, checkpoint)
        self.progress.saved(state.step)
        self.saved_at = monotonic()

    def _sample(self, on_sample: OnSample) -> None:
        folder = self.run / "samples"
        folder.mkdir(exist_ok=True)
        objective = self.state.objective.eval()
        try:
            with self.state.average.swapped_in(), torch.no_grad():
                on_sample(objective, self.state.step, folder)
        except Exception:
            self._save()  # a sample sheet that fails must not cost the steps since the last checkpoint
            raise
        finally:
            objective.train()


class _Wish:
    """The wish to stop, made by Ctrl-C or SIGTERM. A second one does what it would have done without us; but not at
    once, for torchrun sends on what the terminal has sent to all."""

    def __init__(self) -> None:
        self.made, self.at = False, 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Wish":
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            self._before = {kind: signal.signal(kind, self._note) for kind in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, kind: int, frame: FrameType | None) -> None:
        if not self.made:
            self.made, self.at = True, monotonic()
        elif monotonic() - self.at > ECHO:
            self._restore(kind)
            signal.raise_signal(kind)

    def __exit__(self, *error: object) -> None:
        for kind in self._before:
            self._restore(kind)

    def _restore(self, kind: int) -> None:
        before = self._before[kind]
        signal.signal(kind, signal.SIG_DFL if before is None else before)


@contextmanager
def _shown(desk: _Desk | None) -> Iterator[None]:
    if desk is None:
        yield
    else:
        with desk.open():
            yield


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
