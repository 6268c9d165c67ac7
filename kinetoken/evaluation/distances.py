"""Distances between sets of points, one point a row: how alike two sets are, and how near each point is to a set."""

import numpy as np
import torch
from jaxtyping import Float, Int


def frechet(a: Float[np.ndarray, "a features"], b: Float[np.ndarray, "b features"]) -> float:
    """Squared Fréchet distance of the Gaussians with the means and covariances of two sets (Dowson & Landau 1982):
    |m_a - m_b|^2 + tr(C_a) + tr(C_b) - 2 tr((C_a C_b)^(1/2)).

    The last trace is the sum of singular values of R_a R_b^T, where R^T R = C: no root of a matrix is taken, and fewer
    points than features do no harm to it. They do to the estimate: the distance of few points is too large (Chong &
    Forsyth 2020). Raises ValueError of fewer than 2 points in a set.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a covariance needs 2 points at least, found {len(a)} and {len(b)}")
    between = np.square(a.mean(0, dtype=np.float64) - b.mean(0, dtype=np.float64)).sum()
    root_a, root_b = _root(a), _root(b)
    shared = np.linalg.norm(root_a @ root_b.T, ord="nuc")
    return float(max(between + np.square(root_a).sum() + np.square(root_b).sum() - 2 * shared, 0.0))


def density_and_coverage(
    real: Float[np.ndarray, "real features"], made: Float[np.ndarray, "made features"], k: int
) -> tuple[float, float]:
    """Around each real point is a ball that reaches its k-th nearest other one (Naeem et al. 2020, equations 2 and 3).

    density: how many balls a made point lies in, as a share of k: about 1 if both sets are of one distribution, more if
    what is made keeps to where real points are dense. coverage: the share of balls that hold a made point; it falls
    when kinds are missing. Raises ValueError unless there are more than k real points.
    """
    if not 1 <= k < len(real):
        raise ValueError(f"a ball of {k} neighbours needs {k + 1} real points at least, found {len(real)}")
    radii = np.sort(distances(real, real), axis=1)[:, k]  # column 0 is the point itself
    inside = distances(real, made) <= radii[:, None]
    return float(inside.sum() / (k * len(made))), float(inside.any(axis=1).mean())


def nearest(
    points: Float[np.ndarray, "points features"], among: Float[np.ndarray, "among features"]
) -> tuple[Int[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """For each point the number of the nearest one of `among`, and how far it is."""
    found = distances(points, among)
    numbers = found.argmin(axis=1)
    return numbers, found[np.arange(len(points)), numbers]


def distances(a: Float[np.ndarray, "a features"], b: Float[np.ndarray, "b features"]) -> Float[np.ndarray, "a b"]:
    """Euclidean. Not by products of matrices, which leave equal points a distance."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(torch.from_numpy(a), torch.from_numpy(b), compute_mode=exact).numpy()


def _root(points: Float[np.ndarray, "points features"]) -> Float[np.ndarray, "rank features"]:
    """R, of at most as many rows as features, such that R^T R is the covariance (unbiased)."""
    centred = points - points.mean(0, dtype=np.float64)
    return np.asarray(np.linalg.qr(centred / np.sqrt(len(points) - 1), mode="r"))
