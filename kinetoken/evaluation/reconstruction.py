"""How near a rebuilt clip is to its source: in pixels (psnr), in structure (ssim), over time (flicker)."""

from typing import Final

import numpy as np

from kinetoken.clip import Clip

PEAK: Final = 255.0
SMALLEST_ERROR: Final = 1e-10
"""Mean squared error, in levels, that equal clips are said to have: 148 dB, so that every psnr is finite."""
SIGMA: Final = 1.5
"""Pixels, of the Gaussian window of SSIM, as in its paper (Wang et al. 2004)."""
SIGMAS_TO_EDGE: Final = 3.5
"""torchmetrics cuts the window off this far from its middle: 11 x 11 pixels at the usual sigma."""
FRAMES_AT_ONCE: Final = 16


def psnr(source: Clip, rebuilt: Clip) -> float:
    """Peak signal-to-noise ratio in dB: peak 255, one mean squared error over all frames, pixels and channels.

    Raises ValueError if the clips differ in frames or size.
    """
    _check_alike(source, rebuilt)
    squares = sum(
        float(np.square(a.astype(np.float32) - b).sum(dtype=np.float64))
        for a, b in zip(source.frames, rebuilt.frames, strict=True)
    )
    return float(10 * np.log10(PEAK**2 / max(squares / source.frames.size, SMALLEST_ERROR)))


def ssim(source: Clip, rebuilt: Clip) -> float:
    """Structural similarity, at most 1: the mean over frames and channels, data range 255, as torchmetrics has it.

    The window is Gaussian with a sigma of 1.5 pixels, 11 x 11 pixels large. In a frame with a side below 11 pixels it
    is as large as the longest odd number of pixels that fits the shorter side, and its sigma shrinks in proportion.
    Raises ValueError if the clips differ in frames or size.
    """
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    _check_alike(source, rebuilt)
    sigma, total = _sigma(min(source.height, source.width)), 0.0
    for start in range(0, len(source), FRAMES_AT_ONCE):
        before, after = (
            torch.from_numpy(clip.frames[start : start + FRAMES_AT_ONCE].astype(np.float32)).movedim(3, 1)
            for clip in (source, rebuilt)
        )
        similarity = structural_similarity_index_measure(after, before, sigma=sigma, data_range=PEAK, reduction="sum")
        assert isinstance(similarity, torch.Tensor)
        total += float(similarity)
    return total / len(source)


def flicker(source: Clip, rebuilt: Clip) -> float:
    """Mean absolute difference, in levels of 255, between how the two clips change from frame to frame.

    0 if all errors stand still; 0 of one frame. Raises ValueError if the clips differ in frames or size.
    """
    _check_alike(source, rebuilt)
    errors = (b.astype(np.int16) - a for a, b in zip(source.frames, rebuilt.frames, strict=True))
    before, total = next(errors), 0.0
    for error in errors:
        total += float(np.abs(error - before).mean())
        before = error
    return total / max(len(source) - 1, 1)


def _sigma(side: int) -> float:
    """Sigma of the largest window that fits a frame whose shorter side has this many pixels, at most the usual one."""
    pixels_to_edge = (side - 1) // 2
    return min(SIGMA, max(pixels_to_edge, 0.1) / SIGMAS_TO_EDGE)


def _check_alike(source: Clip, rebuilt: Clip) -> None:
    if source.frames.shape != rebuilt.frames.shape:
        found = " and ".join(f"{len(clip)} frames of {clip.width}x{clip.height}" for clip in (source, rebuilt))
        raise ValueError(f"the clips differ in frames or size: {found}; cut or resize one of them first")
