import numpy as np
import pytest

from kinetoken.data.filters import Reason, reason_to_drop, stretches
from tests.data.clips import flat, moving


def test_reasons() -> None:
    assert reason_to_drop(moving(0).frames, 8) is None
    assert reason_to_drop(moving(0).frames, 9) == Reason.TOO_SHORT
    assert reason_to_drop(flat(10).frames, 2) == Reason.BLACK
    assert reason_to_drop(flat(99).frames, 2) == Reason.STILL
    assert reason_to_drop(flat(99, frames=1).frames, 1) is None
    noise = np.random.default_rng(0).integers(0, 8, (8, 24, 24, 3), dtype=np.uint8)
    assert reason_to_drop(flat(99).frames + noise, 2) == Reason.STILL


def test_long_scenes_are_cut_into_pieces() -> None:
    frames = moving(0, frames=11).frames
    pieces = list(stretches(frames, longest=4, fps=8.0, cuts=False))
    assert [first for first, _ in pieces] == [0, 4, 8]
    assert (np.concatenate([piece for _, piece in pieces]) == frames).all()


def test_cuts_are_where_the_scene_changes() -> None:
    pytest.importorskip("scenedetect")
    scenes = [flat(40).frames[:7], moving(5, frames=9).frames + 0, flat(230).frames]
    found = list(stretches(np.concatenate(scenes), longest=100, fps=8.0, cuts=True))
    assert [(first, len(piece)) for first, piece in found] == [(0, 7), (7, 9), (16, 8)]
    assert all((piece == scene).all() for (_, piece), scene in zip(found, scenes, strict=True))


def test_a_fast_pan_is_no_cut() -> None:
    pytest.importorskip("scenedetect")
    wide = np.random.default_rng(0).integers(0, 256, (24, 200, 3), dtype=np.uint8)
    pan = np.stack([wide[:, 9 * time : 9 * time + 24] for time in range(16)])
    assert len(list(stretches(pan, longest=100, fps=8.0, cuts=True))) == 1
