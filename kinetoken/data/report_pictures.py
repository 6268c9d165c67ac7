"""Pictures that stand inside a page, as data URIs."""

from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from kinetoken.clip import Clip

THUMBNAIL_FRAMES = 16
THUMBNAIL_SIDE = 128


def photo(frame: UInt8[np.ndarray, "height width 3"], height: int) -> str:
    """Reduced to a height, if it is higher."""
    image = Image.fromarray(frame)
    image.thumbnail((8 * height, height), Image.Resampling.LANCZOS)
    return _uri(image, "jpeg", quality=80)


def pixels(frame: UInt8[np.ndarray, "height width 3"]) -> str:
    """Exactly as it is."""
    return _uri(Image.fromarray(frame), "webp", lossless=True)


def animation(clip: Clip) -> str:
    """The clip's first seconds, small."""
    images = [Image.fromarray(frame) for frame in clip.frames[:THUMBNAIL_FRAMES]]
    for image in images:
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    return _uri(
        images[0],
        "webp",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / clip.fps),
        loop=0,
        quality=60,
    )


def _uri(image: Image.Image, kind: str, **options: Any) -> str:
    content = BytesIO()
    image.save(content, format=kind, **options)
    return f"data:image/{kind};base64,{b64encode(content.getvalue()).decode()}"
