"""Prepared clips as training data of the video tokenizer: batches that are a pure function of the step."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int, UInt8

from kinetoken.data.tar_shards import TarShards
from kinetoken.data.toybox_clips import ClipShape, liveliest
from kinetoken.data.windows import stretch, window
from kinetoken.tokenizer.losses import ClipBatch


class PreparedClips:
    """Endless batches: every step has one shape, in turn. Each shape goes through the clips that are long enough for it
    in an order of its own for every epoch. A clip gives a stretch and a window of its picture, drawn anew every time,
    and of that, if the shape has a crop, the two windows where most happens. Batches of crops have as many more clips
    as keep the number of pixels.

    Raises ValueError when no clip is as long as a shape.
    """

    def __init__(self, shards: TarShards, *, batch_clips: int, shapes: Sequence[ClipShape], seed: int = 0) -> None:
        longest = int(shards.lengths.max(initial=0))
        if longest < (needed := max(shape.frames for shape in shapes)):
            raise ValueError(
                f"the recipe wants clips of {needed} frames and the longest of {len(shards)} in {shards.folder} has "
                f"{longest}: prepare longer ones, with --longest or a higher --fps"
            )
        self.shards, self.batch_clips, self.shapes, self.seed = shards, batch_clips, tuple(shapes), seed

    def batch(self, step: int, rank: int = 0, world: int = 1) -> ClipBatch:
        shape, visit = self.shapes[step % len(self.shapes)], step // len(self.shapes)
        turn, count, windows = step % len(self.shapes), self.batch_clips, 1
        if shape.crop is not None:
            count, windows = count * shape.height * shape.width // shape.crop**2 // 2, 2
        places = range(visit * count, (visit + 1) * count)[rank::world]
        clips = [clip for place in places for clip in self._windows(turn, place, shape, windows)]
        return ClipBatch(frames=torch.from_numpy(np.stack(clips)))

    def _windows(
        self, turn: int, place: int, shape: ClipShape, count: int
    ) -> list[UInt8[np.ndarray, "frames height width 3"]]:
        rng = np.random.default_rng((self.seed, turn, place))
        clip = self.shards[self._clip(turn, place, shape.frames)].clip
        clip = stretch(clip, int(rng.integers(len(clip) - shape.frames + 1)), shape.frames)
        frames = window(clip, shape.width, shape.height, rng).frames
        return [frames] if shape.crop is None else liveliest(frames, shape.crop, count, rng)

    def _clip(self, turn: int, place: int, frames: int) -> int:
        """The clip at a place of the endless row of epochs."""
        fitting = self._fitting[frames]
        epoch, index = divmod(place, len(fitting))
        if self._order[0] != (turn, epoch):
            rng = np.random.default_rng((self.seed, turn, epoch, 1))
            self._order = (turn, epoch), rng.permutation(len(fitting))
        return int(fitting[self._order[1][index]])

    @cached_property
    def _fitting(self) -> dict[int, Int[np.ndarray, " clips"]]:
        """Clips that are long enough, for every length of a shape."""
        lengths = {shape.frames for shape in self.shapes}
        return {frames: np.flatnonzero(self.shards.lengths >= frames) for frames in lengths}

    _order: tuple[tuple[int, int], Int[np.ndarray, " clips"]] = (-1, -1), np.zeros(0, np.int64)
