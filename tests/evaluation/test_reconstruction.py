"""Known answers of the measures of reconstruction."""

from pathlib import Path

import numpy as np
import pytest

from kinetoken.clip import Clip
from kinetoken.data.clip_reading import PrepareConfig
from kinetoken.data.clips_on_disk import prepare
from kinetoken.data.sources import DataSet
from kinetoken.data.tar_shards import TarShards
from kinetoken.evaluation.generation import reconstruction_of, summary
from kinetoken.evaluation.reconstruction import flicker, psnr, ssim
from kinetoken.generator import Generator
from tests.data.clips import moving


def of(frames: np.ndarray) -> Clip:
    return Clip(frames=frames.clip(0, 255).astype(np.uint8), fps=8.0)


@pytest.fixture
def noise() -> Clip:
    return of(np.random.default_rng(0).integers(40, 200, (5, 24, 32, 3)))


def test_psnr_of_a_constant_error(noise):
    """An error of 5 everywhere: 20 log10(255 / 5)."""
    assert psnr(noise, of(noise.frames + 5)) == pytest.approx(34.1514, abs=1e-3)
    assert psnr(of(noise.frames + 5), noise) == pytest.approx(34.1514, abs=1e-3)


def test_psnr_is_of_the_whole_clip_not_the_mean_of_frames(noise):
    """An error of 10 in one frame of five: a mean squared error of 20."""
    worse = noise.frames.copy()
    worse[2] += 10
    assert psnr(noise, of(worse)) == pytest.approx(10 * np.log10(255**2 / 20), abs=1e-3)


def test_equal_clips(noise):
    assert psnr(noise, noise) == pytest.approx(148.13, abs=0.01)
    assert ssim(noise, noise) == pytest.approx(1.0)
    assert flicker(noise, noise) == 0.0


def test_ssim_of_flat_frames():
    """No variance, so only the luminance term is left: (2 a b + c1) / (a^2 + b^2 + c1), c1 = (0.01 * 255)^2."""
    before, after = of(np.full((2, 16, 16, 3), 100)), of(np.full((2, 16, 16, 3), 150))
    expected = (2 * 100 * 150 + 6.5025) / (100**2 + 150**2 + 6.5025)
    assert ssim(before, after) == pytest.approx(expected, abs=5e-4)  # in float32


def test_ssim_falls_with_noise_and_is_the_mean_of_frames(noise):
    other = of(np.random.default_rng(1).integers(40, 200, noise.frames.shape))
    assert ssim(noise, other) < 0.2
    half = noise.frames.copy()
    half[:2] = other.frames[:2]
    first = ssim(of(noise.frames[:2]), of(other.frames[:2]))
    assert ssim(noise, of(half)) == pytest.approx((2 * first + 3) / 5, abs=1e-4)


def test_ssim_of_a_long_clip_is_taken_in_pieces():
    frames = np.random.default_rng(0).integers(0, 255, (40, 12, 12, 3))
    assert ssim(of(frames), of(frames)) == pytest.approx(1.0)


@pytest.mark.parametrize("side", [1, 2, 3, 6, 10, 11])
def test_ssim_of_small_frames(side):
    frames = np.random.default_rng(side).integers(0, 200, (2, side, 40, 3))
    assert ssim(of(frames), of(frames)) == pytest.approx(1.0)
    assert ssim(of(frames), of(frames[:, :, ::-1])) < 0.9


def test_flicker_counts_only_errors_that_move(noise):
    assert flicker(noise, of(noise.frames + 5)) == 0.0
    blinking = noise.frames.copy()
    blinking[::2] += 6
    assert flicker(noise, of(blinking)) == pytest.approx(6.0)
    assert flicker(of(noise.frames[:1]), of(blinking[:1])) == 0.0


@pytest.mark.parametrize("measure", [psnr, ssim, flicker])
def test_clips_must_be_alike(measure, noise):
    with pytest.raises(ValueError, match="5 frames of 32x24 and 4 frames of 32x24; cut or resize"):
        measure(noise, of(noise.frames[:4]))


def prepared(folder: Path, seeds: range) -> TarShards:
    (folder / "in").mkdir(parents=True)
    for seed in seeds:
        moving(seed, frames=5).save(folder / f"in/clip {seed}.webp")
    config = PrepareConfig(width=24, height=24, cuts=False, shortest=4)
    assert len(list(prepare(DataSet(folder / "in"), folder / "shards", config, workers=0))) == len(seeds)
    return TarShards(folder / "shards")


def test_clips_of_ones_own_are_measured_unless_they_were_trained_on(tmp_path: Path, tiny: Generator) -> None:
    own, other, overlapping = (
        prepared(tmp_path / name, seeds)
        for name, seeds in (("own", range(4)), ("other", range(4, 6)), ("overlapping", range(3, 6)))
    )
    found = list(reconstruction_of(tiny.tokenizer, own, count=10, trained_on=[other.folder]))
    assert [record.text for record in found] == [f"clip {seed}.webp" for seed in range(4)]
    for number, record in enumerate(found):
        assert record.clip is not None and record.figure == pytest.approx(psnr(own[number].clip, record.clip))
    figures = summary(found)
    assert figures["count"] == 4 and figures["ssim"] == pytest.approx(
        np.mean([record.measures["ssim"] for record in found]), abs=1e-4
    )
    assert [record.seed for record in reconstruction_of(tiny.tokenizer, own, count=2)] == [0, 3]
    (large,) = reconstruction_of(tiny.tokenizer, own, count=1, enlarge=2)
    assert large.clip is not None and large.clip.frames.shape == own[0].clip.frames.shape
    assert large.measures["bits_per_pixel"] == pytest.approx(
        4 * tiny.tokenizer.bits_per_pixel(len(own[0].clip), 48, 48)
    )
    with pytest.raises(ValueError, match="1 of 4 clips are also in"):
        list(reconstruction_of(tiny.tokenizer, own, count=10, trained_on=[other.folder, overlapping.folder]))
