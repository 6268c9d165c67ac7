"""What is behind the actors: colours, floor, marks and the camera's move, recognised by rendering every possibility."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, UInt8

from kinetoken.clip import Clip
from kinetoken.data.toybox import Background, BackgroundColour, Camera, Scene, render
from kinetoken.data.toybox_render import MARK_TONE

Rows = Float[np.ndarray, "frames height 3"]

ROW_ERROR_CAP: Final = 60.0
"""A row that differs by more levels than this is covered by actors: how much more tells nothing."""
ROW_ERROR_SHOWN: Final = 30.0
"""Mean difference in levels up to which the best fitting background counts as shown. Another colour in the palette
is at least 35 levels away; lossy reconstructions are off by a few."""
MARKS_SHOWN: Final = 0.18
"""Least strength of marks: 1 as rendered, about 0 where there are none."""
FEWEST_MARKS: Final = 0.01
"""Share of the pixels that must be so light for marks to be looked for. A lattice covers 6%."""
OFF_MARKS: Final = 30.0
"""Farthest a pixel may be from the line between the colours of its row and of its row's marks."""
SAMPLED_FRAMES: Final = 5
"""Frames from which the setting is recognised, evenly spread."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The recognised scene without its actors. canvas: as rendered; one frame if all are alike.

    plausible: whether the best fit is good enough to be called shown at all.
    """

    background: Background
    camera: Camera
    canvas: UInt8[np.ndarray, "views height width 3"]
    plausible: bool


@dataclass(frozen=True, kw_only=True)
class Format:
    """Size and timing of a clip: what a background is rendered for."""

    frames: int
    width: int
    height: int
    fps: float

    @classmethod
    def of(cls, clip: Clip) -> "Format":
        return cls(frames=len(clip), width=clip.width, height=clip.height, fps=clip.fps)

    def render(self, background: Background, camera: Camera) -> UInt8[np.ndarray, "frames height width 3"]:
        scene = Scene(actors=(), background=background, camera=camera)
        return render(scene, frames=self.frames, width=self.width, height=self.height, fps=self.fps).frames


def recognise_setting(clip: Clip) -> Setting:
    form = Format.of(clip)
    chosen = np.unique(np.linspace(0, len(clip) - 1, SAMPLED_FRAMES).round().astype(int))
    background, plausible = _recognise_colours(clip, form, chosen)
    camera = _recognise_camera(clip, form, chosen, background)
    canvas = _rows_book(form)[background, camera or Camera.STILL][:, :, None]
    if camera is not None:
        canvas = _with_marks(canvas, _mark_cover(form, camera))
    return Setting(
        background=Background(colours=background.colours, floor=background.floor, marks=camera is not None),
        camera=camera or Camera.STILL,
        canvas=np.broadcast_to(canvas, (len(canvas), clip.height, clip.width, 3)).astype(np.uint8),
        plausible=plausible,
    )


def _recognise_colours(clip: Clip, form: Format, chosen: np.ndarray) -> tuple[Background, bool]:
    """The colours and floor whose rows are nearest to the rows' median colours, under any zoom."""
    seen = np.median(clip.frames[chosen][:, :, ::2], axis=2).astype(np.float32)
    keys, book = _row_hypotheses(form)
    errors = np.abs(book[:, chosen] - seen).clip(max=ROW_ERROR_CAP).reshape(len(keys), -1).mean(axis=1)
    best = int(errors.argmin())
    return keys[best][0], bool(errors[best] <= ROW_ERROR_SHOWN)


def _recognise_camera(clip: Clip, form: Format, chosen: np.ndarray, background: Background) -> Camera | None:
    """The camera whose moving marks are seen; None where there are no marks, so that nothing moves."""
    pixels = clip.frames[chosen][:, :, ::2].astype(np.float32)
    found, free = _lightness(pixels, _rows_of(form, background, Camera.STILL, chosen))
    if np.mean(free & (found > MARKS_SHOWN)) < FEWEST_MARKS:
        return None
    strengths = {camera: _marks_strength(pixels, form, chosen, background, camera) for camera in Camera}
    best = max(strengths, key=strengths.__getitem__)
    return best if strengths[best] > MARKS_SHOWN else None


def _marks_strength(
    pixels: Float[np.ndarray, "frames height columns 3"],
    form: Format,
    chosen: np.ndarray,
    background: Background,
    camera: Camera,
) -> float:
    """How strong this camera's marks are, 1 if they are as rendered: the mean over the places where they should be,
    less that over the others."""
    found, free = _lightness(pixels, _rows_of(form, background, camera, chosen))
    cover = _all_frames(_mark_cover(form, camera), form.frames)[chosen][:, :, ::2]
    on, beside = cover * free, (1 - cover) * free
    return float((found * on).sum() / max(on.sum(), 1.0) - (found * beside).sum() / max(beside.sum(), 1.0))


def _lightness(
    pixels: Float[np.ndarray, "frames height columns 3"], rows: Rows
) -> tuple[Float[np.ndarray, "frames height columns"], Bool[np.ndarray, "frames height columns"]]:
    """How far each pixel is from the colour of its row, 0, to that of the row's marks, 1; and whether it is between
    them at all. What is not shows actors."""
    goal = _mark_rgb(rows) - rows
    off = pixels - rows[:, :, None]
    energy = np.einsum("fhc,fhc->fh", goal, goal)[..., None]
    found = np.einsum("fhwc,fhc->fhw", off, goal) / energy
    aside = np.einsum("fhwc,fhwc->fhw", off, off) - found**2 * energy
    return found, (np.abs(found - 0.5) < 1) & (aside < OFF_MARKS**2)


def _rows_of(form: Format, background: Background, camera: Camera, chosen: np.ndarray) -> Rows:
    return _all_frames(_rows_book(form)[background, camera], form.frames)[chosen]


def _with_marks(rows: np.ndarray, cover: Float[np.ndarray, "views height width"]) -> np.ndarray:
    return rows + cover[..., None] * (_mark_rgb(rows) - rows)


def _mark_rgb(rows: np.ndarray) -> np.ndarray:
    """Marks are lighter than dark rows, darker than light ones."""
    goal = np.where(rows.mean(axis=-1, keepdims=True) < 90, np.float32(200), np.float32(0))
    return rows + np.float32(MARK_TONE) * (goal - rows)


def _all_frames(views: np.ndarray, frames: int) -> np.ndarray:
    return np.broadcast_to(views, (frames, *views.shape[1:]))


def all_backgrounds() -> list[Background]:
    """Every combination of colours and floor, without marks."""
    colours = [*((colour,) for colour in BackgroundColour), *permutations(BackgroundColour, 2)]
    return [Background(colours=pair, floor=floor) for pair, floor in product(colours, (False, True))]


@lru_cache(maxsize=8)
def _rows_book(form: Format) -> dict[tuple[Background, Camera], Float[np.ndarray, "views height 3"]]:
    """The rows of every background under every camera; one view where the camera leaves them alike. Pans do."""
    book: dict[tuple[Background, Camera], np.ndarray] = {}
    narrow = Format(frames=form.frames, width=min(form.width, form.height), height=form.height, fps=form.fps)
    for background in all_backgrounds():
        still = narrow.render(background, Camera.STILL)[:1, :, 0].astype(np.float32)
        for camera in Camera:
            zooms = camera in (Camera.ZOOMS_IN, Camera.ZOOMS_OUT)
            book[background, camera] = narrow.render(background, camera)[:, :, 0].astype(np.float32) if zooms else still
    return book


@lru_cache(maxsize=8)
def _row_hypotheses(
    form: Format,
) -> tuple[list[tuple[Background, Camera]], Float[np.ndarray, "guesses frames height 3"]]:
    keys = list(product(all_backgrounds(), (Camera.STILL, Camera.ZOOMS_IN, Camera.ZOOMS_OUT)))
    book = _rows_book(form)
    return keys, np.stack([_all_frames(book[key], form.frames) for key in keys])


@lru_cache(maxsize=32)
def _mark_cover(form: Format, camera: Camera) -> Float[np.ndarray, "views height width"]:
    """How far every pixel is covered by marks, 0 to 1, under this camera."""
    bare, marked = (
        form.render(Background(colours=(BackgroundColour.BLACK,), marks=marks), camera)[..., 0].astype(np.float32)
        for marks in (False, True)
    )
    cover = (marked - bare) / (marked - bare).max()
    return cover[:1] if camera == Camera.STILL else cover
