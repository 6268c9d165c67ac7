"""Known answers of distances between sets of points."""

import numpy as np
import pytest

from kinetoken.evaluation.distances import density_and_coverage, frechet, nearest


@pytest.fixture
def white() -> np.ndarray:
    """200 points of 6 features whose mean is 0 and whose covariance is 1, exactly."""
    points = np.random.default_rng(0).standard_normal((200, 6))
    points -= points.mean(0)
    return points @ np.linalg.inv(np.linalg.cholesky(np.cov(points, rowvar=False))).T


def line(*places: float) -> np.ndarray:
    return np.array(places, np.float64)[:, None]


def test_frechet_of_gaussians_with_one_frame_of_axes(white):
    """Standard deviations s and t, means apart by m: |m|^2 + |s - t|^2."""
    s, t, m = np.arange(1.0, 7), np.array([2.0, 2, 0, 1, 9, 5]), np.array([3.0, 0, 0, -4, 0, 0])
    assert frechet(white * s, white * t + m) == pytest.approx(25 + np.square(s - t).sum())


def test_frechet_of_any_gaussians(white):
    """Against the trace from the eigenvalues of the product of covariances."""
    a, b = (white @ np.random.default_rng(seed).standard_normal((6, 6)) for seed in (1, 2))
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(cov_a @ cov_b).real.clip(0)).sum()
    assert frechet(a, b) == pytest.approx(np.trace(cov_a) + np.trace(cov_b) - 2 * root)


@pytest.mark.parametrize("points", [2, 5, 50])
def test_frechet_of_a_set_and_itself(points):
    """Whatever the order of its points, and with fewer of them than features."""
    a = np.random.default_rng(0).standard_normal((points, 20)).astype(np.float32)
    assert frechet(a, a[::-1]) == pytest.approx(0, abs=1e-4)


def test_frechet_needs_two_points():
    with pytest.raises(ValueError, match="2 points at least, found 1 and 3"):
        frechet(line(0), line(0, 1, 2))


def test_density_and_coverage_of_points_on_a_line():
    """k = 1: balls of radius 1 around 0, 1, 2 and 3. A point at 0.5 lies in two of them, one at 9 in none."""
    real = line(0, 1, 2, 3)
    assert density_and_coverage(real, line(0.5), 1) == (2.0, 0.5)
    assert density_and_coverage(real, line(0.5, 9), 1) == (1.0, 0.5)
    assert density_and_coverage(real, line(9), 1) == (0.0, 0.0)
    assert density_and_coverage(real, line(0.4, 1.6), 2) == (6 / 4, 1.0)  # radii 2, 1, 1 and 2


def test_one_kind_made_again_and_again_is_dense_and_covers_little():
    real = np.random.default_rng(0).standard_normal((100, 4))
    middle = np.argmin(np.linalg.norm(real, axis=1))
    density, coverage = density_and_coverage(real, real[[middle] * 100], 5)
    alike = density_and_coverage(real, np.random.default_rng(1).standard_normal((100, 4)), 5)
    assert density > 1.5 and coverage < 0.5
    assert alike == (pytest.approx(1, abs=0.3), pytest.approx(1 - 2**-5, abs=0.06))


def test_more_neighbours_than_points():
    with pytest.raises(ValueError, match="4 real points at least, found 3"):
        density_and_coverage(line(0, 1, 2), line(0), 3)


def test_the_nearest_of_equal_points_is_at_no_distance():
    among = np.random.default_rng(0).uniform(50, 60, (30, 8)).astype(np.float32)
    numbers, far = nearest(among[[7, 3]], among)
    assert numbers.tolist() == [7, 3] and far.tolist() == [0, 0]
    numbers, far = nearest(line(2.4), line(0, 4, 2))
    assert numbers.tolist() == [2] and far[0] == pytest.approx(0.4)
