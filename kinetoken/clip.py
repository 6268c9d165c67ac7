"""Clip: frames and a rate. The only file that opens media."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True, kw_only=True)
class Clip:
    """frames: uint8 RGB, T x H x W x 3; fps: frames per second. An image is a clip of one frame."""

    frames: UInt8[np.ndarray, "frames height width 3"]
    fps: float
