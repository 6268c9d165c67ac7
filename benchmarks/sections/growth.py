"""Growth: time and peak memory of longer and of larger clips, every point in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Timer
from typing import Any

from benchmarks.matching import Match, maskgit_match
from benchmarks.measuring import Cannot, Spread, number
from benchmarks.peer_environment import ROOT, Peer
from benchmarks.report import Findings, Table
from benchmarks.setting import Setting, memory_mb

OURS, PEER = "kinetoken", "phenaki-pytorch"
FRAMES, SIZES = (17, 33, 65, 129, 257), (64, 96, 128, 192)
MOST_REPEATS = 3
PATIENCE = 150  # seconds that the peer has for a point; what takes longer says no more of how it grows
SPARED_MB = 1500  # of the machine's memory, which no point may have

Point = dict[str, Any]
"""{"seconds": [...], "memory_mb": ...}, or {"cannot": why}."""


def measure(setting: Setting) -> Findings:
    with setting.peer() as peer:
        match = maskgit_match(peer, setting)
    points = {
        "frames": {
            str(frames): _both(setting, match, frames, 64) for frames in (FRAMES[:1] if setting.quick else FRAMES)
        },
        "pixels": {str(size): _both(setting, match, 17, size) for size in (SIZES[:1] if setting.quick else SIZES)},
    }
    tables = [
        _table("frames of 64x64", points["frames"]),
        _table("pixels of width and height, 17 frames", points["pixels"]),
    ]
    return Findings(tables, _notes(), points)


def _both(setting: Setting, match: Match, frames: int, size: int) -> dict[str, Point]:
    return {OURS: _our_point(setting, frames, size), PEER: _peer_point(setting, match, frames, size)}


def _our_point(setting: Setting, frames: int, size: int) -> Point:
    command = [sys.executable, "-m", "benchmarks.sections.growth_point"]
    options = [str(value) for value in (frames, size, setting.threads, 1 if setting.quick else MOST_REPEATS)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(setting.threads)}
    done = subprocess.run([*command, *options], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def _peer_point(setting: Setting, match: Match, frames: int, size: int) -> Point:
    """The same network, with room for as many positions as this clip has."""
    options = {**match.options, "frames": frames, "size": size}
    late = Event()
    try:
        with setting.peer() as peer, _ending(peer, late):
            peer.ask("limit_memory", megabytes=memory_mb() - SPARED_MB)
            peer.ask("build", name=PEER, kind="maskgit", **options)
            peer.ask("sample", name=PEER, clips=1, frames=1, decoded=True)
            most = 1 if setting.quick else MOST_REPEATS
            seconds = peer.ask("sample_several", name=PEER, frames=frames, most=most)
            return {"seconds": seconds, "memory_mb": peer.ask("peak_memory_mb")}
    except Cannot as error:
        return {"cannot": f"more than {PATIENCE} s" if late.is_set() else str(error)}


@contextmanager
def _ending(peer: Peer, late: Event) -> Iterator[None]:
    """The peer's process is ended, and `late` set, once PATIENCE is over."""

    def end() -> None:
        late.set()
        peer.process.kill()

    timer = Timer(PATIENCE, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _table(what: str, points: dict[str, dict[str, Point]]) -> Table:
    cells: list[Callable[[Point], str]] = [_told_seconds, _told_memory]
    rows = [
        [size, *(cell(point[system]) for cell in cells for system in (OURS, PEER))] for size, point in points.items()
    ]
    return Table((what, *(f"{system}, {figure}" for figure in ("time", "memory") for system in (OURS, PEER))), rows)


def _told_seconds(point: Point) -> str:
    return f"cannot: {point['cannot']}" if "cannot" in point else Spread.of(point["seconds"]).text(" s")


def _told_memory(point: Point) -> str:
    return "cannot" if "cannot" in point else f"{number(point['memory_mb'] / 1024)} GB"


def _notes() -> list[str]:
    return [
        "One clip with guidance, decoded; our default steps, 18 of theirs; fp32. Each point in a process of its own, "
        "after one generation of a single frame; up to three generations, fewer if they take long. Memory is the most "
        "that the process held, weights and libraries included.",
        "Ours goes on in a window that moves from four times the trained length on, so that time grows in a straight "
        "line from there. The peer's table of positions is as long as each clip needs.",
    ]
