"""The network's training step: clips per second, and the share of what the machine multiplies at most."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from benchmarks.matching import build_maskgit
from benchmarks.measuring import (
    NOT_MEASURED,
    Cannot,
    Measured,
    alternate,
    flops_of,
    refusing,
    seconds_of,
    told,
    told_count,
    told_ratio,
)
from benchmarks.peer_environment import Peer
from benchmarks.report import Findings, Table
from benchmarks.setting import CPU, Setting, parameters_of
from kinetoken.data.toybox import captions, sample_scene
from kinetoken.data.toybox_clips import ClipShape
from kinetoken.generator import Generator
from kinetoken.grid import GridShape
from kinetoken.processes.masked import MaskedObjective
from kinetoken.processes.masking import CanvasBatch, MaskingConfig
from kinetoken.training.metrics import matmul_peak
from kinetoken.training.optimizer import Optimizer
from kinetoken.transformer import Transformer
from kinetoken.vocabulary import Vocabulary

PEER, STEPS = "phenaki-pytorch", 2  # of each system in each round
OURS, MUON, HALF = "kinetoken", "kinetoken, Muon", "kinetoken, Muon, bfloat16 (extra)"


@dataclass(frozen=True)
class System:
    """step: seconds of one. flops: of its forward and backward pass."""

    parameters: int
    positions: str
    step: Callable[[], float]
    flops: float
    half: bool = False


def measure(setting: Setting) -> Findings:
    with setting.peer() as peer:
        systems = {name: _ours(setting, name) for name in _our_names(setting)}
        systems[PEER] = _peer(setting, peer)
        before = _peaks(setting)
        seconds = alternate(
            {name: system.step for name, system in systems.items()}, rounds=setting.rounds, warmups=setting.warmups
        )
        peaks = {half: max(before[half], peak) for half, peak in _peaks(setting).items()}
    rows = [_row(name, system, seconds, peaks[system.half], setting.batch) for name, system in systems.items()]
    columns = ("system", "optimizer", "parameters", "positions", "clips/s", "share of the matmul peak", f"× {PEER}")
    raw = {"seconds": seconds, "batch": setting.batch, "peaks": {str(half): peak for half, peak in peaks.items()}}
    return Findings([Table(columns, rows)], _notes(setting), raw | {"flops": {n: s.flops for n, s in systems.items()}})


def _our_names(setting: Setting) -> list[str]:
    return [OURS, MUON, *([HALF] if setting.bfloat16 else [])]


def _peaks(setting: Setting) -> dict[bool, float]:
    """FLOP/s in fp32 (False) and in bfloat16 (True)."""
    kinds = {False: torch.float32} | ({True: torch.bfloat16} if setting.bfloat16 else {})
    return {half: matmul_peak(CPU, kind) for half, kind in kinds.items()}


def _ours(setting: Setting, name: str) -> System:
    torch.manual_seed(0)
    model, half = setting.generator.config, name == HALF
    network = Transformer(model.network).train()
    objective = MaskedObjective(network, MaskingConfig())
    optimizer = Optimizer(objective, learning_rate=1e-3, adam_learning_rate=1e-3, use_muon=name != OURS, bfloat16=half)
    grid = GridShape.of_clip(model.frames, model.height, model.width, model.tokenizer.cell)
    batch = toybox_batch(setting.generator, clips=setting.batch, words=setting.words)
    backward = partial(_backward, objective, batch, half)
    flops = flops_of(backward)
    patches = grid.cells // (model.network.patch[1] * model.network.patch[2])

    def step() -> None:
        backward()
        optimizer.step(1.0)
        optimizer.zero_gradients()

    things = model.network.things * grid.time
    positions = f"{patches} patches of {grid.cells} codes + {things} things + {setting.words} words"
    return System(parameters_of(network), positions, lambda: seconds_of(step, STEPS), flops, half)


def _backward(objective: MaskedObjective, batch: CanvasBatch, half: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss, _ = objective(batch)
    loss.backward()


def toybox_batch(generator: Generator, *, clips: int, words: int) -> CanvasBatch:
    """What our networks are trained on: codes, captions and layouts of scenes."""
    config, cell = generator.config, generator.config.tokenizer.cell
    shape = ClipShape(frames=config.frames, height=config.height, width=config.width)
    scenes = [sample_scene(seed) for seed in range(clips)]
    frames = torch.from_numpy(np.stack([shape.of(scene) for scene in scenes])).float() / 127.5 - 1
    rows = [generator.codec.encode(captions(scene, seed)[0].text)[: words - 1] for seed, scene in enumerate(scenes)]
    ends = [row + [Vocabulary.END] + [Vocabulary.PAD] * (words - 1 - len(row)) for row in rows]
    return CanvasBatch(
        text=torch.tensor(ends),
        grid=generator.tokenizer.encode(frames) + config.network.vocabulary.text_end,
        seeds=torch.arange(clips),
        captioning=torch.zeros(clips, dtype=torch.bool),
        layout=torch.from_numpy(np.stack([shape.layout(scene, cell) for scene in scenes])),
    )


def _peer(setting: Setting, peer: Peer) -> System:
    positions = f"320 codes; {setting.words} words by cross-attention"
    try:
        parameters = build_maskgit(peer, setting, PEER).parameters
        flops = peer.ask("flops", name=PEER, clips=setting.batch)
    except Cannot as error:
        return System(0, positions, refusing(error), 0.0)
    step = partial(peer.ask, "step", name=PEER, clips=setting.batch, times=STEPS)
    return System(parameters, positions, step, flops)


def _row(name: str, system: System, seconds: dict[str, Measured], peak: float, batch: int) -> list[str]:
    times = seconds[name]
    return [
        name,
        "Muon" if "Muon" in name else "AdamW",
        told_count(system.parameters),
        system.positions,
        told(times, convert=lambda value: batch / value),
        NOT_MEASURED if isinstance(times, str) else told(times, "%", lambda value: 100 * system.flops / value / peak),
        told_ratio(seconds[PEER], times),
    ]


def _notes(setting: Setting) -> list[str]:
    return [
        f"Batch {setting.batch} of clips of 17x64x64, from codes: forward, backward, optimizer. Ours on the bundled "
        f"model's grid and patch, with the layouts that it learns to write, {PEER} on its natural cells of 4x8x8 with "
        "text embeddings given for free. fp32, but for the row that says otherwise, whose share is of the peak in "
        "bfloat16.",
        "FLOPs by torch's counter on both sides: matrix products, convolutions and attention of forward and backward.",
        "Parameters are those at work: parts of ours that read given clips and put them into words are not counted.",
        "Muon is how our models are trained; AdamW is there for the comparison of like with like.",
    ]
