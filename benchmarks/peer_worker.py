"""The peers' side of the comparison. Runs inside their environment and answers JSON lines on stdin with JSON lines.

python -m benchmarks.peer_worker THREADS
"""

import json
import os
import resource
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import peer_stubs
from benchmarks.measuring import flops_of, peak_memory_mb, seconds_of, seconds_of_several
from benchmarks.timed_training import TimedTraining

LEARNING_RATE = 3e-4  # the default of phenaki-pytorch's trainer of C-ViViT; magvit2-pytorch's asks for one
MOST_NORM = 0.5  # of the gradient: likewise
FRAMES_IN_A_CELL = 4
CODES = 1024


class MaskGit:
    """phenaki-pytorch's network with its C-ViViT, at its natural cells of 4x8x8 pixels. Text is given for free: random
    embeddings, as wide as the network."""

    def __init__(self, *, dim: int, depth: int, frames: int, size: int, words: int, cvivit: dict[str, int]) -> None:
        from phenaki_pytorch import MaskGit, Phenaki

        self.dim, self.words = dim, words
        tokenizer = CViViT(size=size, **cvivit).module
        self.grid = tokenizer.get_video_patch_shape(frames)
        network = MaskGit(dim=dim, depth=depth, num_tokens=CODES, max_seq_len=int(np.prod(self.grid)))
        self.module = Phenaki(maskgit=network, cvivit=tokenizer, text_embed_dim=dim)
        self.module.encode_texts = lambda texts, output_device=None: self._text(len(texts))
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    @property
    def parameters(self) -> int:
        return _count(self.module.maskgit.parameters())

    def loss(self, clips: int) -> Tensor:
        codes = torch.randint(CODES, (clips, *self.grid))
        return self.module(video_codebook_ids=codes, text_embeds=self._text(clips))

    def sample(self, clips: int, frames: int, decoded: bool) -> None:
        """decoded: else the work ends with the codes."""
        cvivit = self.module.cvivit
        if not decoded:
            cvivit.decode_from_codebook_indices = lambda codes: codes
        try:
            self.module.sample(texts=["words"] * clips, num_frames=frames)
        finally:
            vars(cvivit).pop("decode_from_codebook_indices", None)

    def _text(self, clips: int) -> Tensor:
        return torch.randn(clips, self.words, self.dim)


class Tokenizer:
    """Trains on pixels in [0, 1], as both peers' own loaders make them: batch x 3 x frames x height x width."""

    module: nn.Module

    def prepare(self, clips: str, batch: int, seconds: float) -> None:
        self.clips = np.load(clips, mmap_mode="r")[:batch]
        with _evaluating(self.module):
            self.codes = self.encode(_video(self.clips))
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=LEARNING_RATE)
        self.training = TimedTraining(self.train_step, Path(clips), batch=batch, total_seconds=seconds)

    @property
    def parameters(self) -> int:
        return _count(self.module.parameters())

    def loss(self, video: Tensor) -> Tensor:
        raise NotImplementedError

    def encode(self, video: Tensor) -> Tensor:
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        raise NotImplementedError

    def train_step(self, clips: np.ndarray, scale: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * scale
        self.loss(_video(clips)).backward()
        nn.utils.clip_grad_norm_(list(self.module.parameters()), MOST_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()


class CViViT(Tokenizer):
    """phenaki-pytorch's. Its loss is the mean square error."""

    def __init__(self, *, size: int, dim: int, cell: int, depth: int = 2) -> None:
        from phenaki_pytorch import CViViT

        self.module = CViViT(
            dim=dim,
            codebook_size=CODES,
            image_size=size,
            patch_size=cell,
            temporal_patch_size=FRAMES_IN_A_CELL,
            spatial_depth=depth,
            temporal_depth=depth,
            heads=4,
            dim_head=32,
            use_vgg_and_gan=False,
        )

    def loss(self, video: Tensor) -> Tensor:
        return self.module(video)

    def encode(self, video: Tensor) -> Tensor:
        return self.module(video, return_only_codebook_ids=True).flatten(1)

    def decode(self, codes: Tensor) -> Tensor:
        return self.module.decode_from_codebook_indices(codes)


class Magvit2(Tokenizer):
    """magvit2-pytorch's causal convolutions with its lookup-free quantizer, in cells of 4x4x4 pixels. Its loss is the
    mean square error and the quantizer's."""

    def __init__(self, *, size: int, dim: int) -> None:
        from magvit2_pytorch import VideoTokenizer

        levels = ("compress_space", "compress_space", "compress_time", "compress_time")
        self.module = VideoTokenizer(
            image_size=size,
            init_dim=dim,
            max_dim=4 * dim,
            codebook_size=CODES,
            layers=("residual", *(layer for level in levels for layer in (level, "residual"))),
            use_gan=False,
            perceptual_loss_weight=0.0,
        )

    def loss(self, video: Tensor) -> Tensor:
        total, _ = self.module(video, return_loss=True)
        return total

    def encode(self, video: Tensor) -> Tensor:
        return self.module(video, return_codes=True)

    def decode(self, codes: Tensor) -> Tensor:
        return self.module.decode_from_code_indices(codes)


KINDS: dict[str, Callable[..., Any]] = {"maskgit": MaskGit, "cvivit": CViViT, "magvit2": Magvit2}


class Worker:
    """What can be asked. Systems are kept by name; times are in seconds."""

    def __init__(self) -> None:
        self._systems: dict[str, Any] = {}

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("torch", "phenaki-pytorch", "magvit2-pytorch")}

    def count(self, kind: str, **config: Any) -> int:
        """Parameters of a system that is not kept."""
        return KINDS[kind](**config).parameters

    def build(self, name: str, kind: str, **config: Any) -> int:
        torch.manual_seed(0)
        self._systems[name] = KINDS[kind](**config)
        return self._systems[name].parameters

    def prepare(self, name: str, clips: str, batch: int, seconds: float) -> None:
        self._systems[name].prepare(clips, batch, seconds)

    def step(self, name: str, clips: int, times: int) -> float:
        """Of a network, on random codes."""
        return seconds_of(lambda: self._step(name, clips), times)

    def flops(self, name: str, clips: int) -> float:
        """Of a training step, without the optimizer's."""
        return flops_of(lambda: self._systems[name].loss(clips).backward())

    def sample(self, name: str, clips: int, frames: int, decoded: bool) -> float:
        return seconds_of(lambda: self._systems[name].sample(clips, frames, decoded))

    def sample_several(self, name: str, frames: int, most: int) -> list[float]:
        return seconds_of_several(lambda: self._systems[name].sample(1, frames, True), most=most)

    def train_step(self, name: str) -> float:
        """Of a tokenizer, on the clips that it was prepared with; its weights stay."""
        system = self._systems[name]
        system.module.train()
        return seconds_of(lambda: system.train_step(system.clips, 0.0))

    def encode(self, name: str) -> float:
        system = self._systems[name]
        with _evaluating(system.module):
            return seconds_of(lambda: system.encode(_video(system.clips)))

    def decode(self, name: str) -> float:
        system = self._systems[name]
        with _evaluating(system.module):
            return seconds_of(lambda: system.decode(system.codes))

    def train(self, name: str, seconds: float) -> int:
        """Steps done in all."""
        system = self._systems[name]
        system.module.train()
        system.training.run(seconds)
        return system.training.steps

    def reconstruct(self, name: str, clips: str, to: str) -> None:
        """Encode and decode the clips of one .npy, and write what comes out to another, both uint8."""
        system, rebuilt = self._systems[name], []
        with _evaluating(system.module):
            for clip in np.load(clips):
                pixels = system.decode(system.encode(_video(clip[None])))
                rebuilt.append((pixels.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 4, 1).numpy())
        np.save(to, np.concatenate(rebuilt))

    def peak_memory_mb(self) -> float:
        return peak_memory_mb()

    def limit_memory(self, megabytes: int) -> None:
        """Ask for more, and torch says so, instead of the system ending some process of its choice."""
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))

    def _step(self, name: str, clips: int) -> None:
        system = self._systems[name]
        system.module.train()
        system.loss(clips).backward()
        system.optimizer.step()
        system.optimizer.zero_grad()


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    with torch.no_grad():
        module.eval()
        yield


def _count(parameters: Any) -> int:
    return sum(weight.numel() for weight in parameters)


def _video(clips: np.ndarray) -> Tensor:
    """uint8 batch x frames x height x width x 3 to [0, 1], batch x 3 x frames x height x width."""
    return torch.from_numpy(np.array(clips)).permute(0, 4, 1, 2, 3).float() / 255


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the peers print is no answer
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(sys.argv[1]))
    peer_stubs.install()
    worker = Worker()
    for line in sys.stdin:
        task = json.loads(line)
        try:
            answer = {"answer": getattr(worker, task.pop("do"))(**task)}
        except Exception as error:  # it is a result: the table says what a peer cannot do
            said = str(error).strip().splitlines() or [""]
            answer = {"cannot": f"{type(error).__name__}: {said[0][:160]}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
