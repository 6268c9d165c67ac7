"""Toybox as training data: batches of clips that are a pure function of the step."""

from dataclasses import dataclass

import numpy as np
import torch

from kinetoken.data.toybox import render, sample_scene
from kinetoken.tokenizer.losses import ClipBatch

VALIDATION_SEEDS = 2**40  # scenes from here on are never trained on


@dataclass(frozen=True, kw_only=True)
class ClipShape:
    """Frames, height and width of a batch's clips, in pixels."""

    frames: int
    height: int = 64
    width: int = 64


@dataclass(frozen=True, kw_only=True)
class ToyboxClips:
    """Endless batches: every step has one shape, in turn, and scenes that no other step has. actors: how many objects
    the scenes have, in turn; as they come if empty."""

    batch_clips: int
    shapes: tuple[ClipShape, ...]
    actors: tuple[int, ...] = ()
    seed: int = 0
    fps: float = 8.0

    def batch(self, step: int, rank: int = 0, world: int = 1) -> ClipBatch:
        shape = self.shapes[step % len(self.shapes)]
        first = self.seed * 2**32 + step * self.batch_clips
        scenes = [
            sample_scene(seed, actors=self.actors[seed % len(self.actors)] if self.actors else None)
            for seed in range(first + rank, first + self.batch_clips, world)
        ]
        clips = [
            render(scene, frames=shape.frames, width=shape.width, height=shape.height, fps=self.fps).frames
            for scene in scenes
        ]
        return ClipBatch(frames=torch.from_numpy(np.stack(clips)))
