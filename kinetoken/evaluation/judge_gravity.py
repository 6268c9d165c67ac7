"""How strong gravity is in a clip: a physics figure that no caption states."""

from itertools import pairwise
from typing import Final

import numpy as np
from jaxtyping import Float

from kinetoken.clip import Clip
from kinetoken.data.toybox import Motion, Scene
from kinetoken.evaluation.judge_sight import Witness

Times = Float[np.ndarray, "frames"]

SHORTEST_FLIGHT: Final = 3
"""Frames. Fewer say nothing about acceleration: a flight has a start and a speed of its own."""


def fit_gravity(clip: Clip, scene: Scene) -> float | None:
    """The downward acceleration, in world units per second squared, of the first actor that is said to bounce.

    It is fitted to the heights of all its free flights at once, by least squares: every flight has a start and a
    speed of its own, the acceleration is shared. To be compared with the toybox's GRAVITY. None if nobody is said to
    bounce, or that actor's colour is not found, or no flight is long enough.
    """
    bouncing = [actor for actor in scene.actors if actor.motion == Motion.BOUNCES]
    sight = Witness(clip).sight(bouncing[0].colour) if bouncing else None
    if sight is None:
        return None
    track = sight.track
    return _shared_acceleration(track.times[track.seen], track.place.imag[track.seen])


def _shared_acceleration(times: Times, heights: Times) -> float | None:
    flights = _flights(heights)
    if sum(map(len, flights)) < 2 * len(flights) + 1:
        return None
    rows = np.concatenate(flights)
    known = np.zeros((len(rows), 2 * len(flights) + 1))
    for index, flight in enumerate(flights):
        inside = np.isin(rows, flight)
        known[inside, 2 * index] = 1.0
        known[inside, 2 * index + 1] = times[flight]
    known[:, -1] = -(times[rows] ** 2) / 2
    solution, *_ = np.linalg.lstsq(known, heights[rows], rcond=None)
    return float(solution[-1])


def _flights(heights: Times) -> list[np.ndarray]:
    """Indices of the frames between landings. A landing is a lowest point in the lower half, and in no flight."""
    inner = heights[1:-1]
    low = inner < (heights.min() + heights.max()) / 2
    landings = 1 + np.flatnonzero(low & (inner <= heights[:-2]) & (inner < heights[2:]))
    edges = [-1, *landings, len(heights)]
    return [np.arange(a + 1, b) for a, b in pairwise(edges) if b - a > SHORTEST_FLIGHT]
