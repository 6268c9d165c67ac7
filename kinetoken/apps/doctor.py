"""kinetoken doctor"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from kinetoken.clip import Clip
    from kinetoken.tokenizer.video_tokenizer import VideoTokenizer

PROMPT = "a red ball moves right"
ENOUGH_DB = 30.0  # of the overfitted tokenizer
MEDIA_DB = 30.0  # what lossy formats must keep
BUNDLED_DB = 24.0  # far below what a whole model reaches, far above what a damaged one does


@dataclass(frozen=True, kw_only=True)
class Command:
    """Check that this machine can generate and learn: media files, threads, the bundled weights, and whether a
    tokenizer and a network, made from nothing, can learn one clip by heart. Takes a minute or two.

    Exit code 1 if something is wrong.
    """

    model: str = "toybox"
    """The model to check: a bundled one (toybox or emoji), a folder that training wrote, or owner/name on the hub."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps …; the best there is if not given."""

    def execute(self) -> None:
        checks: list[tuple[str, Callable[[], str]]] = [
            ("machine", lambda: check_machine(self.device)),
            ("media files", check_media),
            (f"model {self.model}", lambda: check_model(self.model, self.device)),
            ("learning", lambda: check_learning(self.device)),
        ]
        failed = 0
        for name, check in checks:
            start = time.perf_counter()
            try:
                verdict, found = "ok", check()
            except Exception as error:  # whatever it is, the other checks are worth making
                verdict, found, failed = "WRONG", f"{type(error).__name__}: {error}", failed + 1
            print(f"{verdict:6}{name}: {found} ({time.perf_counter() - start:.1f} s)", flush=True)
        if failed:
            print(f"{failed} of {len(checks)} checks failed")
            sys.exit(1)


def check_machine(device: str | None) -> str:
    """torch, the device, threads, and how fast it multiplies."""
    import torch

    from kinetoken.generator import best_device
    from kinetoken.training.metrics import matmul_peak

    chosen = torch.device(best_device(device))
    speed = matmul_peak(chosen) / 1e9
    return f"torch {torch.__version__}, {chosen}, {torch.get_num_threads()} threads, {speed:.0f} GFLOP/s"


def check_media() -> str:
    """Every format that can be written is read back: as many frames of the same size, and the same picture."""
    from kinetoken.evaluation.reconstruction import psnr

    clip, said = _one_clip(), []
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("mp4", "webm", "gif", "webp"):
            again = type(clip).read(clip.save(Path(folder) / f"clip.{ending}"))
            if again.frames.shape != clip.frames.shape:
                raise RuntimeError(f"{ending} came back as {again.frames.shape}, not {clip.frames.shape}")
            if (quality := psnr(clip, again)) < MEDIA_DB:
                raise RuntimeError(f"{ending} came back at {quality:.1f} dB")
            said.append(f"{ending} {quality:.0f} dB")
    return ", ".join(said)


def check_model(name: str, device: str | None) -> str:
    """The weights are whole, a clip survives the tokenizer, and a sentence becomes a clip, twice the same."""
    from kinetoken.evaluation.reconstruction import psnr
    from kinetoken.generator import Generator

    generator, clip = Generator.from_pretrained(name, device=device), _one_clip()
    codes = generator.tokenizer.encode_clip(clip)
    frames, height, width, _ = clip.frames.shape
    rebuilt = generator.tokenizer.decode_clip(codes, fps=clip.fps, frames=frames, height=height, width=width)
    if (quality := psnr(clip, rebuilt)) < BUNDLED_DB:
        raise RuntimeError(f"the tokenizer rebuilds a clip at {quality:.1f} dB: the weights are damaged")
    start = time.perf_counter()
    first = generator.generate(PROMPT, seed=1)
    seconds = time.perf_counter() - start
    if not (generator.generate(PROMPT, seed=1).frames == first.frames).all():
        raise RuntimeError("the same seed gave two different clips")
    return f"tokenizer {quality:.1f} dB, a clip in {seconds:.2f} s: “{generator.caption(first)}”"


def check_learning(device: str | None) -> str:
    """A tokenizer from nothing learns one clip to 30 dB, then a network its codes, exactly."""
    import torch

    from kinetoken.generator import best_device

    chosen = torch.device(best_device(device))
    tokenizer, quality, steps = overfit_tokenizer(_one_clip(), chosen)
    if quality < ENOUGH_DB:
        raise RuntimeError(f"a tokenizer reached {quality:.1f} dB on one clip in {steps} steps, not {ENOUGH_DB:.0f}")
    share, network_steps = overfit_network(tokenizer, _one_clip(), chosen)
    if share < 1:
        raise RuntimeError(f"a network has {share:.1%} of one clip's codes right after {network_steps} steps")
    return f"tokenizer {quality:.1f} dB after {steps} steps, network all codes right after {network_steps} steps"


def overfit_tokenizer(
    clip: "Clip", device: "torch.device", *, most_steps: int = 600
) -> "tuple[VideoTokenizer, float, int]":
    """(a small tokenizer that learned one clip, its PSNR in dB, steps taken)."""
    import torch

    from kinetoken.tokenizer.losses import ClipBatch, ReconstructionObjective
    from kinetoken.tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer

    torch.manual_seed(0)
    tokenizer = VideoTokenizer(TokenizerConfig(channels=64, encoder_blocks=1, decoder_blocks=2)).to(device)
    batch = ClipBatch(frames=torch.from_numpy(clip.frames)[None].to(device))
    quality, steps = 0.0, 0
    for metrics in _learn(ReconstructionObjective(tokenizer), repeat(batch, most_steps)):
        quality, steps = float(metrics["psnr"]), steps + 1
        if quality > ENOUGH_DB + 0.5:
            break
    return tokenizer.eval(), quality, steps


def overfit_network(
    tokenizer: "VideoTokenizer", clip: "Clip", device: "torch.device", *, most_steps: int = 600
) -> tuple[float, int]:
    """(the share of one clip's codes that a small network generates from its caption, steps taken)."""
    import torch

    from kinetoken.grid import GridShape
    from kinetoken.processes.masked import MaskedObjective, SamplingConfig, fill_grid
    from kinetoken.processes.masking import CanvasBatch, MaskingConfig
    from kinetoken.tasks import text_to_video
    from kinetoken.transformer import Transformer, TransformerConfig
    from kinetoken.vocabulary import TextCodec

    torch.manual_seed(0)
    codec = TextCodec.train([PROMPT], 256)
    network = Transformer(
        TransformerConfig(text_codes=codec.size, visual_codes=tokenizer.config.quantizer.codes, depth=2)
    ).to(device)
    row, codes = codec.encode(PROMPT), tokenizer.encode_clip(clip).to(device)
    grid = codes[None] + network.config.vocabulary.text_end
    time, rows, columns = codes.shape
    empty = text_to_video(row, GridShape(time=time, rows=rows, columns=columns)).to(device)
    # Not by layers: that leaves out the ones to come, and this network never sees a shorter clip.
    sampling = SamplingConfig(steps=4, temperature=0.0, guidance=1.0, order="halton")
    copies = 4  # of the clip in a batch, each hidden in other places

    def batches() -> "Iterator[CanvasBatch]":
        text = torch.tensor([row] * copies).to(device)
        for step in range(most_steps):
            seeds = torch.arange(step * copies, (step + 1) * copies)
            several = grid.expand(copies, -1, -1, -1)
            yield CanvasBatch(text=text, grid=several, seeds=seeds, captioning=torch.zeros(copies, dtype=torch.bool))

    share = 0.0
    for step, _ in enumerate(_learn(MaskedObjective(network, MaskingConfig()), batches()), start=1):
        if step % 25 == 0:
            *_, last = fill_grid(network, empty, 0, sampling)
            if (share := float((last.canvas.grid == grid).float().mean())) == 1:
                break
    return share, step


def _learn(objective: "nn.Module", batches: Iterable[Any]) -> "Iterator[dict[str, Tensor]]":
    """Metrics after each step of plain training, one batch each."""
    from kinetoken.training.optimizer import Optimizer

    optimizer = Optimizer(objective, learning_rate=5e-3, adam_learning_rate=3e-3)
    for step, batch in enumerate(batches):
        loss, metrics = objective(batch)
        loss.backward()
        optimizer.step(min(1.0, (step + 1) / 20))
        optimizer.zero_gradients()
        yield metrics


def _one_clip() -> "Clip":
    from kinetoken.data.toybox import render, sample_scene

    return render(sample_scene(7, actors=1), frames=9)
