"""What two actors do to each other: told from how the second one moves, and where the first one ends up."""

from typing import Final

import numpy as np
from jaxtyping import Bool, Complex

from kinetoken.data.toybox import Motion, Relation, Speed
from kinetoken.data.toybox_motion import DIRECTION, WRAP_MARGIN
from kinetoken.data.toybox_scene import PACE, VELOCITY
from kinetoken.evaluation.judge_motion import CAP, PLACE_ERROR, Track

Places = Complex[np.ndarray, "places"]
Seen = Bool[np.ndarray, "frames"]

SIDEWAYS: Final = (Motion.LEFT, Motion.RIGHT)
RELATION_SHOWN: Final = 7.0
"""Misfit up to which a relation is shown: 3 at most in rendered clips, 5 in lossy ones."""
PUSHED: Final = 0.05
"""World units that a bumped actor must have moved by the clip's end."""
EARLIEST_BUMP: Final = 0.45
"""Seconds. Bumps in the toybox happen after 0.5 to 1."""
SHORTEST_PUSH: Final = 0.2
"""Seconds that must be left after a bump for its effect to be seen."""


def recognise_relation(first: Track, second: Track) -> Relation:
    """What the first actor does to the second; NONE if that is nothing that has a name."""
    costs = relation_costs(first, second)
    best = min(costs, key=costs.__getitem__)
    return best if costs[best] < RELATION_SHOWN else Relation.NONE


def relation_costs(first: Track, second: Track) -> dict[Relation, float]:
    """The misfit of every relation, of two tracks at CAP each at most."""
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
        if len(ahead) and ahead[0] > 0:
            move = way * VELOCITY * first.times
            costs.append(sum(_misfit(_unwrapped(track, track.place - move), track.seen) for track in (first, second)))
    return min(costs)


def _unwrapped(track: Track, off: Places) -> Places:
    """Places that are known up to the way around the view, brought next to the first that is seen."""
    width, height = (side + 2 * WRAP_MARGIN for side in track.view)
    first = off[track.seen][0]
    turns = (off - first).real / width, (off - first).imag / height
    return off - np.round(turns[0]) * width - 1j * np.round(turns[1]) * height


def _behind_cost(first: Track, second: Track) -> float:
    """The first one crosses quickly and at a steady pace, the second stays and hides it."""
    moves = [DIRECTION[way][0] * VELOCITY * PACE[Speed.QUICK] * first.times for way in SIDEWAYS]
    costs = [_misfit(first.place - move, first.seen) for move in moves]
    crossing = moves[int(np.argmin(costs))]
    if not _is_hidden(first, second, crossing + _middle((first.place - crossing)[first.seen])):
        return np.inf
    return min(costs) + _misfit(second.place, second.seen)


def _is_hidden(first: Track, second: Track, way: Places) -> bool:
    """Whether the first one, on this way, meets the second one's place, and less is seen of it there."""
    apart = np.abs(way - _middle(second.place[second.seen]))
    nearest = int(apart.argmin())
    shares = [track.area[nearest] / track.area.max() for track in (first, second)]
    return bool(apart[nearest] < second.radius[second.seen].max() and shares[0] < shares[1])


def _bump_cost(first: Track, second: Track) -> float:
    """The first comes at a steady pace until it touches the second, which stays until then and moves away after."""
    ends = [time for time in first.times if EARLIEST_BUMP <= time <= first.times[-1] - SHORTEST_PUSH]
    return min((_bump_at(time, first, second) for time in ends), default=np.inf)


def _bump_at(time: float, first: Track, second: Track) -> float:
    before = first.times < time
    early, late = second.seen & before, second.seen & ~before
    if not early.any() or not late.any() or abs(second.place[late][-1] - np.median(second.place[early])) < PUSHED:
        return np.inf
    moves = [DIRECTION[way][0] * VELOCITY * PACE[pace] for way in SIDEWAYS for pace in (Speed.USUAL, Speed.QUICK)]
    coming = min(_misfit(first.place - move * first.times, first.seen & before) for move in moves)
    leaving = _misfit_of_line(first, ~before) + _misfit_of_line(second, ~before)
    return (coming + _misfit(second.place, early) + leaving) / 2


def _misfit_of_line(track: Track, when: Seen) -> float:
    """Of a steady motion at any velocity."""
    chosen = track.seen & when
    if chosen.sum() < 3:
        return 0.0
    times, places = track.times[chosen], track.place[chosen]
    times, places = times - times.mean(), places - places.mean()
    return _capped(places - times * (times @ places) / (times @ times))


def _misfit(off: Places, chosen: Seen) -> float:
    """Of places that should all be one."""
    return _capped(off[chosen] - _middle(off[chosen])) if chosen.any() else 0.0


def _middle(places: Places) -> complex:
    return complex(np.median(places.real), np.median(places.imag))


def _capped(off: Places) -> float:
    return float(np.minimum((np.abs(off) / PLACE_ERROR) ** 2, CAP).mean())
