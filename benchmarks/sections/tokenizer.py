"""Tokenizers: training step, encoding, decoding; and the PSNR that each has after the same time of training."""

import tempfile
from collections.abc import Callable, Mapping
from math import log2
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from benchmarks.matching import Match, cvivit_match, magvit2_match
from benchmarks.measuring import (
    NOT_MEASURED,
    Cannot,
    Measured,
    alternate,
    refusing,
    seconds_of,
    told,
    told_count,
    told_ratio,
)
from benchmarks.peer_environment import Peer
from benchmarks.report import Findings, Table
from benchmarks.setting import Setting, parameters_of
from benchmarks.timed_training import TimedTraining
from kinetoken.clip import Clip
from kinetoken.data.toybox_clips import VALIDATION_SEEDS, ClipShape, ToyboxClips
from kinetoken.evaluation.reconstruction import psnr
from kinetoken.grid import CellSize, GridShape
from kinetoken.recipes.tokenizer import small
from kinetoken.tokenizer.losses import ClipBatch, ReconstructionObjective
from kinetoken.tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer
from kinetoken.training.optimizer import Optimizer

ADAMW, MUON, HALF = "kinetoken, AdamW", "kinetoken, Muon", "kinetoken, Muon, bfloat16 (extra)"
FRAMES, SIZE = 17, 64
HELD_OUT = 48  # clips
TURN_SECONDS = 20.0  # of training, before the next one has its turn
PEER_CODES = 1024
MOST_NORM = 1.0  # of our gradient, as in our recipes


class System(Protocol):
    """One tokenizer: seconds of each verb on one batch, training by the clock (steps done in all), clips rebuilt."""

    parameters: int
    bits_per_pixel: float

    def step(self) -> float: ...
    def encode(self) -> float: ...
    def decode(self) -> float: ...
    def train(self, seconds: float) -> int: ...
    def reconstruct(self, clips: Path) -> np.ndarray: ...


def measure(setting: Setting) -> Findings:
    with tempfile.TemporaryDirectory() as folder, setting.peer() as peer:
        clips = write_clips(Path(folder) / "clips.npy", count=16 if setting.quick else 1024, seed=0)
        held_out = write_clips(
            Path(folder) / "held-out.npy", count=2 if setting.quick else HELD_OUT, seed=VALIDATION_SEEDS // 2**32
        )
        systems = _systems(setting, peer, clips)
        seconds = {
            verb: alternate(
                {name: getattr(system, verb) for name, system in systems.items()},
                rounds=setting.rounds,
                warmups=setting.warmups,
            )
            for verb in ("step", "encode", "decode")
        }
        contest = {name: system for name, system in systems.items() if name != ADAMW}
        steps = _train_in_turns(contest, 60 * setting.minutes)
        quality = {name: _quality(system, steps[name], held_out) for name, system in contest.items()}
    columns = ("system", "parameters", "bits/pixel", "training, clips/s", "encoding, Mpx/s", "decoding, Mpx/s")
    asked = f"PSNR after {setting.minutes:g} min, dB", "clips seen"
    rows = [
        [*_speed_row(name, system, seconds, setting.batch), *_quality_row(name, quality, steps, setting.batch)]
        for name, system in systems.items()
    ]
    raw = {"seconds": seconds, "batch": setting.batch, "psnr": quality, "minutes": setting.minutes, "steps": steps}
    return Findings([Table((*columns, *asked), rows), _ratios(seconds)], _notes(setting), raw)


def write_clips(path: Path, *, count: int, seed: int) -> Path:
    """Toybox clips as uint8, clips x frames x height x width x 3."""
    shape = ClipShape(frames=FRAMES, height=SIZE, width=SIZE)
    batch = ToyboxClips(batch_clips=count, shapes=(shape,), seed=seed).batch(0)
    np.save(path, batch.frames.numpy())
    return path


def _systems(setting: Setting, peer: Peer, clips: Path) -> dict[str, System]:
    config = setting.generator.config.tokenizer
    systems: dict[str, System] = {
        name: Ours(config, clips, setting, half=name == HALF, muon=name != ADAMW)
        for name in (ADAMW, MUON, *([HALF] if setting.bfloat16 else []))
    }
    target = systems[MUON].parameters
    theirs: list[tuple[str, str, int, Callable[[], Match]]] = [
        ("C-ViViT, cells of 4x4x4", "cvivit", 4, lambda: cvivit_match(peer, target, cell=4)),
        ("C-ViViT, cells of 4x8x8", "cvivit", 8, lambda: cvivit_match(peer, target, cell=8)),
        ("magvit2-pytorch, cells of 4x4x4", "magvit2", 4, lambda: magvit2_match(peer, target)),
    ]
    for name, kind, cell, find in theirs:
        systems[name] = Theirs(peer, name, kind, cell, find, clips, setting)
    return systems


class Ours:
    """The bundled model's tokenizer, trained anew."""

    def __init__(self, config: TokenizerConfig, clips: Path, setting: Setting, *, half: bool, muon: bool) -> None:
        torch.manual_seed(0)
        recipe = small()
        self.tokenizer, self.half = VideoTokenizer(config), half
        self.objective = ReconstructionObjective(
            self.tokenizer, square_weight=recipe.square_weight, variation_weight=recipe.variation_weight
        )
        self.optimizer = Optimizer(
            self.objective,
            learning_rate=recipe.training.learning_rate,
            adam_learning_rate=recipe.training.adam_learning_rate,
            weight_decay=recipe.training.weight_decay,
            use_muon=muon,
            bfloat16=half,
        )
        self.tokenizer.settle([_pixels(np.load(clips, mmap_mode="r")[:64])])
        self.parameters = parameters_of(self.tokenizer)
        self.bits_per_pixel = self.tokenizer.bits_per_pixel(FRAMES, SIZE, SIZE)
        self.batch = np.load(clips, mmap_mode="r")[: setting.batch]
        self.training = TimedTraining(self._train_step, clips, batch=setting.batch, total_seconds=60 * setting.minutes)
        self.codes = self.tokenizer.encode(_pixels(self.batch))

    def step(self) -> float:
        return seconds_of(lambda: self._train_step(self.batch, 0.0))

    def encode(self) -> float:
        with self._precision():
            return seconds_of(lambda: self.tokenizer.encode(_pixels(self.batch)))

    def decode(self) -> float:
        with self._precision():
            return seconds_of(lambda: self.tokenizer.decode(self.codes))

    def train(self, seconds: float) -> int:
        self.training.run(seconds)
        return self.training.steps

    def reconstruct(self, clips: Path) -> np.ndarray:
        with self._precision():
            rebuilt = [self.tokenizer.decode(self.tokenizer.encode(_pixels(clip[None]))) for clip in np.load(clips)]
        return ((torch.cat(rebuilt) + 1) * 127.5).round().clamp(0, 255).byte().numpy()

    def _precision(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.half)

    def _train_step(self, clips: np.ndarray, scale: float) -> None:
        with self._precision():
            loss, _ = self.objective(ClipBatch(frames=torch.from_numpy(np.array(clips))))
        loss.backward()
        nn.utils.clip_grad_norm_(list(self.objective.parameters()), MOST_NORM)
        self.optimizer.step(scale)
        self.optimizer.zero_gradients()


def _pixels(clips: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(clips)).float() / 127.5 - 1


class Theirs:
    """A peer's tokenizer, by its process."""

    def __init__(
        self, peer: Peer, name: str, kind: str, cell: int, find: Callable[[], Match], clips: Path, setting: Setting
    ) -> None:
        """find: gives its options. What cannot be built refuses whatever is asked of it."""
        self.name, self.parameters, self.ask = name, 0, peer.ask
        grid = GridShape.of_clip(FRAMES, SIZE, SIZE, CellSize(frames=4, height=cell, width=cell))
        self.bits_per_pixel = grid.cells * log2(PEER_CODES) / (FRAMES * SIZE * SIZE)
        try:
            match = find()
            peer.ask("build", name=name, kind=kind, size=SIZE, **match.options)
            peer.ask("prepare", name=name, clips=str(clips), batch=setting.batch, seconds=60 * setting.minutes)
            self.parameters = match.parameters
        except Cannot as error:
            self.ask = refusing(error)

    def step(self) -> float:
        return self.ask("train_step", name=self.name)

    def encode(self) -> float:
        return self.ask("encode", name=self.name)

    def decode(self) -> float:
        return self.ask("decode", name=self.name)

    def train(self, seconds: float) -> int:
        return self.ask("train", name=self.name, seconds=seconds)

    def reconstruct(self, clips: Path) -> np.ndarray:
        to = clips.with_name("rebuilt.npy")
        self.ask("reconstruct", name=self.name, clips=str(clips), to=str(to))
        return np.load(to)


def _train_in_turns(systems: Mapping[str, System], total_seconds: float) -> dict[str, int | str]:
    """Steps that each has done, or why it cannot."""
    steps: dict[str, int | str] = dict.fromkeys(systems, 0)
    for _ in range(-(-int(total_seconds) // int(TURN_SECONDS)) or 1):
        for name, system in systems.items():
            try:
                if not isinstance(steps[name], str):
                    steps[name] = system.train(TURN_SECONDS)
            except Cannot as error:
                steps[name] = f"cannot: {error}"
    return steps


def _quality(system: System, steps: int | str, held_out: Path) -> list[float] | str:
    """PSNR of every held-out clip, in dB."""
    if isinstance(steps, str):
        return steps
    try:
        rebuilt = system.reconstruct(held_out)
    except Cannot as error:
        return f"cannot: {error}"
    pairs = zip(np.load(held_out), rebuilt, strict=True)
    return [psnr(*(Clip(frames=np.ascontiguousarray(frames), fps=8.0) for frames in pair)) for pair in pairs]


def _speed_row(name: str, system: System, seconds: dict[str, dict[str, Measured]], batch: int) -> list[str]:
    megapixels = batch * FRAMES * SIZE * SIZE / 1e6
    return [
        name,
        told_count(system.parameters),
        f"{system.bits_per_pixel:.3f}",
        told(seconds["step"][name], convert=lambda value: batch / value),
        told(seconds["encode"][name], convert=lambda value: megapixels / value),
        told(seconds["decode"][name], convert=lambda value: megapixels / value),
    ]


def _quality_row(name: str, quality: Mapping[str, Measured], steps: Mapping[str, int | str], batch: int) -> list[str]:
    """The mean over clips, as everywhere in this project, and the worst and the best clip."""
    found, done = quality.get(name, NOT_MEASURED), steps.get(name)
    if isinstance(found, str) or not isinstance(done, int):
        return [str(found), NOT_MEASURED]
    return [f"{np.mean(found):.1f} ({min(found):.1f}–{max(found):.1f})", f"{done * batch:,}"]


def _ratios(seconds: dict[str, dict[str, Measured]]) -> Table:
    names = [name for name in seconds["step"] if not name.startswith("kinetoken")]
    rows = [
        [name, told_ratio(seconds["step"][name], seconds["step"][ADAMW])]
        + [told_ratio(seconds[verb][name], seconds[verb][MUON]) for verb in ("encode", "decode")]
        for name in names
    ]
    return Table(
        ("takes as many times the seconds", "training step (AdamW)", "encoding", "decoding"),
        rows,
        "Against kinetoken, fp32",
    )


def _notes(setting: Setting) -> list[str]:
    return [
        f"Clips of {FRAMES}x{SIZE}x{SIZE}, batch {setting.batch}; fp32, but for the row that says otherwise. Losses "
        "are those of each, without discriminators and pretrained networks.",
        f"PSNR: the mean over {HELD_OUT} clips of scenes that nobody was trained on (worst–best). All see the same "
        f"clips in the same order, in turns of {TURN_SECONDS:.0f} seconds; the learning rate of each follows the time "
        "that it has spent: up in 2% of it, down in the second half. Peak rates: ours from the recipe `small`, theirs "
        "3e-4, the default of phenaki-pytorch's own trainer.",
        "Mpx: 10^6 places of frames, of three colours each. Cells of 4x8x8 spend a quarter of the bits: that row is "
        "phenaki-pytorch's natural shape; the others spend as many bits as ours.",
    ]
