"""Where a video is cut, and which clips are not worth keeping."""

from collections import deque
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
    if len(frames) < shortest:
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
    piece: list[np.ndarray] = []
    first = 0
    for number, (begins, frame) in enumerate(_beginnings(frames, fps) if cuts else ((False, f) for f in frames)):
        if piece and (begins or len(piece) == longest):
            yield first, np.stack(piece)
            piece, first = [], number
        piece.append(frame)
    if piece:
        yield first, np.stack(piece)


def check_can_cut() -> None:
    """Raises ValueError when PySceneDetect is not installed."""
    if find_spec("scenedetect") is None or find_spec("cv2") is None:
        raise ValueError("splitting at cuts needs PySceneDetect: pip install 'kinetoken[data]', or give --no-cuts")


def _beginnings(frames: Iterable[np.ndarray], fps: float) -> Iterator[tuple[bool, np.ndarray]]:
    """Each frame, and whether a scene begins with it.

    PySceneDetect's AdaptiveDetector, with its usual thresholds: a jump of hue, saturation and brightness that is three
    times those around it, for at a low rate a fast pan jumps with every frame. It looks two frames ahead.
    """
    import cv2
    from scenedetect import AdaptiveDetector, FrameTimecode

    cv2.setNumThreads(1)  # the cores have work: each reads a file of its own
    detector = AdaptiveDetector(min_scene_len=1)
    waiting: deque[np.ndarray] = deque()
    for number, frame in enumerate(frames):
        blue_first = np.ascontiguousarray(frame[..., ::-1])
        cut = bool(detector.process_frame(FrameTimecode(number, fps), blue_first))
        waiting.append(frame)
        if len(waiting) > detector.window_width:
            yield cut, waiting.popleft()
    yield from ((False, frame) for frame in waiting)
