"""Mosaics: what their codes say is what is to be seen."""

from copy import deepcopy
from math import log2

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetoken.clip import Clip
from kinetoken.grid import CellSize
from kinetoken.tokenizer.layers import blocks_from_frames
from kinetoken.tokenizer.losses import ClipBatch, ReconstructionObjective, psnr
from kinetoken.tokenizer.mosaic import BASE, SHADE, STILLS, Mosaic
from kinetoken.tokenizer.quantizer import QuantizerConfig
from kinetoken.tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer

CELL = CellSize(square=2)
COLOURS = torch.tensor([[20, 30, 100], [255, 125, 0], [110, 113, 117], [40, 190, 50]]) / 127.5 - 1


@pytest.fixture(scope="module")
def tokenizer() -> VideoTokenizer:
    """Its palette begins with COLOURS; its decoder adds nothing."""
    tokenizer = VideoTokenizer(
        TokenizerConfig(cell=CELL, quantizer=QuantizerConfig(kind="mosaic"), channels=16, decoder_blocks=1)
    )
    tokenizer.quantizer.palette[: len(COLOURS)] = COLOURS
    return tokenizer.eval()


def _shown(thumbnail: torch.Tensor) -> torch.Tensor:
    """A thumbnail (rows x columns x 3) as a picture of twice its size: a batch of one clip of one frame."""
    return thumbnail.repeat_interleave(2, 0).repeat_interleave(2, 1)[None, None]


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_two_colours_and_a_shade_come_back_exactly(tokenizer: VideoTokenizer, data: st.DataObject) -> None:
    ground, colour = COLOURS[2], COLOURS[data.draw(st.sampled_from((1, 3)))]
    tones = torch.stack((ground, colour, (colour + 1) * SHADE - 1))
    drawn = data.draw(st.lists(st.integers(0, 2), min_size=16, max_size=16))
    picture = _shown(tones[torch.tensor(drawn)].reshape(4, 4, 3))
    rebuilt = tokenizer.decode(tokenizer.encode(picture))
    if {1, 2} <= set(drawn) or 2 not in drawn:
        torch.testing.assert_close(rebuilt, picture, rtol=0, atol=1e-5)
    else:  # a shade alone is some dark colour
        assert psnr(rebuilt, picture) > 15


@pytest.mark.parametrize("rows", ("sswsswww", "wwswsssw", "wwssswws"))
@pytest.mark.parametrize("sideways", (False, True))
def test_a_thing_whose_fine_stripes_are_the_grounds_colour_on_the_whole_is_not_lost_on_it(
    tokenizer: VideoTokenizer, rows: str, sideways: bool
) -> None:
    white, shade = torch.ones(3), torch.full((3,), SHADE * 2 - 1)
    ground = (white + shade) / 2
    tokenizer = deepcopy(tokenizer)
    tokenizer.quantizer.palette[len(COLOURS) : len(COLOURS) + 2] = torch.stack((ground, white))
    picture = ground.repeat(8, 8, 1)
    for row, of in enumerate(rows):
        picture[row, 2:6] = white if of == "w" else shade
    seen = picture.transpose(0, 1) if sideways else picture
    rebuilt = tokenizer.decode(tokenizer.encode(seen[None, None]))[0, 0]
    rebuilt = rebuilt.transpose(0, 1) if sideways else rebuilt
    differs = (rebuilt - ground).abs().amax(-1) > 0.2
    assert differs[:, 2:6].all()
    assert not differs[:, :2].any() and not differs[:, 6:].any()


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_so_do_two_colours_and_what_is_half_way_in_a_soft_one(data: st.DataObject) -> None:
    soft = VideoTokenizer(
        TokenizerConfig(cell=CELL, quantizer=QuantizerConfig(kind="soft-mosaic"), channels=16, decoder_blocks=1)
    ).eval()
    soft.quantizer.palette[: len(COLOURS)] = COLOURS
    ground, colour = COLOURS[2], COLOURS[data.draw(st.sampled_from((1, 3)))]
    tones = torch.stack((ground, colour, (ground + colour) / 2))
    drawn = data.draw(st.lists(st.integers(0, 2), min_size=16, max_size=16).filter(lambda some: {0, 1} <= set(some)))
    picture = _shown(tones[torch.tensor(drawn)].reshape(4, 4, 3))
    rebuilt = soft.decode(soft.encode(picture))
    if drawn.count(2) < 12:  # else one colour explains the square nearly as well
        torch.testing.assert_close(rebuilt, picture, rtol=0, atol=2 / 255)
    assert psnr(rebuilt, picture) > 25


def test_a_soft_palette_is_of_all_that_is_seen() -> None:
    """Of squares half one colour and half another, both are chosen; the commonest of each square would be one."""
    thumbnail = COLOURS[0].repeat(32, 32, 1)
    thumbnail[::2, 1::4] = COLOURS[1]
    mosaic = Mosaic(CELL, soft=True)
    mosaic.fit([blocks_from_frames(_shown(thumbnail), CELL)])
    assert torch.cdist(COLOURS[:2], mosaic.palette).amin(1).max() < 1e-5


def test_a_soft_palettes_colours_with_the_same_first_digit_are_alike() -> None:
    torch.manual_seed(0)
    mosaic = Mosaic(CELL, soft=True)
    mosaic.fit([torch.rand(4, 1, 8, 8, 4 * 16 * 3) * 2 - 1])
    apart, branch = torch.cdist(mosaic.palette, mosaic.palette), torch.arange(BASE**2) // BASE
    same = branch[:, None] == branch
    assert apart[same].sum() / (same.sum() - BASE**2) < 0.6 * apart[~same].mean()


def test_codes_can_be_read(tokenizer: VideoTokenizer) -> None:
    """Blue ground, and one orange pixel in the lower right cell."""
    thumbnail = COLOURS[0].repeat(4, 4, 1)
    thumbnail[2, 3] = COLOURS[1]
    codes = tokenizer.encode(_shown(thumbnail))[0, 0].tolist()
    assert codes == [[0 // BASE, 0 % BASE], [1 // BASE, 1 % BASE + BASE * 3]]


def test_a_plain_square_says_its_colour_twice_and_nothing_else(tokenizer: VideoTokenizer) -> None:
    codes = tokenizer.encode(_shown(COLOURS[3].repeat(8, 8, 1)))[0, 0]
    assert codes.tolist() == [[0, 3, 0, 3], [0, 3, 0, 3]] * 2


@given(frame=st.integers(0, 8), row=st.integers(0, 23), column=st.integers(0, 23))
@settings(max_examples=25, deadline=None)
def test_a_square_tells_of_its_own_pixels_alone(tokenizer: VideoTokenizer, frame: int, row: int, column: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 24, 24, 3), dtype=np.uint8)
    touched = pixels.copy()
    touched[frame, row, column] ^= 255
    before, after = (tokenizer.encode_clip(Clip(frames=frames, fps=8.0)) for frames in (pixels, touched))
    changed = {(layer, r // 2, k // 2) for layer, r, k in (before != after).nonzero().tolist()}
    assert changed <= {(-(-frame // 4), row // 8, column // 8)}
    if frame % 4:  # not what is shown, but whether it moves
        assert (before % STILLS == after % STILLS).all()


@given(frames=st.integers(1, 11), height=st.integers(1, 30), width=st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_any_size_and_length_in_exactly_that_out(
    tokenizer: VideoTokenizer, frames: int, height: int, width: int
) -> None:
    clip = Clip(frames=np.zeros((frames, height, width, 3), np.uint8), fps=8.0)
    codes = tokenizer.encode_clip(clip)
    assert codes.shape[1] % 2 == codes.shape[2] % 2 == 0
    assert (codes >= 0).all() and (codes < tokenizer.config.quantizer.codes).all()
    rebuilt = tokenizer.decode_clip(codes, fps=8.0, frames=frames, height=height, width=width)
    assert rebuilt.frames.shape == clip.frames.shape


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_any_codes_show_something(tokenizer: VideoTokenizer, seed: int) -> None:
    codes = torch.randint(0, 1944, (1, 2, 4, 6), generator=torch.Generator().manual_seed(seed))
    assert tokenizer.decode(codes).isfinite().all()


def test_what_stands_still_does_not_move(tokenizer: VideoTokenizer) -> None:
    still = torch.rand(1, 1, 16, 16, 3).expand(1, 9, 16, 16, 3) * 2 - 1
    assert (tokenizer.encode(still) < STILLS).all()


def test_a_clips_last_frame_is_in_its_last_layer(tokenizer: VideoTokenizer) -> None:
    frames = torch.rand(2, 9, 16, 16, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    codes = tokenizer.encode(frames)
    assert (codes[:, -1] >= STILLS).any()
    assert (tokenizer.last_frame(codes) == tokenizer.encode(frames[:, -1:])).all()


def test_a_clips_first_layer_does_not_move_and_costs_less(tokenizer: VideoTokenizer) -> None:
    frames = torch.rand(1, 5, 16, 16, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert (tokenizer.encode(frames)[:, 0] < STILLS).all()
    bits = 16 * 16 * (log2(8 * 3**4) + 4 * log2(8 * 3**5))
    assert (
        tokenizer.bits_per_pixel(17, 64, 64) == pytest.approx(bits / (17 * 64 * 64)) == pytest.approx(0.195, abs=1e-3)
    )


def test_codes_are_those_of_fp32(tokenizer: VideoTokenizer) -> None:
    frames = torch.rand(1, 5, 16, 16, 3) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        halved = tokenizer.quantize(frames).codes
    assert (halved == tokenizer.quantize(frames).codes).all()


@pytest.mark.parametrize("sees_before", [False, True])
def test_whether_it_moves_is_learned(sees_before: bool) -> None:
    """A dot is there in two frames of a layer's first three, or in none; the last frame is the same."""
    torch.manual_seed(0)
    quantizer = QuantizerConfig(kind="mosaic")
    tokenizer = VideoTokenizer(
        TokenizerConfig(cell=CELL, quantizer=quantizer, channels=16, decoder_blocks=1, sees_before=sees_before)
    )
    frames = torch.full((2, 5, 16, 16, 3), 30, dtype=torch.uint8)
    frames[0, 1:3, 4:12, 4:12] = 220
    objective = ReconstructionObjective(tokenizer)
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        loss, metrics = objective(ClipBatch(frames=frames))
        loss.backward()
        optimizer.step()
    codes = tokenizer.eval().encode(frames.float() / 127.5 - 1)
    assert (codes[0, 1] >= STILLS).any() and (codes[1] < STILLS).all()
    assert metrics["psnr"] > 25


def test_what_was_before_is_noticed_by_those_that_see_it() -> None:
    """A clip's third layer is the same, and the one before it is not: also if it is encoded piece by piece."""
    torch.manual_seed(0)
    quantizer, frames = QuantizerConfig(kind="mosaic"), torch.rand(2, 9, 16, 16, 3) * 2 - 1
    frames[1, 5:] = frames[0, 5:]
    for sees_before in (False, True):
        config = TokenizerConfig(cell=CELL, quantizer=quantizer, channels=16, sees_before=sees_before)
        tokenizer = VideoTokenizer(config).eval()
        for layer in (tokenizer.quantizer.notice[0], tokenizer.quantizer.notice[2]):
            torch.nn.init.normal_(layer.weight, std=0.1)
        one, other = tokenizer.encode(frames)
        assert (one[2] % STILLS == other[2] % STILLS).all() and bool((one[2] == other[2]).all()) != sees_before
        clip = Clip(frames=((frames[0] + 1) * 127.5).round().byte().numpy(), fps=8.0)
        whole = torch.cat(list(tokenizer.encode_stream(iter(clip.frames))))
        assert torch.equal(torch.cat(list(tokenizer.encode_stream(iter(clip.frames), layers=1))), whole)


def test_the_palette_is_what_clips_are_made_of_commonest_first() -> None:
    mosaic = Mosaic(CELL)
    thumbnail = COLOURS[0].repeat(32, 32, 1)
    thumbnail[:8] = COLOURS[1]
    tokenizer = VideoTokenizer(TokenizerConfig(cell=CELL, quantizer=QuantizerConfig(kind="mosaic")))
    mosaic.fit([blocks_from_frames(_shown(thumbnail), CELL)])
    torch.testing.assert_close(mosaic.palette[:2], COLOURS[:2], rtol=0, atol=1e-5)
    assert tokenizer.config.quantizer.codes == 1944


def test_the_palette_survives_half_precision(tokenizer: VideoTokenizer) -> None:
    mosaic = Mosaic(CELL)
    mosaic.palette.copy_(tokenizer.quantizer.palette.half())
    assert (mosaic.bytes == tokenizer.quantizer.bytes).all()


def test_mosaics_need_squares() -> None:
    with pytest.raises(ValueError, match="squares"):
        VideoTokenizer(TokenizerConfig(quantizer=QuantizerConfig(kind="mosaic")))
    with pytest.raises(ValueError, match="whole squares"):
        Mosaic(CELL).lookup(torch.zeros(1, 1, 3, 2, dtype=torch.long))
