"""Draft: a clip of which some pixels are kept and the others are to be made.

Every task that starts from pictures lays out a draft (tasks.py). `Work` is the part of it that the model is shown, at
the size and at the phase of time that suit the model; `Work.finished` puts what was made among what is kept.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from kinetoken.clip import MAX_CLIP_BYTES, Clip
from kinetoken.grid import CellSize
from kinetoken.joins import eased, joined, softened

NATIVE = 2.25  # times the model's number of pixels: frames up to here are worked on as they are
FEATHER = 3  # pixels of the model's, within which a join is evened out


@dataclass(frozen=True, kw_only=True, eq=False)
class Draft:
    """clip: the frames, at the size and rate of the outcome; pixels that are not kept hold a stand-in, which only the
    tokenizer sees, around what is kept. kept: the pixels that come back bit for bit. share: of the codes of all cells,
    what share is known whether kept or not, in [0, 1]."""

    clip: Clip
    kept: Bool[np.ndarray, "frames height width"]
    share: float = 0.0

    @classmethod
    def of_frames(cls, clip: Clip, kept: Bool[np.ndarray, " frames"]) -> "Draft":
        """Whole frames are kept or not."""
        return cls(clip=clip, kept=np.broadcast_to(kept[:, None, None], clip.frames.shape[:3]))

    def between(self, start: int, stop: int) -> "Draft":
        """The draft from a frame up to another, that one not included."""
        return Draft(clip=Clip(frames=self.clip.frames[start:stop], fps=self.clip.fps), kept=self.kept[start:stop])

    def with_made(self, frames: UInt8[np.ndarray, "_ height width 3"]) -> "Draft":
        """The draft with a finished beginning, kept from now on."""
        all_frames, kept = self.clip.frames.copy(), self.kept.copy()
        all_frames[: len(frames)], kept[: len(frames)] = frames, True
        return Draft(clip=Clip(frames=all_frames, fps=self.clip.fps), kept=kept)


def check_length(frames: int, height: int, width: int) -> None:
    """Raises: ValueError for a clip without frames, or one that memory does not hold."""
    if frames < 1:
        raise ValueError(f"the clip would have {frames} frames; it needs at least 1")
    if frames * height * width * 3 > MAX_CLIP_BYTES:
        raise ValueError(
            f"{frames} frames of {width}x{height} take more than {MAX_CLIP_BYTES / 2**30:.3g} GiB: ask for fewer, "
            "or make the source smaller"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """What the model is shown of a draft. start: the draft's frame at which it begins; negative if frames that nobody
    asked for come before. clip and kept: at the model's size. known: the cells whose pixels are all kept."""

    draft: Draft
    start: int
    clip: Clip
    kept: Bool[np.ndarray, "frames height width"]
    known: Bool[np.ndarray, "time rows columns"]

    @classmethod
    def of(cls, draft: Draft, *, width: int, height: int, context: int, cell: CellSize) -> "Work":
        """width, height: what the model was trained on; larger frames are brought to about as many pixels.
        context: how many wholly kept frames it sees before and after what is to be made."""
        size = working_size(draft.clip, width, height)
        start, stop = _span(np.asarray(draft.kept.all((1, 2))), context)
        kept = np.stack([_all_kept(frame, size) for frame in draft.kept[start:stop]])
        cells = _whole_blocks(kept, cell)
        offset = _best_phase(cells, cell.frames)
        frames = draft.clip.frames[np.clip(np.arange(start + offset, stop), 0, None)]
        shown = Clip(frames=frames, fps=draft.clip.fps)
        return cls(
            draft=draft,
            start=start + offset,
            clip=shown if size == (shown.width, shown.height) else shown.resize(*size),
            kept=_moved(kept, offset),
            known=_whole_layers(_moved(cells, offset), cell.frames),
        )

    def finished(self, made: Clip) -> Clip:
        """What was made, brought to the draft's size, where nothing is kept; the draft's own pixels where it is."""
        whole, first = self.draft.clip, max(self.start, 0)
        stop = self.start + len(made)
        fresh = Clip(frames=made.frames[first - self.start :], fps=made.fps)
        if (fresh.width, fresh.height) != (whole.width, whole.height):
            fresh = fresh.resize(whole.width, whole.height)
        feather = max(1, round(FEATHER * whole.width / made.width))
        frames = whole.frames.copy()
        kept = self.draft.kept
        frames[first:stop] = joined(whole.frames[first:stop], fresh.frames, kept[first:stop], feather)
        frames[first:stop] = softened(frames[first:stop], kept[first:stop], feather)
        return Clip(frames=eased(frames, np.asarray(kept.all((1, 2)))), fps=whole.fps)


def working_size(clip: Clip, width: int, height: int) -> tuple[int, int]:
    """(width, height) at which a model trained on width x height works on a clip: its own size, unless that is much
    larger; then about the model's number of pixels, the aspect kept as far as sides of whole patches can."""
    scale = (width * height / (clip.width * clip.height)) ** 0.5
    if scale**2 * NATIVE >= 1:
        return clip.width, clip.height
    return max(16, round(clip.width * scale / 16) * 16), max(16, round(clip.height * scale / 16) * 16)


def _span(whole: Bool[np.ndarray, " frames"], context: int) -> tuple[int, int]:
    """[start, stop) of the frames that matter: those with something to make, and `context` kept ones on either side."""
    missing = np.flatnonzero(~whole)
    if not len(missing):
        return 0, len(whole)
    return max(0, int(missing[0]) - context), min(len(whole), int(missing[-1]) + 1 + context)


def _all_kept(frame: Bool[np.ndarray, "height width"], size: tuple[int, int]) -> Bool[np.ndarray, "_ _"]:
    """A pixel of the smaller frame is kept if all pixels that it stands for are."""
    if size == frame.shape[::-1]:
        return frame
    if frame.all() or not frame.any():
        return np.full(size[::-1], frame.flat[0])
    image = Image.fromarray(np.where(frame, 0, 255).astype(np.uint8))
    return np.asarray(image.resize(size, Image.Resampling.BOX)) == 0


def _whole_blocks(kept: Bool[np.ndarray, "frames height width"], cell: CellSize) -> Bool[np.ndarray, "frames _ _"]:
    """Whether all pixels of the share of a frame that each cell, and its square, has are kept; what lies outside the
    frame does not count."""
    high, wide = cell.height * cell.square, cell.width * cell.square
    _, height, width = kept.shape
    padded = np.pad(kept, ((0, 0), (0, -height % high), (0, -width % wide)), constant_values=True)
    squares = padded.reshape(-1, padded.shape[1] // high, high, padded.shape[2] // wide, wide).all((2, 4))
    return np.asarray(squares.repeat(cell.square, axis=1).repeat(cell.square, axis=2))


def _whole_layers(kept: Bool[np.ndarray, "frames rows columns"], step: int) -> Bool[np.ndarray, "time rows columns"]:
    """Whether all frames of each layer of cells are kept. The first frame is a layer by itself, and what lies after
    the last does not count."""
    later = np.pad(kept[1:], ((0, -(len(kept) - 1) % step), (0, 0), (0, 0)), constant_values=True)
    return np.concatenate((kept[:1], later.reshape(-1, step, *kept.shape[1:]).all(1)))


def _best_phase(kept: Bool[np.ndarray, "frames rows columns"], step: int) -> int:
    """How many frames to leave out at the beginning (wholly kept ones), or to add there (negative), so that the fewest
    kept blocks lie in cells that are not whole: those would be hidden from the network."""
    droppable = 0
    while droppable < min(step - 1, len(kept) - 1) and kept[droppable].all():
        droppable += 1

    def wasted(offset: int) -> int:
        moved = _moved(kept, offset)
        known = _whole_layers(moved, step)
        return int(moved.sum()) - int(known[0].sum() + np.repeat(known[1:], step, 0)[: len(moved) - 1].sum())

    if kept.all():
        return 0
    return min(range(1 - step, droppable + 1), key=lambda offset: (wasted(offset), abs(offset)))


def _moved(kept: Bool[np.ndarray, "frames _ _"], offset: int) -> Bool[np.ndarray, "_ _ _"]:
    """Frames left out at the beginning, or unkept ones put before it."""
    return kept[offset:] if offset >= 0 else np.pad(kept, ((-offset, 0), (0, 0), (0, 0)))
