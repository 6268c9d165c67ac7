"""Codes chosen by what they decode to, rather than by what they are made from."""

from collections.abc import Callable
from itertools import product
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from kinetoken.grid import CellSize
from kinetoken.tokenizer.layers import blocks_from_frames
from kinetoken.tokenizer.mosaic import BASE, MOTIONS, PIXELS, STILLS, TONES, Mosaic

APART: Final = (2, 4, 4)  # layers, rows and columns between cells that are tried together, so that each is judged alone
GRADIENTS: Final = 4  # of a turn


Decode = Callable[[Float[Tensor, "batch time rows columns width"]], Float[Tensor, "batch frames height width 3"]]


def refined(
    mosaic: Mosaic,
    decode: Decode,
    frames: Float[Tensor, "batch frames height width 3"],
    codes: Int[Tensor, "batch time rows columns"],
    *,
    turns: int = 1,
) -> Int[Tensor, "batch time rows columns"]:
    """Codes that decode to frames with less error: analysis by synthesis, as encoders of speech and of video choose
    theirs, and neural codecs their latents (Yang et al. 2020). In every turn each cell is tried once with the one digit
    changed, of its pixels' tones and of its motion, from which the decoder's gradient promises most; what decodes to
    less squared error around the cell is kept. So codes are no longer told by their own pixels alone, and the colours
    of squares stay as they are. decode: of what a mosaic looks up for codes; a gradient passes through it.

    Slow: about 40 decodings a turn, some of them with gradients.
    """
    with torch.inference_mode(False), torch.no_grad():
        target, codes = blocks_from_frames(frames.clone(), mosaic.cell), codes.clone()
        places = list(product(*(range(step) for step in APART)))
        for number in range(turns * len(places)):
            if number % (len(places) // GRADIENTS) == 0:
                promised, errors = _promised(mosaic, decode, codes, target)
            tried = torch.zeros_like(codes, dtype=torch.bool)
            layer, row, column = places[number % len(places)]
            tried[:, layer :: APART[0], row :: APART[1], column :: APART[2]] = True
            trial = torch.where(tried, promised, codes)
            after = _errors(decode(mosaic.lookup(trial)), target, mosaic.cell)
            better = tried & (_around(after) < _around(errors))
            codes = torch.where(better, trial, codes)
            errors = torch.where(_reach(better), after, errors)
    return codes


def _promised(
    mosaic: Mosaic,
    decode: Decode,
    codes: Int[Tensor, "batch time rows columns"],
    target: Float[Tensor, "batch time rows columns values"],
) -> tuple[Int[Tensor, "batch time rows columns"], Float[Tensor, "batch time rows columns"]]:
    """(for every cell the code, but for a digit its own, from which most is to be hoped for, or its own if there is
    none; the errors as they are)."""
    vectors = mosaic.lookup(codes)
    with torch.enable_grad():
        errors = _errors(decode(vectors.requires_grad_()), target, mosaic.cell)
        (gradient,) = torch.autograd.grad(errors.sum(), vectors)
    ways = _ways(codes)
    hopes = torch.stack([((mosaic.lookup(way) - vectors) * gradient).sum(-1) for way in ways])
    least, which = hopes.min(0)
    best = torch.stack(ways).gather(0, which[None])[0]
    return torch.where(least < 0, best, codes), errors.detach()


def _ways(codes: Int[Tensor, "batch time rows columns"]) -> list[Int[Tensor, "batch time rows columns"]]:
    """Codes with one digit changed. What a clip begins with does not move."""
    radices = [(BASE * TONES**pixel, TONES) for pixel in range(PIXELS)] + [(STILLS, 1 + MOTIONS)]
    ways = [
        codes + unit * ((codes // unit + step) % radix - codes // unit % radix)
        for unit, radix in radices
        for step in range(1, radix)
    ]
    for way in ways[-MOTIONS:]:
        way[:, 0] = codes[:, 0]
    return ways


def _errors(
    made: Float[Tensor, "batch frames height width 3"],
    target: Float[Tensor, "batch time rows columns values"],
    cell: CellSize,
) -> Float[Tensor, "batch time rows columns"]:
    """Squared errors, summed over each cell."""
    return (blocks_from_frames(made.clamp(-1, 1), cell) - target).square().sum(-1)


def _around(errors: Float[Tensor, "batch time rows columns"]) -> Float[Tensor, "batch time rows columns"]:
    """The sum over the cells next to each, in its layer and the one after, which begins where it ends."""
    near = 9 * F.avg_pool2d(errors, 3, stride=1, padding=1)
    return near + F.pad(near, (0, 0, 0, 0, 0, 1))[:, 1:]


def _reach(cells: Tensor) -> Tensor:
    """Cells of which those around are summed."""
    near = F.max_pool2d(cells.float(), 3, stride=1, padding=1)
    return torch.maximum(near, F.pad(near, (0, 0, 0, 0, 1, 0))[:, :-1]) > 0
