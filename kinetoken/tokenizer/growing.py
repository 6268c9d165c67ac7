"""The same codes for twice the size, and with a decoder of more layers."""

from dataclasses import replace
from typing import Final

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from kinetoken.tokenizer.mosaic import Mosaic
from kinetoken.tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer

NOTICE: Final = "quantizer.notice.0.weight"


def doubled(tokenizer: VideoTokenizer) -> VideoTokenizer:
    """A mosaic whose cells are twice as high and wide. What it says of a clip is what the other says of the clip at
    half its size, so networks of the other's codes are networks of its codes; and it decodes to what the other does,
    every pixel four times, until its decoder has learned what lies between them.

    Raises: ValueError for learned codes: what they say of other pixels nobody knows.
    """
    if not isinstance(tokenizer.quantizer, Mosaic):
        raise ValueError(f"only mosaics can be doubled, found codes of kind {tokenizer.config.quantizer.kind}")
    cell, decoder = tokenizer.config.cell, tokenizer.decoder
    sides, halves = (cell.height, cell.width), (cell.height // 2, cell.width // 2)
    weights = dict(tokenizer.state_dict())
    seeing = {NOTICE: sides}
    if decoder.pictures is not None:
        seeing["decoder.pictures.see.weight"] = halves
    for name, seen in seeing.items():
        weights[name] = _grown(weights[name].T, *seen).T / 4  # there are four times as many
    features = decoder.frames.enter.in_features * cell.frames  # of the stack's outputs: the others are pixels
    for name in ("weight", "bias"):
        whole, frame = f"decoder.stack.leave.{name}", f"decoder.frames.leave.{name}"
        weights[whole] = torch.cat((weights[whole][:features], _grown(weights[whole][features:], *sides)))
        weights[frame] = _grown(weights[frame], *sides)
        if decoder.pictures is not None:
            corrected = f"decoder.pictures.leave.{name}"
            weights[corrected] = _grown(weights[corrected], *halves)
        if decoder.between is not None:
            carried = f"decoder.between.leave.{name}"
            ways, shares = _spread(weights[carried], *sides).tensor_split((2 * 2 * 4 * cell.height * cell.width,))
            weights[carried] = torch.cat((2 * ways, shares))  # all is twice as far
    larger = replace(cell, height=2 * cell.height, width=2 * cell.width)
    result = VideoTokenizer(replace(tokenizer.config, cell=larger))
    result.load_state_dict(weights)
    return result.train(tokenizer.training)


def deepened(tokenizer: VideoTokenizer, like: TokenizerConfig) -> VideoTokenizer:
    """With as many blocks in its decoder as there are in `like`, at least, with `Between` if `like` has it, and seeing
    what is before a cell if `like` does. New blocks and what is seen besides add nothing until they have learned, so it
    encodes and decodes to what it did; new frames between are a mixture from the start on."""
    config = tokenizer.config
    deeper = replace(
        config,
        decoder_blocks=max(config.decoder_blocks, like.decoder_blocks),
        frame_blocks=max(config.frame_blocks, like.frame_blocks),
        picture_blocks=max(config.picture_blocks, like.picture_blocks),
        carries=config.carries or like.carries,
        sees_before=config.sees_before or like.sees_before,
    )
    result, weights = VideoTokenizer(deeper), dict(tokenizer.state_dict())
    if deeper.sees_before and not config.sees_before:
        of_frame = 3 * config.cell.height * config.cell.width
        cells = weights[NOTICE].unflatten(1, (-1, (config.cell.frames - 1) * of_frame))
        weights[NOTICE] = F.pad(cells, (0, of_frame)).flatten(1)
    result.load_state_dict(result.state_dict() | weights)
    return result.train(tokenizer.training)


def _grown(rows: Float[Tensor, "values ..."], height: int, width: int) -> Float[Tensor, "more_values ..."]:
    """Rows that stand for the colours of pictures' pixels, each four times."""
    pixels = rearrange(rows, "(n h w c) ... -> n h w c ...", h=height, w=width, c=3)
    return repeat(pixels, "n h w c ... -> (n h a w b c) ...", a=2, b=2)


def _spread(rows: Float[Tensor, "values ..."], height: int, width: int) -> Float[Tensor, "more_values ..."]:
    """Rows that stand for numbers of a cell's pixels, each four times."""
    pixels = rearrange(rows, "(n h w) ... -> n h w ...", h=height, w=width)
    return repeat(pixels, "n h w ... -> (n h a w b) ...", a=2, b=2)
