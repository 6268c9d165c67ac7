from math import log2, prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetoken.clip import Clip
from kinetoken.generator import Generator
from kinetoken.grid import CellSize, GridShape
from kinetoken.tokenizer.layers import FAR, Between, blocks_from_frames, pictures_of
from kinetoken.tokenizer.losses import ClipBatch, ReconstructionObjective, collapse_warning, psnr, variation
from kinetoken.tokenizer.quantizer import FiniteScalars, Quantizer, QuantizerConfig
from kinetoken.tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer

QUANTIZERS = [
    QuantizerConfig(kind="fsq", levels=(8, 5, 5, 5)),
    QuantizerConfig(kind="lfq", bits=8),
    QuantizerConfig(kind="bsq", bits=8),
    QuantizerConfig(kind="residual-fsq", levels=(4, 4), stages=3),
    QuantizerConfig(kind="ema-vq", bits=6),
]


def _clip(frames: int, height: int, width: int, seed: int = 0) -> Clip:
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    return Clip(frames=pixels, fps=8.0)


@given(frames=st.integers(1, 12), height=st.integers(1, 20), width=st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_blocks_are_a_lossless_rearrangement(frames: int, height: int, width: int) -> None:
    pixels = torch.rand(1, frames, height, width, 3)
    blocks = blocks_from_frames(pixels, CellSize())
    assert blocks.shape[1:4] == GridShape.of_clip(frames, height, width, CellSize()).sizes
    pictures = pictures_of(blocks.unflatten(-1, (CellSize().frames, -1)).movedim(-2, 2), CellSize()).flatten(1, 2)
    back = pictures.permute(0, 1, 3, 4, 2)[:, CellSize().frames - 1 :]  # the first frame stands alone
    assert (back[:, :frames, :height, :width] == pixels).all()


@given(frames=st.integers(1, 40), height=st.integers(1, 40), width=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_any_size_and_length_in_exactly_that_out(tiny: Generator, frames: int, height: int, width: int) -> None:
    clip = _clip(frames, height, width)
    codes = tiny.tokenizer.encode_clip(clip)
    rebuilt = tiny.tokenizer.decode_clip(codes, fps=8.0, frames=frames, height=height, width=width)
    assert rebuilt.frames.shape == clip.frames.shape


@pytest.mark.parametrize("layers", [1, 2, 3, 16])
@pytest.mark.parametrize("frames", [1, 2, 5, 18, 41])
def test_piece_by_piece_is_the_same_as_at_once(tiny: Generator, frames: int, layers: int) -> None:
    tokenizer, clip = tiny.tokenizer, _clip(frames, 16, 12)
    pixels = torch.from_numpy(clip.frames)[None].float() / 127.5 - 1
    whole = tokenizer.encode(pixels)
    pieces = torch.cat(list(tokenizer.encode_stream(iter(clip.frames), layers=layers)))
    assert pieces.shape == whole[0].shape and (pieces == whole[0]).all()
    at_once = ((tokenizer.decode(whole)[0] + 1) * 127.5).round().byte().numpy()
    streamed = np.concatenate(list(tokenizer.decode_stream(whole[0].split(2), layers=layers)))
    assert np.abs(streamed.astype(int) - at_once).max() <= 1


@given(frame=st.integers(0, 16), row=st.integers(0, 15), column=st.integers(0, 15))
@settings(max_examples=25, deadline=None)
def test_a_code_tells_of_its_own_pixels_alone(tiny: Generator, frame: int, row: int, column: int) -> None:
    clip = _clip(17, 16, 16)
    touched = Clip(frames=clip.frames.copy(), fps=8.0)
    touched.frames[frame, row, column] ^= 255
    changed = (tiny.tokenizer.encode_clip(clip) != tiny.tokenizer.encode_clip(touched)).nonzero().tolist()
    assert changed in ([], [[-(-frame // 4), row // 4, column // 4]])


def test_what_is_decoded_does_not_depend_on_later_codes(tiny: Generator) -> None:
    codes = torch.randint(0, 64, (1, 5, 4, 4))
    changed = codes.clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % 64
    first, second = tiny.tokenizer.decode(codes), tiny.tokenizer.decode(changed)
    torch.testing.assert_close(first[:, :9], second[:, :9], rtol=0, atol=1e-5)
    assert not torch.allclose(first[:, 9:], second[:, 9:])


@pytest.mark.parametrize("config", QUANTIZERS, ids=lambda config: config.kind)
def test_codes_look_up_to_what_the_decoder_was_trained_on(config: QuantizerConfig) -> None:
    torch.manual_seed(0)
    quantizer = Quantizer(config)
    vectors = torch.randn(2, 5, 4, 4, config.width, requires_grad=True)
    quantizer(vectors)  # ema-vq sets out from its first batch
    quantizer.eval()
    found = quantizer(vectors)
    assert found.codes.dtype == torch.int64 and found.codes.shape == (2, 5, 4, 4)
    assert found.codes.min() >= 0 and found.codes.max() < config.codes
    torch.testing.assert_close(quantizer.lookup(found.codes), found.vectors, atol=1e-5, rtol=1e-5)


def test_what_is_carried_comes_from_both_ends() -> None:
    """Of a spot that moves by four pixels in a layer's time, told so: sharp, and half-way where it was half-way."""
    cell = CellSize()
    between = Between(cell, 8)
    ways, shares = between.leave.bias.data.tensor_split((2 * 2 * 16,))
    shares.fill_(0.0)[:16] = -100.0  # nothing is drawn
    ways.view(2, 2, 16)[:, 0] = torch.tensor((-2.0, 2.0))[:, None] / FAR  # from the left of where it was, and back
    before, end = torch.zeros(2, 1, 1, 3, 16, 16)
    before[..., 8, 4], end[..., 8, 8] = 1.0, 1.0
    shown = between(torch.zeros(1, 1, 3, 3, 16, 16), torch.zeros(1, 1, 3, 4, 4, 8), before, end)
    assert shown[0, 0, :, 1, 8, 6].tolist() == [1.0, 1.0, 1.0] and shown[0, 0, :, 1].sum() == 3.0


@pytest.mark.parametrize("config", QUANTIZERS, ids=lambda config: config.kind)
def test_every_quantizer_lets_a_tokenizer_learn(config: QuantizerConfig) -> None:
    torch.manual_seed(0)
    tokenizer = VideoTokenizer(TokenizerConfig(channels=32, encoder_blocks=1, decoder_blocks=1, quantizer=config))
    objective, batch = ReconstructionObjective(tokenizer), ClipBatch(frames=torch.from_numpy(_smooth())[None])
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=3e-3)
    seen = []
    for _ in range(60):
        loss, metrics = objective(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(float(metrics["psnr"]))
    assert seen[-1] > seen[0] + 3


def _smooth() -> np.ndarray:
    t, y, x = np.meshgrid(np.arange(5), np.arange(16), np.arange(16), indexing="ij")
    return np.stack((x * 15, y * 15, (x + y + t) * 7), axis=-1).astype(np.uint8)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (4, 4, 4), (3, 7), (6, 5, 5, 3, 3)])
def test_finite_scalars_are_those_of_the_library(levels: tuple[int, ...]) -> None:
    """Codes, vectors and gradients, against vector-quantize-pytorch."""
    from vector_quantize_pytorch import FSQ

    own, library = FiniteScalars(levels), FSQ(levels=list(levels))
    ours = (4 * torch.randn(1, 5000, len(levels), generator=torch.Generator().manual_seed(0))).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    (vectors, codes), (expected, indices) = own(ours), library(theirs)
    assert (codes == indices).all() and codes.max() == prod(levels) - 1
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-6)
    vectors.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)
    everything = torch.arange(prod(levels))
    assert (own.indices_to_codes(everything) == library.indices_to_codes(everything)).all()


def test_quantizing_is_fp32_whatever_comes_in() -> None:
    config = QuantizerConfig()
    vectors = torch.randn(1, 64, config.width)
    assert (Quantizer(config)(vectors).codes == Quantizer(config)(vectors.double()).codes).all()
    assert Quantizer(config)(vectors.bfloat16()).vectors.dtype == torch.bfloat16


def test_psnr_has_its_textbook_value() -> None:
    target = torch.zeros(2, 1, 4, 4, 3)
    assert psnr(target + 2 / 255, target).item() == pytest.approx(20 * np.log10(255), abs=1e-4)


def test_looks_are_the_mean_of_what_codes_decode_to(tiny: Generator) -> None:
    tokenizer = tiny.tokenizer
    codes = torch.randint(0, 9, (3, 2, 4, 4), generator=torch.Generator().manual_seed(0))
    looks = tokenizer.looks(codes)
    blocks = blocks_from_frames(tokenizer.decode(codes), tokenizer.config.cell)
    torch.testing.assert_close(looks[4], blocks[codes == 4].mean(0))
    torch.testing.assert_close(looks[-1], blocks.flatten(0, 3).mean(0))  # never seen


def test_bits_per_pixel_counts_every_code(tiny: Generator) -> None:
    assert tiny.tokenizer.bits_per_pixel(17, 64, 64) == pytest.approx(5 * 16 * 16 * log2(64) / (17 * 64 * 64))


def test_the_last_frame_is_an_image_of_what_is_decoded(tiny: Generator) -> None:
    codes = torch.randint(64, (1, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    image = tiny.tokenizer.encode(tiny.tokenizer.decode(codes)[:, -1:])
    assert image.shape == (1, 1, 4, 4) and (tiny.tokenizer.last_frame(codes) == image).all()


def test_a_grid_that_is_too_small_is_refused(tiny: Generator) -> None:
    with pytest.raises(ValueError, match="need a grid"):
        tiny.tokenizer.decode_clip(torch.zeros(1, 2, 2, dtype=torch.long), fps=8.0, frames=5, height=8, width=8)


@pytest.mark.parametrize("wrong", [{"levels": (1, 5)}, {"levels": ()}, {"bits": 40}, {"stages": 0}])
def test_impossible_quantizers_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        QuantizerConfig(**wrong)


@pytest.mark.parametrize(
    ("line", "alarmed"),
    [
        ({"step": 500, "dead_codes": 0.4, "perplexity": 300.0}, False),
        ({"step": 500, "dead_codes": 0.995, "perplexity": 5.0}, True),
        ({"step": 500, "dead_codes": 0.5, "perplexity": 1.2}, True),
        ({"step": 5, "dead_codes": 0.995, "perplexity": 1.2}, False),
    ],
)
def test_a_collapsed_codebook_is_told(line: dict[str, float], alarmed: bool) -> None:
    assert (collapse_warning(line, 1000) is not None) == alarmed


def test_pixels_of_the_wrong_range_are_refused(tiny: Generator) -> None:
    with pytest.raises((ValueError, TypeError)):
        ReconstructionObjective(tiny.tokenizer)(ClipBatch(frames=torch.rand(1, 1, 8, 8, 3)))


def test_variation_is_that_of_neighbours_and_knows_no_price_for_calm() -> None:
    calm = torch.zeros(1, 3, 4, 4, 2)
    assert variation(calm) == 0
    assert variation(torch.ones(1, 1, 1, 1, 2)) == 0  # no neighbours at all
    edge = calm.clone()
    edge[:, :, :, 2:] = 1.0  # one of three column steps, on both axes
    steps = 3 * 4 * 4 * 2 * (2 / 3 + 3 / 4 + 3 / 4)
    assert variation(edge).item() == pytest.approx(3 * 4 * 2 * np.log(17) / steps, rel=1e-5)


def test_a_high_edge_costs_less_than_the_same_height_in_small_steps() -> None:
    """Over the five levels of an FSQ axis."""
    ramp = torch.linspace(-1, 1, 5).reshape(1, 1, 1, 5, 1)
    edge = torch.tensor([-1.0, -1.0, -1.0, 1.0, 1.0]).reshape(1, 1, 1, 5, 1)
    assert variation(edge) < variation(ramp)


def test_what_changes_between_frames_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that stays the same changes nothing, and one that jumps from one frame to the next does."""
    objective = ReconstructionObjective(VideoTokenizer(TokenizerConfig(channels=16)), change_weight=2.0)
    batch = ClipBatch(frames=torch.full((1, 5, 8, 8, 3), 51, dtype=torch.uint8))
    target = batch.frames.float() / 127.5 - 1
    seen = {}
    for name, errors in (("still", [0.1] * 5), ("pulse", [0.1, 0.1, -0.1, -0.1, -0.1])):
        wrong = target + torch.tensor(errors)[None, :, None, None, None]
        monkeypatch.setattr(VideoTokenizer, "reconstruct", lambda self, vectors, wrong=wrong: wrong)
        loss, metrics = objective(batch)
        seen[name] = float(loss.detach()), float(metrics["change_error"])
    assert seen["still"][1] == pytest.approx(0, abs=1e-6) and seen["pulse"][1] == pytest.approx(0.2**2 / 5, abs=1e-6)
    assert seen["pulse"][0] - seen["still"][0] == pytest.approx(2 * 0.2**2 / 5, abs=1e-5)
    picture, metrics = objective(ClipBatch(frames=batch.frames[:, :1]))
    assert torch.isfinite(picture) and metrics["change_error"] == 0


def test_the_objective_teaches_the_encoder_to_be_calm() -> None:
    torch.manual_seed(0)
    tokenizer = VideoTokenizer(TokenizerConfig(channels=16, encoder_blocks=1, decoder_blocks=1))
    objective = ReconstructionObjective(tokenizer, variation_weight=1.0)
    frames = torch.randint(0, 256, (1, 5, 16, 16, 3), dtype=torch.uint8)
    before = objective(ClipBatch(frames=frames))[1]["variation"]
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        objective(ClipBatch(frames=frames))[0].backward()
        optimizer.step()
    assert objective(ClipBatch(frames=frames))[1]["variation"] < 0.7 * before
