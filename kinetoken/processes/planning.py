"""Planning: the layout of a canvas, read where its grid is known, and written where it is not."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import permutations
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kinetoken.canvas import Canvas
from kinetoken.glimpses import Glimpses
from kinetoken.layout import HIDDEN, Foretold, Others, at, beside, reached, together
from kinetoken.processes.masking import CanvasBatch, to_be_read
from kinetoken.processes.orders import outwards
from kinetoken.reading import Read
from kinetoken.things import Asked, ThingsOut
from kinetoken.transformer import Transformer

MANY: Final = 1024  # ids
DOUBT: Final = 4.0
"""Nats by which looks may be less likely than what a reader takes them for, for words to say that they are meant."""
SURE: Final = 0.999
"""How probable a thing must be, or that it is not there, for nothing to depend on it."""


class ReadingObjective(nn.Module):
    """How what is there is found in a grid: of the network its reader alone is asked."""

    def __init__(self, network: Transformer) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: CanvasBatch) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        seen = to_be_read(batch)
        return self.network.reader.loss(self.network.codes(seen.grid), seen.layout, loop=bool(batch.loop.any()))


@torch.inference_mode()
def with_layout(network: Transformer, canvas: Canvas, noise: torch.Generator, temperature: float) -> Canvas:
    """Read what is to be seen of one canvas (`with_read`), then write the things that are still unknown, one after
    another, each digit knowing those before it: layers as the grid is filled. A canvas without a layout gets one, if
    the network has learned to write them."""
    assert len(canvas.text) == 1, "one canvas at a time"
    if not network.config.slots:
        return canvas
    if not canvas.layout.shape[2]:
        canvas = _nothing_told(network, canvas)
    canvas, glimpses = with_read(network, canvas)
    for time in outwards(_certain(canvas, glimpses), loop=canvas.loop):
        while not canvas.layout_known[0, time].all():
            text, grid, layout = canvas.masked
            if glimpses or not canvas.grid_known.any():  # one that tells no more is left out, as it is in training
                grid = grid[:, :, :0, :0]
            features = network(text, grid, layout, loop=canvas.loop).things[0, time]
            canvas = _with_next(network.things_out, canvas, features, time, glimpses.get(time), noise, temperature)
    return canvas


def _with_next(
    head: ThingsOut,
    canvas: Canvas,
    features: Float[Tensor, "things width"],
    time: int,
    glimpses: Glimpses | None,
    noise: torch.Generator,
    temperature: float,
) -> Canvas:
    """Of one layer the next thing that is unknown. What was certain tells the network nothing: so the same features
    will do for the next one after it. And those are written along that are as good as certainly not there, but never
    any before one that is there and unknown, which training does not show.

    All that are to be thought about are written side by side, each as if those before it went on as they did, and are
    kept up to the first that does not (speculative decoding, Leviathan et al. 2023): grounds mostly do, so what is on
    them does not wait for them.

    Of what is only glimpsed, words and the layers around say what it may be, and the glimpses what is seen of it: a
    product of experts (Hinton 1999), digit by digit.
    """
    certain, layout = True, canvas.masked[2]
    asked = head.asked(features, beside(layout, canvas.loop)[0, time], at(together(layout, canvas.loop), (0, time)))
    while certain and not (known := canvas.layout_known[0, time]).all():
        things = torch.zeros_like(layout[0, time])
        glimpsed = glimpses and glimpses.without(layout[0, time, 1:])
        there = head.logits(asked, things, 0, 0.0).float()
        if glimpsed is not None:
            there[1:] += glimpsed.beliefs(things[0], 0)
        settled = known | (_chances(there, temperature)[:, 0] > SURE)
        slots = (~settled).nonzero()[:, 0]
        if glimpsed is not None:
            slots, glimpsed = slots[:1], glimpsed if slots[:1].any() else None  # of the view nothing is glimpsed
        layer = torch.where(known[:, None], layout[0, time], _gone_on(asked.ahead) * ~settled[:, None])
        asked_of = asked.those(slots)._replace(others=_after(layer, slots, asked.others))
        things[slots], sure = _written(head, asked_of, glimpsed, noise, temperature)
        kept = 1 + int((sure & (things == layer)[slots].all(1)).long().cumprod(0)[:-1].sum())
        settled[slots[:kept]], certain = True, bool(sure[:kept].all())
        here = torch.zeros_like(canvas.layout_known)
        here[0, time] = ~known & settled.cumprod(0).bool()
        canvas = canvas.with_things(here, things[here[0, time]])
        layout = canvas.masked[2]
        asked = asked._replace(others=at(together(layout, canvas.loop), (0, time)))
    return canvas


def _gone_on(ahead: Foretold) -> Int[Tensor, "things digits"]:
    """Things that have moved on, or, where there is no telling, stand."""
    return torch.where(ahead.told[:, 0, 1], ahead.guesses[:, 0, 1], ahead.guesses[:, 0, 0])


def _after(layer: Int[Tensor, "things digits"], slots: Int[Tensor, " some"], others: Others) -> Others:
    """What some things see of the others, if those before each of them are as in `layer`."""
    before = torch.arange(len(layer), device=slots.device) < slots[:, None]
    seen = at(others, slots)
    return Others(torch.where(before[..., None], layer, seen.things), seen.now | before)


def with_read(network: Transformer, canvas: Canvas) -> tuple[Canvas, dict[int, Glimpses]]:
    """What is known of the grid of one canvas, as a layout; things stand in the order in which words name them, or, if
    there are none, would. A thing that reaches into cells that are not known stays unknown, and of the layers that are
    known in part there are glimpses. Who brings a layout, even a part of one, is taken at their word instead."""
    if not canvas.grid_known.any() or canvas.layout_known.any():
        return canvas, {}
    read = network.reader.read(network.codes(canvas.masked[1])[0], canvas.loop)
    things = _as_named(network, canvas, read) if canvas.text_known.any() else read.layout
    known = things[..., 0] != HIDDEN
    for time in read.glimpses:
        cells = canvas.grid_known[0, time]
        known[time, 1:] &= ~(reached(things[time, 1:], *cells.shape) & ~cells).any((1, 2))
    return canvas.with_things(known[None], things[known]), read.glimpses


def _certain(canvas: Canvas, glimpses: dict[int, Glimpses]) -> Bool[np.ndarray, " time"]:
    """The layers from which others are written: those of which something is told; of those that are known in part,
    those with a thing that is, or if there are none the one in which most is glimpsed."""
    certain = canvas.layout_known.any(2)[0].clone()
    for time in glimpses:
        certain[time] = bool((canvas.layout_known[0, time, 1:] & (canvas.layout[0, time, 1:, 0] > 0)).any())
    if glimpses and not certain.any():
        most = {time: float(F.pad(of.likely, (0, 1)).max()) for time, of in glimpses.items()}
        certain[max(most, key=lambda time: most[time])] = True
    return certain.cpu().numpy()


@torch.inference_mode()
def with_shown(network: Transformer, canvas: Canvas, other: Canvas, layers: Sequence[int]) -> Canvas:
    """One canvas, whose layout shall be in these layers what is to be seen there of another. As it was, if the network
    knows of no layouts."""
    if not network.config.slots:
        return canvas
    read, _ = with_read(network, _nothing_told(network, other))
    known = torch.zeros_like(read.layout_known)
    known[:, layers] = read.layout_known[:, layers]
    return _nothing_told(network, canvas).with_things(known, read.layout[known])


@torch.inference_mode()
def spoken_of(network: Transformer, canvas: Canvas) -> float | None:
    """By how many nats the words of a canvas make that likelier which is to be seen in its one layer of cells (their
    pointwise mutual information): more than 0 if they may go on with it, far less if they speak of something else.
    None if nothing is seen, or nobody has learned to read it."""
    if not network.config.slots:
        return None
    canvas = _nothing_told(network, canvas)
    (seen,) = network.reader.read(network.codes(canvas.masked[1])[0]).layout
    there = {slot: seen[slot, None] for slot in range(1, len(seen)) if seen[slot, 0] > 0}
    if not there:
        return None
    untold, told = (_likeliest(_naming(network, words, there, 0, looks=True))[1] for words in (canvas.untold(), canvas))
    return untold - told


def _nothing_told(network: Transformer, canvas: Canvas) -> Canvas:
    layout = network.config.untold(len(canvas.grid), canvas.grid.shape[1]).to(canvas.grid.device)
    return replace(canvas, layout=layout, layout_known=torch.zeros_like(layout[..., 0], dtype=torch.bool))


def _as_named(network: Transformer, canvas: Canvas, read: Read) -> Int[Tensor, "time things digits"]:
    """What has been read, things in the order in which words name them: by how likely each is to be the first, the
    second, … that they name where something is first seen. What a thing looks like, so far as the reader doubts it, is
    for the words to say, too."""
    layout = read.layout.clone()
    there = (layout[:, 1:, 0] > 0).any(1)
    if not there.any():
        return layout
    time = int(there.nonzero()[0])
    here = layout[time]
    doubted = {thing: _doubted(here[thing], read.looks[thing]) for thing in range(1, len(here)) if here[thing, 0] > 0}
    nats = _naming(network, canvas, {thing: ways for thing, (ways, _) in doubted.items()}, time)
    nats = {(slot, thing): of + doubted[thing][1] for (slot, thing), of in nats.items()}
    named, _ = _likeliest(nats)
    for slot, thing in named.items():
        likeliest, looks = doubted[thing][0][nats[slot, thing].argmin()], slice(1, 1 + len(read.looks[thing]))
        layout[layout[:, thing, 0] > 0, thing, looks] = likeliest[looks]
    absent = [thing for thing in range(1, layout.shape[1]) if thing not in doubted]
    return layout[:, [0, *(named[slot] if slot in named else absent.pop() for slot in range(1, layout.shape[1]))]]


def _doubted(
    thing: Int[Tensor, " digits"], looks: Sequence[Float[Tensor, " _"]]
) -> tuple[Int[Tensor, "ways digits"], Float[Tensor, " ways"]]:
    """A thing in all looks that it may have, none of whose digits is DOUBT nats less likely than the likeliest; and the
    nats of each."""
    ways = torch.cartesian_prod(*((of > of.max() - DOUBT).nonzero()[:, 0] for of in looks))
    things = thing.expand(len(ways), -1).clone()
    things[:, 1 : 1 + len(looks)] = ways
    return things, -torch.stack([of[ways[:, digit]] for digit, of in enumerate(looks)]).sum(0)


def _naming(
    network: Transformer,
    canvas: Canvas,
    things: dict[int, Int[Tensor, "ways digits"]],
    time: int,
    *,
    looks: bool = False,
) -> dict[tuple[int, int], Float[Tensor, " ways"]]:
    """By (slot, thing): the nats of each way in which a thing of a layer may be, or of its looks, if it is what words
    name at a slot."""
    text, grid, layout = canvas.masked
    words = network(text, grid[:, :, :0, :0], layout, loop=canvas.loop).things[0, time]
    near, others = beside(layout, canvas.loop)[0, time], at(together(layout, canvas.loop), (0, time))
    nats = {}
    for slot in range(1, len(words)):
        for thing, ways in things.items():
            it = [slot] * len(ways)
            asked = network.things_out.asked(words[it], near[it], at(others, it))
            nats[slot, thing] = network.things_out.cross_entropy(asked, ways, looks)
    return nats


def _likeliest(nats: dict[tuple[int, int], Float[Tensor, " ways"]]) -> tuple[dict[int, int], float]:
    """(which thing is named at a slot, so that all of them are likeliest; the nats of that), each in its best way."""
    slots, there = (sorted({key[part] for key in nats}) for part in (0, 1))
    ways = [dict(zip(way, there, strict=True)) for way in permutations(slots, len(there))]
    price = [sum(float(nats[of].min()) for of in way.items()) for way in ways]
    best = price.index(min(price))
    return ways[best], price[best]


def _written(
    head: ThingsOut,
    asked: Asked,
    glimpsed: Glimpses | None,
    noise: torch.Generator,
    temperature: float,
) -> tuple[Int[Tensor, "things digits"], Bool[Tensor, " things"]]:
    """Things, each by itself, digit by digit; and whether each was certain. Of what is glimpsed there is one."""
    things = asked.ahead.near.new_zeros(len(asked.said), len(head.radices))
    heard, chances = torch.zeros_like(asked.said[:, 0]), []
    for place in range(things.shape[1]):
        logits = head.logits(asked, things, place, heard).float()
        if glimpsed is not None:
            logits = logits + glimpsed.beliefs(things[0], place)
        of_digit = _chances(logits, temperature)
        digit = drawn(of_digit, noise) if temperature else logits.argmax(-1)
        things[:, place] = digit
        chances.append(of_digit.gather(1, digit[:, None])[:, 0])
        if not place and not digit.any():
            break
        heard = heard + head.heard(asked.ahead, things, place)
    there = things[:, 0] > 0
    return things * there[:, None], torch.where(there, torch.stack(chances).prod(0), chances[0]) > SURE


def _chances(logits: Float[Tensor, "things radix"], temperature: float) -> Float[Tensor, "things radix"]:
    """How likely each digit is to be drawn."""
    return (logits / max(temperature, 0.01)).softmax(-1)


def sample(logits: Float[Tensor, "places ids"], noise: torch.Generator, temperature: float) -> Int[Tensor, " places"]:
    """One id for each place: the likeliest if temperature is 0, else one that is `drawn`."""
    return drawn((logits / temperature).softmax(-1), noise) if temperature else logits.argmax(-1)


def drawn(chances: Float[Tensor, "places ids"], noise: torch.Generator) -> Int[Tensor, " places"]:
    """By the inverse of the cumulative distribution: a random number for each place, drawn on the CPU, so that every
    device draws the same. (Gumbel-max needs one for each id, which was a tenth of a sampler's time.) Of many
    ids it is first that of runs of them, then that within one run: sums are faster than running sums."""
    uniform = 1 - torch.rand(len(chances), 1, generator=noise, dtype=torch.float64)  # never 0: some have no chance
    share, run = uniform.to(chances), _run(chances.shape[-1])
    runs = chances.unflatten(-1, (-1, run))
    cumulative = (chances if run == 1 else runs.sum(-1)).cumsum(-1)
    wanted = share * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, wanted)
    if run == 1:
        return chosen[:, 0]
    within = runs.gather(1, chosen[..., None].expand(-1, -1, run))[:, 0].cumsum(-1)
    left = wanted - cumulative.gather(-1, chosen) + within[:, -1:]  # rounding must not make it 0, or more than all
    left = left.clamp_min(1e-7 * within[:, -1:]).minimum(within[:, -1:])
    return (run * chosen + torch.searchsorted(within, left))[:, 0]


@lru_cache
def _run(ids: int) -> int:
    """How long runs are: of many ids the longest into which they can be parted that is not longer than their root."""
    return 1 if ids < MANY else max(length for length in range(1, int(ids**0.5) + 1) if ids % length == 0)
