"""Sampling one clip and a batch, guidance on, text given."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch

from benchmarks.autoregression import CausalDecoder, seconds_to_fill
from benchmarks.matching import build_maskgit
from benchmarks.measuring import Cannot, Measured, alternate, refusing, seconds_of, told, told_count, told_ratio
from benchmarks.peer_environment import Peer
from benchmarks.report import Findings, Table
from benchmarks.setting import PROMPT, Setting, parameters_of
from kinetoken.generator import Generator
from kinetoken.grid import GridShape
from kinetoken.side_by_side import side_by_side

PEER, PEER_STEPS = "phenaki-pytorch, 18 steps (its default)", 18
PLAIN = "one code at a time, keys and values kept (extrapolated)"
GUIDED = 2.0
STRETCH, STRETCHES = 16, 5  # codes that are measured of the grid, and at how many places

Measure = Callable[[int, bool], float]
"""Seconds for so many clips, decoded or not."""


def measure(setting: Setting) -> Findings:
    generator, cases = setting.generator, _cases(setting)
    ours = _our_systems(generator, setting)
    plain, plain_parameters = _plain(setting)
    with setting.peer() as peer:
        theirs, peer_parameters = _peer(peer, setting)
        seconds = {
            case: alternate(
                {
                    **{name: partial(make, clips, decoded) for name, make in ours.items()},
                    PEER: partial(theirs, clips, decoded),
                    PLAIN: partial(plain, clips, decoded),
                },
                rounds=setting.rounds if clips == 1 else max(1, setting.rounds // 3),
                warmups=setting.warmups,
            )
            for case, (clips, decoded) in cases.items()
        }
    parameters = {name: parameters_of(generator.network) for name in ours}
    parameters |= {PEER: peer_parameters, PLAIN: plain_parameters}
    reference = next(iter(ours))
    tables = [_times(seconds, parameters), _ratios(seconds, reference)]
    return Findings(tables, _notes(generator), {"seconds": seconds})


def _cases(setting: Setting) -> dict[str, tuple[int, bool]]:
    """(how many clips, whether they are decoded)."""
    pairs = [(count, decoded) for count in (1, setting.batch) for decoded in (False, True)]
    if setting.quick:
        pairs = [(1, True), (setting.batch, False)]
    return {f"{_clips(count)}, {'decoded' if decoded else 'codes only'}": (count, decoded) for count, decoded in pairs}


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


def _our_systems(generator: Generator, setting: Setting) -> dict[str, Measure]:
    """The first one has the model's defaults."""
    sampling = generator.config.sampling
    default = f"kinetoken, {sampling.steps} steps (default)"
    made: dict[str, Measure] = {default: partial(_seconds, generator, sampling.steps, sampling.guidance, False)}
    for steps in dict.fromkeys((sampling.steps, PEER_STEPS)):
        if (steps, GUIDED) != (sampling.steps, sampling.guidance):
            made[f"kinetoken, {steps} steps, guidance {GUIDED:g}"] = partial(_seconds, generator, steps, GUIDED, False)
    if setting.bfloat16:
        made[f"kinetoken, {sampling.steps} steps, bfloat16 (extra)"] = partial(
            _seconds, generator, sampling.steps, sampling.guidance, True
        )
    return made


def _seconds(generator: Generator, steps: int, guidance: float, half: bool, clips: int, decoded: bool) -> float:
    return seconds_of(lambda: make_clips(generator, clips, steps=steps, guidance=guidance, half=half, decoded=decoded))


def make_clips(generator: Generator, clips: int, *, steps: int, guidance: float, half: bool, decoded: bool) -> None:
    def made(seed: int) -> Any:
        for step in generator.stream(PROMPT, seed=seed, steps=steps, guidance=guidance):
            last = step
        return last.clip if decoded else last.codes

    with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
        list(side_by_side(made, clips, generator.device))


def _plain(setting: Setting) -> tuple[Measure, int]:
    """With its parameters. Our tokenizer decodes."""
    generator = setting.generator
    config = generator.config
    grid = GridShape.of_clip(config.frames, config.height, config.width, config.tokenizer.cell)
    decoder = CausalDecoder(config.network, setting.words + grid.cells).eval()

    def seconds(clips: int, decoded: bool) -> float:
        made = seconds_to_fill(
            decoder,
            clips=clips,
            words=setting.words,
            cells=grid.cells,
            guidance=GUIDED,
            stretch=STRETCH,
            stretches=1 if setting.quick else STRETCHES,
        )
        codes = torch.randint(config.network.visual_codes, (clips, *grid.sizes))
        return made + (seconds_of(lambda: generator.tokenizer.decode(codes)) if decoded else 0.0)

    return seconds, parameters_of(decoder)


def _peer(peer: Peer, setting: Setting) -> tuple[Measure, int]:
    """With its network's parameters."""
    try:
        match = build_maskgit(peer, setting, PEER)
    except Cannot as error:
        return refusing(error), 0

    def seconds(clips: int, decoded: bool) -> float:
        return peer.ask("sample", name=PEER, clips=clips, frames=match.options["frames"], decoded=decoded)

    return seconds, match.parameters


def _times(seconds: dict[str, dict[str, Measured]], parameters: dict[str, int]) -> Table:
    rows = [
        [name, told_count(count), *(told(measured[name], " s") for measured in seconds.values())]
        for name, count in parameters.items()
    ]
    return Table(("system", "parameters of the network", *seconds), rows, "Seconds")


def _ratios(seconds: dict[str, dict[str, Measured]], reference: str) -> Table:
    others = [name for name in next(iter(seconds.values())) if name != reference]
    rows = [[name, *(told_ratio(case[name], case[reference]) for case in seconds.values())] for name in others]
    return Table(("takes as many times the seconds", *seconds), rows, f"Against {reference}")


def _notes(generator: Generator) -> list[str]:
    default = "no guidance" if generator.config.sampling.guidance == 1 else "guidance"
    return [
        "17 frames of 64x64, the layouts that are written first counted in. "
        f"Our default has {default}; with it on, as theirs is (3 by "
        "default), two branches are computed. fp32, but for the row that says otherwise.",
        "Parameters are those at work: parts of ours that read given clips and put them into words are not counted.",
        "Of our clips each is made by itself, so that a seed's codes do not depend on its company, and several side by "
        "side, one on each core; phenaki-pytorch samples its clips as one batch, on both. Its text encoder is not "
        "counted: it is given random embeddings.",
        "One code at a time: a causal decoder as deep and as wide as our network over all codes of the grid, with the "
        f"two branches of guidance as one batch. Timed on stretches of {STRETCH} codes at {STRETCHES} places, spread "
        "evenly, and extrapolated to the grid.",
    ]
