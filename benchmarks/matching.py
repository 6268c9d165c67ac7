"""Peers of our size: as many parameters, within some percent."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.peer_environment import Peer
from benchmarks.setting import Setting, parameters_of

NETWORK_TOLERANCE, TOKENIZER_TOLERANCE = 0.05, 0.10
SIZE = 64  # pixels of width and height


@dataclass(frozen=True)
class Match:
    """The options of a peer, and how many parameters it has with them."""

    options: dict[str, Any]
    parameters: int


def nearest(target: int, widths: Iterable[int], count: Callable[[int], int], *, tolerance: float) -> tuple[int, int]:
    """(the width whose number of parameters is nearest to the target, that number). Widths ascend, and numbers with
    them, so that the search ends once it has passed the target.

    Raises: ValueError if the nearest is not within the tolerance, a share of the target.
    """
    best: tuple[int, int] | None = None
    for width in widths:
        found = count(width)
        if best is None or abs(found - target) < abs(best[1] - target):
            best = width, found
        if found > target:
            break
    if best is None or abs(best[1] - target) > tolerance * target:
        raise ValueError(f"no width gives {target} parameters within {tolerance:.0%}: the nearest is {best}")
    return best


def maskgit_match(peer: Peer, setting: Setting) -> Match:
    """phenaki-pytorch's MaskGit, as deep as our network, with a C-ViViT of our tokenizer's size, for our clips."""
    generator = setting.generator
    cvivit = cvivit_match(peer, parameters_of(generator.tokenizer), cell=8)
    depth, frames = generator.config.network.depth, generator.config.frames
    shape = {"depth": depth, "words": setting.words, "frames": frames, "size": SIZE, "cvivit": cvivit.options}

    def count(dim: int) -> int:
        return peer.ask("count", kind="maskgit", dim=dim, **shape)

    target = parameters_of(generator.network)
    dim, parameters = nearest(target, range(32, 2048, 8), count, tolerance=NETWORK_TOLERANCE)
    return Match({"dim": dim, **shape}, parameters)


def build_maskgit(peer: Peer, setting: Setting, name: str) -> Match:
    match = maskgit_match(peer, setting)
    peer.ask("build", name=name, kind="maskgit", **match.options)
    return match


def cvivit_match(peer: Peer, target: int, *, cell: int) -> Match:
    """phenaki-pytorch's C-ViViT with cells of 4 x cell x cell pixels."""

    def count(dim: int) -> int:
        return peer.ask("count", kind="cvivit", dim=dim, cell=cell, size=SIZE)

    dim, parameters = nearest(target, range(32, 1024, 8), count, tolerance=TOKENIZER_TOLERANCE)
    return Match({"dim": dim, "cell": cell}, parameters)


def magvit2_match(peer: Peer, target: int) -> Match:
    """magvit2-pytorch's VideoTokenizer with cells of 4x4x4 pixels."""

    def count(dim: int) -> int:
        return peer.ask("count", kind="magvit2", dim=dim, size=SIZE)

    dim, parameters = nearest(target, range(8, 256, 2), count, tolerance=TOKENIZER_TOLERANCE)
    return Match({"dim": dim}, parameters)
