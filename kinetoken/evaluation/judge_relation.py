"""What two actors do to each other: told from how the second one moves, and where the first one ends up."""

from typing import Final

import numpy as np
from jaxtyping import Bool, Complex

from kinetoken.data.toybox import Motion, Relation, Speed
from kinetoken.data.toybox_motion import DIRECTION
from kinetoken.data.toybox_scene import PACE, VELOCITY
from kinetoken.evaluation.judge_motion import CAP, PLACE_ERROR, Track

Places = Complex[np.ndarray, "frames"]
Seen = Bool[np.ndarray, "frames"]

SIDEWAYS: Final = (Motion.LEFT, Motion.RIGHT)
PUSHED: Final = 0.05
"""World units that a bumped actor must have moved by the clip's end."""
EARLIEST_BUMP: Final = 0.25
"""Seconds."""


def relation_costs(first: Track, second: Track) -> dict[Relation, float]:
    """The misfit of every relation, as of motions."""
    return {
        Relation.CHASES: _chase_cost(first, second),
        Relation.PASSES_BEHIND: _behind_cost(first, second),
        Relation.BUMPS_INTO: _bump_cost(first, second),
    }


def _chase_cost(first: Track, second: Track) -> float:
    """Both move the same way at the usual speed, the first behind."""
    both = first.seen & second.seen
    costs = [np.inf]
    for x, y in DIRECTION.values():
        way = complex(x, y)
        ahead = ((second.place - first.place) * way.conjugate()).real[both]
        if len(ahead) and np.median(ahead) > 0:
            move = way * VELOCITY * first.times
            costs.append(_misfit(first.place - move, first.seen) + _misfit(second.place - move, second.seen))
    return min(costs)


def _behind_cost(first: Track, second: Track) -> float:
    """The first one crosses quickly and at a steady pace, the second stays."""
    moves = [DIRECTION[way][0] * VELOCITY * PACE[Speed.QUICK] * first.times for way in SIDEWAYS]
    return min(_misfit(first.place - move, first.seen) for move in moves) + _misfit(second.place, second.seen)


def _bump_cost(first: Track, second: Track) -> float:
    """The first comes at a steady pace until it touches the second, which stays until then and moves away after."""
    costs = [np.inf]
    for index in np.flatnonzero(first.times >= EARLIEST_BUMP):
        before = first.times < first.times[index]
        pushed = np.median(second.place[~before & second.seen] if (~before & second.seen).any() else [0])
        moves = [DIRECTION[way][0] * VELOCITY * PACE[s] for way in SIDEWAYS for s in (Speed.USUAL, Speed.QUICK)]
        costs.append(
            min(_bent_misfit(first, before, move) for move in moves) + _bent_misfit(second, before, 0.0)
            if abs(pushed - np.median(second.place[before & second.seen])) > 0 and _pushed(second, before)
            else np.inf
        )
    return min(costs)


def _pushed(track: Track, before: Seen) -> bool:
    early, late = track.place[track.seen & before], track.place[track.seen & ~before]
    return bool(len(early) and len(late) and abs(late[-1] - np.median(early)) > PUSHED)


def _bent_misfit(track: Track, before: Seen, velocity: float) -> float:
    """Of a track that moves sideways at this velocity, and after `before` at any."""
    early, late = track.seen & before, track.seen & ~before
    start = np.median((track.place - velocity * track.times)[early].real) + 1j * np.median(track.place[early].imag)
    off = np.zeros(len(track.times))
    off[early] = np.abs(track.place - start - velocity * track.times)[early]
    if late.sum() > 1:
        line = np.polynomial.polynomial.polyfit(
            track.times[late], np.stack([track.place.real, track.place.imag], 1)[late], 1
        )
        fitted = line[0] + np.outer(track.times[late], line[1])
        off[late] = np.abs(track.place[late] - fitted[:, 0] - 1j * fitted[:, 1])
    return float(np.minimum((off / PLACE_ERROR) ** 2, CAP)[track.seen].mean())


def _misfit(off: Places, seen: Seen) -> float:
    middle = complex(np.median(off[seen].real), np.median(off[seen].imag))
    return float(np.minimum((np.abs(off[seen] - middle) / PLACE_ERROR) ** 2, CAP).mean())
