"""Joins: what is made meets what is kept, and what is kept stays as it is."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetoken.joins import FADE, STILL, eased, gradients, joined, led_on, softened, step_sizes


def drifting(levels: list[int]) -> np.ndarray:
    """Plain frames of these levels, so that a step's size is the difference of two."""
    return np.tile(np.array(levels, dtype=np.uint8)[:, None, None, None], (1, 8, 8, 3))


def test_made_frames_keep_to_the_pace_of_what_is_kept() -> None:
    kept = np.array([True, True, True, *[False] * 8, True, True])
    frames = drifting([10, 12, 14, *range(24, 40, 2), 44, 46])
    result = eased(frames, kept)
    assert (result[kept] == frames[kept]).all()
    assert step_sizes(frames)[[2, 10]].tolist() == [10, 6] and (step_sizes(result)[[2, 10]] <= 2).all()
    assert (np.diff(result[:, 0, 0, 0].astype(int)) > 0).all(), "no step back on the way there"


def test_what_misses_a_join_is_led_to_it_within_the_feather() -> None:
    """A miss that differs from place to place fades by equal steps, each place's own, and what lies farther stays."""
    kept = np.zeros((1, 8, 16), dtype=bool)
    kept[:, :, :8] = True
    made = np.full((1, 8, 16, 3), 100, np.uint8)
    source = made + np.where(np.arange(8) < 4, 40, 80).astype(np.uint8)[None, :, None, None]
    rows = joined(source, made, kept, feather=3)[0, :, :, 0]
    assert (rows[:, :8] == source[0, :, :8, 0]).all() and (rows[:, 11:] == 100).all()
    assert rows[0, 8:11].tolist() == [130, 120, 110] and rows[7, 8:11].tolist() == [160, 140, 120]


def test_a_cut_fades_and_nothing_is_eased_without_a_pace() -> None:
    frames = drifting([10, 10, 210, 210, 210, 210, 210, 210])
    result = eased(frames, np.arange(8) < 2)
    assert np.allclose(result[2 : 2 + FADE, 0, 0, 0].astype(float), [50, 114, 171.6, 202.3], atol=1)
    assert (result[2 + FADE :] == 210).all()
    one = np.arange(8) < 1
    assert (eased(frames, one) == frames).all()
    slow = drifting([10, 12, 13, 14, 15])
    assert (eased(slow, np.arange(5) < 2) == slow).all(), "what keeps to the pace stays as it is"


def test_frames_that_follow_a_last_one_come_in_at_its_pace() -> None:
    last, made = drifting([10])[0], drifting([18, 19, 20, 21, 22, 23])
    levels = led_on(last, made, pace=3.0)[:, 0, 0, 0].tolist()
    assert levels[0] == 13 and levels[4:] == [22, 23] and levels == sorted(levels)
    assert (led_on(last, made, pace=8.0) == made).all()


def outlines(aside: int) -> tuple[np.ndarray, np.ndarray]:
    """A white stripe on black that crosses a hole, in which it lies so many pixels aside."""
    frames, kept = np.zeros((2, 24, 24, 3), np.uint8), np.ones((2, 24, 24), dtype=bool)
    kept[:, 8:16, 8:16] = False
    frames[:, 10:13] = 255
    frames[:, 8:16, 8:16] = 0
    frames[:, 10 + aside : 13 + aside, 8:16] = 255
    return frames, kept


def across(frames: np.ndarray, kept: np.ndarray) -> np.ndarray:
    return np.concatenate([gradients(frames, axis)[np.diff(kept, axis=axis)] for axis in (1, 2)])


def test_an_outline_that_misses_its_own_is_led_to_it() -> None:
    frames, kept = outlines(aside=2)
    result = softened(frames, kept, feather=3)
    assert (result[kept] == frames[kept]).all() and (result[:, 11:13, 11:13] == frames[:, 11:13, 11:13]).all()
    own = np.concatenate([gradients(frames[:, :8], axis).ravel() for axis in (1, 2)])
    assert across(frames, kept).mean() > 60 > 1 > across(result, kept).mean() and not np.percentile(own, 95)


def test_what_fits_is_left_as_it_is() -> None:
    frames, kept = outlines(aside=0)
    assert (softened(frames, kept, feather=3) == frames).all()
    whole = np.ones_like(kept)
    whole[1] = False  # frames that are kept as a whole, or not at all, have no join within
    assert (softened(frames, whole, feather=3) == frames).all()


@given(seed=st.integers(0, 10**6), height=st.integers(1, 9), width=st.integers(1, 9), feather=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_no_join_stands_out_and_nothing_kept_is_touched(seed: int, height: int, width: int, feather: int) -> None:
    """Plain kept pixels and anything beside them: the join comes down to what no eye sees, or, where a made pixel lies
    between kept ones, to half of what it was."""
    rng = np.random.default_rng(seed)
    kept = rng.random((2, height, width)) < 0.5
    frames = np.where(kept[..., None], 100, rng.integers(0, 256, (2, height, width, 3))).astype(np.uint8)
    result = softened(frames, kept, feather)
    assert (result[kept] == 100).all()
    if len(steps := across(frames, kept)):
        assert across(result, kept).mean() <= max(STILL, steps.mean() / 2) + 0.5
