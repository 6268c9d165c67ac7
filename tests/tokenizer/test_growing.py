"""The same codes for twice the size, and with a decoder of more layers."""

from dataclasses import replace

import pytest
import torch

from kinetoken.grid import CellSize
from kinetoken.tokenizer.growing import deepened, doubled
from kinetoken.tokenizer.layers import FAR
from kinetoken.tokenizer.quantizer import Kind, QuantizerConfig
from kinetoken.tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer


def _tokenizer(kind: Kind) -> VideoTokenizer:
    torch.manual_seed(0)
    cell, quantizer = CellSize(square=2), QuantizerConfig(kind=kind)
    config = TokenizerConfig(channels=16, cell=cell, quantizer=quantizer, picture_blocks=2)
    tokenizer = VideoTokenizer(config)
    for name, weight in tokenizer.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(weight, std=0.1)
    carried, ways = tokenizer.decoder.between.leave, 2 * 2 * 4 * 4
    with torch.no_grad():  # by whole pixels: between them, a picture of larger pixels is another one
        carried.weight[:ways] = 0
        carried.bias[:ways] = torch.randint(-3, 4, (ways,)) / FAR
    if config.quantizer.is_mosaic:
        tokenizer.settle([torch.rand(4, 1, 32, 32, 3) * 2 - 1])
    return tokenizer.eval()


@pytest.mark.parametrize("kind", ["mosaic", "soft-mosaic"])
def test_twice_the_size_in_the_same_codes(kind: Kind) -> None:
    """Of a clip enlarged pixel by pixel: the same codes, and the same pixels, each four times."""
    small = _tokenizer(kind)
    clip = torch.rand(1, 9, 32, 48, 3) * 2 - 1
    large = doubled(small)
    assert large.config.cell == CellSize(height=8, width=8, square=2) and not large.training
    codes = small.encode(clip)
    assert len(codes.unique()) > 20
    assert (large.encode(_enlarged(clip)) == codes).float().mean() > 0.999
    torch.testing.assert_close(large.decode(codes), _enlarged(small.decode(codes)), atol=5e-5, rtol=0)
    assert not torch.allclose(large.decode(codes)[:, 1:4], large.decode(codes)[:, 4:5].expand(-1, 3, -1, -1, -1))
    again = doubled(large)
    torch.testing.assert_close(again.decode(codes), _enlarged(large.decode(codes)), atol=5e-5, rtol=0)


def test_of_learned_codes_nobody_knows() -> None:
    with pytest.raises(ValueError, match="only mosaics"):
        doubled(_tokenizer("fsq"))


def test_a_deeper_decoder_decodes_to_the_same_until_it_learns() -> None:
    tokenizer, clip = _tokenizer("mosaic"), torch.rand(1, 9, 32, 48, 3) * 2 - 1
    config = tokenizer.config
    deeper = deepened(tokenizer, replace(config, decoder_blocks=5, frame_blocks=4, picture_blocks=4))
    grown = deeper.config
    assert (grown.decoder_blocks, grown.frame_blocks, grown.picture_blocks, deeper.training) == (5, 4, 4, False)
    codes = tokenizer.encode(clip)
    assert torch.equal(deeper.encode(clip), codes)
    torch.testing.assert_close(deeper.decode(codes), tokenizer.decode(codes), atol=1e-5, rtol=0)
    seeing = deepened(tokenizer, replace(config, sees_before=True))
    assert seeing.config.sees_before
    with torch.no_grad():  # the same is noticed of what is there as before, whatever is before it
        squares = [torch.rand(5, 4 * 4 * 4 * 4 * 3) for _ in range(2)]
        squares[1].unflatten(1, (4, 4, -1))[:, :, :3] = squares[0].unflatten(1, (4, 4, -1))[:, :, :3]
        own = squares[0].unflatten(1, (4, 4, -1))[:, :, :3].flatten(1)
        for seen in squares:
            torch.testing.assert_close(seeing.quantizer.notice(seen), tokenizer.quantizer.notice(own))
    smaller = replace(config, decoder_blocks=1, frame_blocks=1, picture_blocks=0, carries=False)
    assert deepened(tokenizer, smaller).config == config


def test_pictures_are_corrected_at_the_ends_of_layers_alone() -> None:
    """Nothing at first; then where a layer ends, and between where it is carried from there."""
    tokenizer = _tokenizer("mosaic")
    plain = VideoTokenizer(replace(tokenizer.config, picture_blocks=0, carries=False)).eval()
    plain.load_state_dict({name: tokenizer.state_dict()[name] for name in plain.state_dict()})
    corrected = deepened(plain, replace(plain.config, picture_blocks=3)).eval()
    codes = torch.randint(plain.config.quantizer.codes, (2, 3, 8, 8))
    before = plain.decode(codes)
    torch.testing.assert_close(corrected.decode(codes), before, atol=1e-5, rtol=0)
    torch.nn.init.normal_(corrected.decoder.pictures.leave.weight, std=0.1)
    after = corrected.decode(codes)
    ends = torch.arange(9) % 4 == 0
    torch.testing.assert_close(after[:, ~ends], before[:, ~ends], atol=1e-5, rtol=0)
    assert ((after - before)[:, ends].abs().amax((2, 3, 4)) > 0.01).all()


def test_cells_that_have_no_quarters_have_no_corrected_pictures() -> None:
    with pytest.raises(ValueError, match="quarters"):
        VideoTokenizer(TokenizerConfig(cell=CellSize(height=3, width=4), picture_blocks=1))


def test_frames_between_are_carried_where_they_were_not() -> None:
    config = TokenizerConfig(channels=16, cell=CellSize(square=2), quantizer=QuantizerConfig(kind="mosaic"))
    still = VideoTokenizer(replace(config, carries=False)).eval()
    carries = deepened(still, config)
    assert carries.decoder.between is not None
    codes = torch.randint(config.quantizer.codes, (1, 3, 8, 8))
    torch.testing.assert_close(carries.decode(codes)[:, ::4], still.decode(codes)[:, ::4], atol=1e-5, rtol=0)


def _enlarged(clip: torch.Tensor) -> torch.Tensor:
    return clip.repeat_interleave(2, 2).repeat_interleave(2, 3)
