"""Refined codes decode to less error, and are codes like any others."""

import numpy as np
import pytest
import torch

from kinetoken.clip import Clip
from kinetoken.evaluation.generation import through
from kinetoken.evaluation.reconstruction import psnr
from kinetoken.generator import Generator
from kinetoken.tokenizer.mosaic import BASE, STILLS
from kinetoken.tokenizer.refining import refined
from kinetoken.tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> VideoTokenizer:
    return Generator.from_pretrained("toybox", device="cpu").tokenizer


@pytest.fixture(scope="module")
def clip() -> Clip:
    """Soft blobs that move: nothing that the tokenizer has been made for."""
    t, y, x = np.meshgrid(np.arange(9), np.arange(30), np.arange(44), indexing="ij")
    waves = [np.sin(x / (5 + c) + t / 2) * np.cos(y / (6 - c) - t / 3) for c in range(3)]
    return Clip(frames=((np.stack(waves, -1) + 1) * 127.5).astype(np.uint8), fps=8.0)


def test_every_turn_there_is_less_error(tokenizer: VideoTokenizer, clip: Clip) -> None:
    figures = [psnr(clip, through(tokenizer, clip, refine=turns)) for turns in range(3)]
    assert figures[1] > figures[0] + 0.3 and figures[2] > figures[1] + 0.05


def test_colours_stay_and_what_a_clip_begins_with_does_not_move(tokenizer: VideoTokenizer, clip: Clip) -> None:
    before, after = tokenizer.encode_clip(clip), tokenizer.encode_clip(clip, refine=1)
    assert (before != after).float().mean() > 0.05
    assert torch.equal(before % BASE, after % BASE) and (after[0] < STILLS).all() and after.max() < 3 * STILLS


def test_what_cannot_be_better_stays() -> None:
    """A clip that codes decode to is said best by these codes."""
    mosaic = Generator.from_pretrained("toybox", device="cpu").tokenizer
    codes = mosaic.encode(torch.rand(1, 5, 16, 16, 3) * 2 - 1)
    frames = mosaic.decode(codes)
    assert torch.equal(refined(mosaic.quantizer, mosaic.reconstruct, frames, codes, turns=1), codes)


def test_loops_and_learned_codes_are_refused(tokenizer: VideoTokenizer, clip: Clip) -> None:
    with pytest.raises(ValueError, match="loops"):
        tokenizer.encode_clip(clip, loop=True, refine=1)
    with pytest.raises(ValueError, match="only mosaics"):
        VideoTokenizer(TokenizerConfig(channels=16)).encode_clip(clip, refine=1)
