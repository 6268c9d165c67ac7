"""Toybox as training data: batches of clips that are a pure function of the step."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8

from kinetoken.data.toybox import Motion, Scene, Speed, render, sample_scene
from kinetoken.data.toybox_layout import layout
from kinetoken.grid import CellSize
from kinetoken.tokenizer.losses import ClipBatch

VALIDATION_SEEDS = 2**40  # scenes from here on are never trained on
_MOST_SCENES = 4096  # of a step: far more than any batch holds, twice
UNREST = {Speed.SLOW: 0.0, Speed.USUAL: 0.5, Speed.QUICK: 1.0}


@dataclass(frozen=True, kw_only=True)
class ClipShape:
    """Frames, height and width of a batch's clips, in pixels. crop: cut a square window of this side out of each, where
    most happens. loop: after the last frame comes the first. beyond: pixels on every side that lie outside of the
    scene's frame."""

    frames: int
    height: int = 64
    width: int = 64
    crop: int | None = None
    loop: bool = False
    beyond: int = 0

    def enlarged(self, times: int) -> "ClipShape":
        crop = None if self.crop is None else times * self.crop
        return replace(
            self, height=times * self.height, width=times * self.width, crop=crop, beyond=times * self.beyond
        )

    def of(self, scene: Scene, fps: float = 8.0) -> UInt8[np.ndarray, "frames height width 3"]:
        """The scene, rendered."""
        return render(scene, fps=fps, **self._picture).frames

    def layout(self, scene: Scene, cell: CellSize) -> Int[np.ndarray, "time things digits"]:
        """The scene's layout."""
        return layout(scene, cell, **self._picture)

    @property
    def _picture(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("frames", "width", "height", "loop", "beyond")}


@dataclass(frozen=True, kw_only=True)
class ToyboxClips:
    """Endless batches: every step has one shape, in turn, and scenes that no other step has. A batch of windows has as
    many more clips as keep the number of pixels, two from each scene. actors: how many objects the scenes have, in
    turn; as they come if empty. tries: scenes drawn for each one that is taken: the one in which most moves."""

    batch_clips: int
    shapes: tuple[ClipShape, ...]
    actors: tuple[int, ...] = ()
    tries: int = 1
    seed: int = 0
    fps: float = 8.0

    def batch(self, step: int, rank: int = 0, world: int = 1) -> ClipBatch:
        shape = self.shapes[step % len(self.shapes)]
        windows = 1 if shape.crop is None else 2
        scenes = self.batch_clips * (
            1 if shape.crop is None else shape.height * shape.width // shape.crop**2 // windows
        )
        first = self.seed * 2**32 + step * _MOST_SCENES
        clips = [
            window
            for seed in range(first + rank, first + scenes, world)
            for window in self._windows(seed, shape, windows)
        ]
        return ClipBatch(frames=torch.from_numpy(np.stack(clips)))

    def _windows(self, seed: int, shape: ClipShape, count: int) -> list[UInt8[np.ndarray, "frames height width 3"]]:
        actors = self.actors[seed % len(self.actors)] if self.actors else None
        scene = max((sample_scene(seed + k * _MOST_SCENES // 2, actors=actors) for k in range(self.tries)), key=_unrest)
        frames = shape.of(scene, self.fps)
        return [frames] if shape.crop is None else liveliest(frames, shape.crop, count, np.random.default_rng(seed))


def _unrest(scene: Scene) -> float:
    """How much a scene asks of whoever draws the frames between two that are known: the mean of what its actors do."""
    return sum((actor.motion == Motion.ORBITS) + UNREST[actor.speed] for actor in scene.actors) / len(scene.actors)


def liveliest(
    frames: UInt8[np.ndarray, "frames height width 3"], side: int, count: int, rng: np.random.Generator
) -> list[UInt8[np.ndarray, "frames side side 3"]]:
    """Of three times as many random windows, the `count` whose pixels vary most: plain background is learned from the
    first few clips, and teaches nothing after that."""
    _, height, width, _ = frames.shape
    corners = zip(
        rng.integers(0, height - side + 1, 3 * count), rng.integers(0, width - side + 1, 3 * count), strict=True
    )
    windows = [frames[:, top : top + side, left : left + side] for top, left in corners]
    return sorted(windows, key=lambda window: -float(window.std()))[:count]
