"""Tasks: each lays out what is known, and differs from the others in nothing else.

A canvas says it in codes, a draft (draft.py) in pixels: the generator makes the canvas of a draft from it. Lengths and
places in time are frames here; seconds are for the command line.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from kinetoken.canvas import Canvas
from kinetoken.clip import Clip
from kinetoken.draft import Draft, check_length
from kinetoken.grid import GridShape
from kinetoken.layout import HIDDEN
from kinetoken.processes.orders import halton_ranks
from kinetoken.vocabulary import Vocabulary

Fit = Literal["crop", "pad"]

# Canvases


def completion(
    row: Sequence[int] | None,
    grid: Int[Tensor, "time rows columns"],
    known: Bool[Tensor, "time rows columns"],
    words: int = 16,
) -> Canvas:
    """Some of the grid is known, and the text (or not, if row is None: then a place is left for so many words)."""
    text = torch.full((1, words), Vocabulary.MASK) if row is None else torch.tensor([row])
    return Canvas(
        text=text,
        grid=grid[None],
        text_known=torch.full(text.shape, row is not None),
        grid_known=known[None],
    )


def text_to_video(row: Sequence[int], shape: GridShape) -> Canvas:
    """The text is known, the grid is not. One layer of time is text-to-image."""
    return completion(row, torch.full(shape.sizes, Vocabulary.MASK), torch.zeros(shape.sizes, dtype=torch.bool))


def continuing(
    empty: Canvas,
    past: Int[Tensor, "1 layers rows columns"],
    layout: Int[Tensor, "1 layers things digits"] | None = None,
) -> Canvas:
    """The first layers are known: what came before. layout: of these layers, if it is known."""
    places = torch.zeros_like(empty.grid_known)
    places[:, : past.shape[1]] = True
    canvas = empty.with_grid(places, past.flatten())
    if layout is None:
        return canvas
    told = F.pad(layout, (0, 0, 0, 0, 0, empty.grid.shape[1] - layout.shape[1]), value=HIDDEN)
    return replace(canvas, layout=told, layout_known=told[..., 0] != HIDDEN)


def closing(empty: Canvas, past: Int[Tensor, "1 layers rows columns"]) -> Canvas:
    """As `continuing`, and time is a circle: what is filled leads from the last known layer to the first."""
    return replace(continuing(empty, past), loop=True)


def captioning(grid: Int[Tensor, "time rows columns"], words: int) -> Canvas:
    """The grid is known, the text is not."""
    return completion(None, grid, torch.ones_like(grid, dtype=torch.bool), words)


def imagining(shape: GridShape, words: int) -> Canvas:
    """Nothing is known."""
    empty = torch.full(shape.sizes, Vocabulary.MASK)
    return completion(None, empty, torch.zeros(shape.sizes, dtype=torch.bool), words)


def first_codes(shape: GridShape, share: float, seed: int) -> Bool[Tensor, "time rows columns"]:
    """The share of cells that a sampler with this seed fills first: what is known at a smaller share is known at every
    larger one, and a remix is a generation that somebody else has begun."""
    ranks = halton_ranks(shape, np.random.default_rng(seed))
    return torch.from_numpy(ranks < round(share * shape.cells))


# Drafts


def animate(pictures: Sequence[tuple[int, Clip]], *, frames: int, fps: float, fit: Fit | None = None) -> Draft:
    """Pictures (one frame each) at given frames are kept. The first one's size is the clip's.

    Raises: ValueError for a picture outside the clip, two at one time, or one of another shape without `fit`.
    """
    return pinned([(at, _first_frame(picture)) for at, picture in pictures], frames=frames, fps=fps, fit=fit)


def extend(clip: Clip, *, before: int = 0, after: int = 0) -> Draft:
    """The clip is kept, with so many new frames before and after it."""
    if min(before, after) < 0 or before + after < 1:
        raise ValueError(f"an extension is at least 1 frame, found {before} before and {after} after: say how long")
    return pinned([(before, clip)], frames=before + len(clip) + after, fps=clip.fps)


def connect(clips: Sequence[Clip], *, gap: int, fit: Fit | None = None) -> Draft:
    """All clips are kept, one after another, with `gap` new frames between them. The first one's size and rate are
    those of the outcome: the others are brought to them.

    Raises: ValueError for fewer than two clips, no gap, or clips of another shape without `fit`.
    """
    if len(clips) < 2 or gap < 1:
        raise ValueError(
            f"connecting takes 2 clips or more and a gap of at least 1 frame, found {len(clips)} and {gap}"
        )
    alike = [brought_to(clip, clips[0], fit) for clip in clips]
    starts = np.cumsum([0] + [len(clip) + gap for clip in alike[:-1]]).tolist()
    return pinned(list(zip(starts, alike, strict=True)), frames=starts[-1] + len(alike[-1]), fps=clips[0].fps)


def inpaint(clip: Clip, hole: Bool[np.ndarray, "_ height width"]) -> Draft:
    """Everything outside the hole is kept. hole: of every frame, or one for all of them; True is to be made.

    Raises: ValueError for a hole of another size or length, or an empty one.
    """
    if hole.shape[1:] != (clip.height, clip.width) or hole.shape[0] not in (1, len(clip)):
        found = f"{hole.shape[0]} frames of {hole.shape[2]}x{hole.shape[1]}"
        raise ValueError(
            f"the mask has {found}, the clip {len(clip)} of {clip.width}x{clip.height}: give a mask of the same size, "
            "with one frame or as many"
        )
    if not hole.any():
        raise ValueError("the mask is empty: nothing in it is white, so there is nothing to make")
    return Draft(clip=clip, kept=np.broadcast_to(~hole, clip.frames.shape[:3]))


def outpaint(clip: Clip, *, width: int, height: int, cell: int = 8) -> Draft:
    """The clip is kept in the middle of a larger frame, near enough: at a whole number of cells from its corner, so
    that no kept pixel is hidden from the network. Its edges, drawn out, stand in for what is to be made.

    Raises: ValueError if the size is not larger.
    """
    right, down = width - clip.width, height - clip.height
    if min(right, down) < 0 or right + down == 0:
        raise ValueError(
            f"the clip is {clip.width}x{clip.height}; outpaint to a larger size than that, not {width}x{height}"
        )
    check_length(len(clip), height, width)
    left, top = (round(more / 2 / cell) * cell if more >= cell else more // 2 for more in (right, down))
    left, top = min(left, right), min(top, down)
    margins = ((0, 0), (top, down - top), (left, right - left))
    frames = np.pad(clip.frames, (*margins, (0, 0)), mode="edge")
    kept = np.pad(np.ones(clip.frames.shape[:3], dtype=bool), margins)
    return Draft(clip=Clip(frames=frames, fps=clip.fps), kept=kept)


def remix(clip: Clip, *, strength: float) -> Draft:
    """A share 1 - strength of the codes is known; no pixel is kept, but all of them at strength 0.

    Raises: ValueError unless strength lies in [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength lies between 0 (the source) and 1 (a new clip), found {strength}")
    kept = np.broadcast_to(np.array(strength == 0), clip.frames.shape[:3])
    return Draft(clip=clip, kept=kept, share=1 - strength)


def recut(clip: Clip, *, keep: tuple[int, int], at: int, frames: int) -> Draft:
    """The frames [keep[0], keep[1]) of the clip are kept, at frame `at` of a clip of `frames`.

    Raises: ValueError if the clip is shorter than that, or the kept part does not lie inside the new clip.
    """
    start, stop = keep
    if not 0 <= start < stop <= len(clip):
        raise ValueError(
            f"cannot keep frames {start} to {stop} of a clip of {len(clip)}: it is {clip.seconds:g} s long"
        )
    part = Clip(frames=clip.frames[start:stop], fps=clip.fps)
    return pinned([(at, part)], frames=frames, fps=clip.fps)


def pinned(pieces: Sequence[tuple[int, Clip]], *, frames: int, fps: float, fit: Fit | None = None) -> Draft:
    """Pieces (start, clip) are kept at their places of a new timeline; elsewhere the nearest kept frame stands in, so
    that the codes of kept cells are those of a calm neighbourhood."""
    like = Clip(frames=pieces[0][1].frames, fps=fps)
    check_length(frames, like.height, like.width)
    order = sorted((start, start + len(piece)) for start, piece in pieces)
    if order[0][0] < 0 or order[-1][1] > frames:
        raise ValueError(f"frames {order[0][0]} to {order[-1][1]} do not lie inside a clip of {frames}: make it longer")
    if any(after[0] < before[1] for before, after in pairwise(order)):
        raise ValueError("two things are kept at the same time: move one of them")
    timeline, kept = np.zeros((frames, *like.frames.shape[1:]), np.uint8), np.zeros(frames, dtype=bool)
    for start, piece in pieces:
        shown = sized(piece, like, fit)
        timeline[start : start + len(shown)], kept[start : start + len(shown)] = shown.frames, True
    return Draft.of_frames(Clip(frames=timeline[_nearest(kept)], fps=fps), kept)


def check_board(cards: Sequence[tuple[int, str]], frames: int) -> None:
    """Raises: ValueError unless cards (frame, prompt) begin at 0, are in order, and all lie inside the board."""
    times = [frame for frame, _ in cards]
    if not cards or times[0] != 0:
        raise ValueError("a storyboard needs cards, the first of them at time 0")
    if any(after <= before for before, after in pairwise(times)):
        raise ValueError(f"the cards are out of order: they begin at frames {times}; put them in order of time")
    if times[-1] >= frames:
        raise ValueError(f"card {len(cards)} begins at frame {times[-1]}, past the end of a board of {frames} frames")
    for number, (_, prompt) in enumerate(cards, start=1):
        if not prompt.strip():
            raise ValueError(f"card {number} has no prompt: say what should be seen")


def _nearest(kept: Bool[np.ndarray, " frames"]) -> Int[np.ndarray, " frames"]:
    """For every frame the nearest kept one, the earlier of two."""
    places = np.flatnonzero(kept)
    after = np.searchsorted(places, np.arange(len(kept))).clip(0, len(places) - 1)
    before = (after - 1).clip(0)
    times = np.arange(len(kept))
    return np.where(np.abs(places[before] - times) <= np.abs(places[after] - times), places[before], places[after])


def brought_to(clip: Clip, like: Clip, fit: Fit | None) -> Clip:
    """The clip at another one's rate (nearest frames) and size."""
    shown = sized(clip, like, fit)
    count = max(1, round(len(clip) * like.fps / clip.fps))
    times = (np.arange(count) * clip.fps / like.fps).round().astype(int).clip(0, len(clip) - 1)
    return Clip(frames=shown.frames[times], fps=like.fps)


def sized(clip: Clip, like: Clip, fit: Fit | None) -> Clip:
    """The clip at another one's size. Raises: ValueError for another shape, unless `fit` says what to do with it."""
    width, height = like.width, like.height
    if (clip.width, clip.height) == (width, height):
        return clip
    if fit == "crop":
        return clip.crop_to(width, height)
    if fit == "pad":
        return clip.pad_to(width, height)
    if abs(clip.width * height - clip.height * width) > max(clip.width * height, clip.height * width) / 50:
        raise ValueError(
            f"one is {width}x{height} and another {clip.width}x{clip.height}, of another shape: choose to crop or to "
            "pad it (--fit crop, --fit pad)"
        )
    return clip.resize(width, height)


def _first_frame(picture: Clip) -> Clip:
    return Clip(frames=picture.frames[:1], fps=picture.fps)
