"""Where a video is cut, and which clips are not worth keeping."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from importlib.util import find_spec

import numpy as np
from jaxtyping import UInt8

DARK = 32  # of 255: nothing is seen in a pixel below this
CHANGE = 12  # of 255: less than this between two frames is the noise of compression
SHARE = 0.001  # of a picture's pixels: fewer than this are no object


class Reason(StrEnum):
    """Why something is not in the data set."""

    CORRUPT = "corrupt"
    TOO_SHORT = "too short"
    BLACK = "black"
    STILL = "still"
    DUPLICATE = "duplicate"


def reason_to_drop(frames: UInt8[np.ndarray, "frames height width 3"], shortest: int) -> Reason | None:
    """Of a clip that should have `shortest` frames at least. One frame is a picture: it may stand still."""
    if 1 < len(frames) < shortest:
        return Reason.TOO_SHORT
    if not any((frame.max(axis=-1) >= DARK).mean() >= SHARE for frame in frames):
        return Reason.BLACK
    if len(frames) > 1 and not any(_differ(frames[0], frame) for frame in frames[1:]):
        return Reason.STILL
    return None


def _differ(first: UInt8[np.ndarray, "height width 3"], second: UInt8[np.ndarray, "height width 3"]) -> bool:
    change = np.maximum(first, second) - np.minimum(first, second)
    return bool((change.max(axis=-1) >= CHANGE).mean() >= SHARE)


def stretches(
    frames: Iterable[UInt8[np.ndarray, "height width 3"]], *, longest: int, fps: float, cuts: bool
) -> Iterator[tuple[int, UInt8[np.ndarray, "frames height width 3"]]]:
    """(number of the first frame, frames) of every stretch between cuts, in pieces of `longest` frames; never more than
    one piece is in memory. cuts: find them with PySceneDetect; if not, the whole is one stretch."""
    is_cut = _CutDetector(fps) if cuts else lambda frame: False
    piece: list[np.ndarray] = []
    first = 0
    for number, frame in enumerate(frames):
        cut = is_cut(frame)
        if piece and (cut or len(piece) == longest):
            yield first, np.stack(piece)
            piece, first = [], number
        piece.append(frame)
    if piece:
        yield first, np.stack(piece)


def check_can_cut() -> None:
    """Raises ValueError when PySceneDetect is not installed."""
    if find_spec("scenedetect") is None or find_spec("cv2") is None:
        raise ValueError("splitting at cuts needs PySceneDetect: pip install 'kinetoken[data]', or give --no-cuts")


class _CutDetector:
    """PySceneDetect's ContentDetector, with its usual threshold: a jump of hue, saturation and brightness. Scenes may
    be as short as a frame here; what is too short is dropped with that reason."""

    def __init__(self, fps: float) -> None:
        import cv2
        from scenedetect import ContentDetector, FrameTimecode

        cv2.setNumThreads(1)  # the cores have work: each reads a file of its own
        self._detector, self._number = ContentDetector(min_scene_len=0), 0
        self._timecode = lambda number: FrameTimecode(number, fps)

    def __call__(self, frame: UInt8[np.ndarray, "height width 3"]) -> bool:
        self._number += 1
        blue_first = np.ascontiguousarray(frame[..., ::-1])
        return bool(self._detector.process_frame(self._timecode(self._number), blue_first))
