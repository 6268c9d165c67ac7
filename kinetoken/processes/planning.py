"""Planning: the layout of a canvas, read where its grid is known, and written where it is not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kinetoken.canvas import Canvas
from kinetoken.layout import EIGHTHS, HIDDEN, SIZE, Foretold, Others, at, beside, centres, going_on, together
from kinetoken.processes.masking import CanvasBatch, to_be_read
from kinetoken.processes.orders import outwards
from kinetoken.things import ThingsOut
from kinetoken.transformer import Transformer

DRAWS: Final = 8  # of a thing that is to be where nothing is known
INNER: Final = 0.8  # of a radius: so much of a thing covers what is behind it, whatever its shape
SURE: Final = 0.999
"""How probable it must be that a thing is not there, if it is to be written without having been waited for."""


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
    another, each digit knowing those before it: layers as the grid is filled. Beside it in its layer those are written
    along that are as good as certainly not there: never any before one that is there and unknown, which training does
    not show. A canvas without a layout gets one, if the network has learned to write them."""
    assert len(canvas.text) == 1, "one canvas at a time"
    if not network.config.slots:
        return canvas
    if not canvas.layout.shape[2]:
        canvas = _nothing_told(network, canvas)
    canvas = with_read(network, canvas)
    told = canvas.layout_known.any(2)[0].cpu().numpy()
    head = network.things_out
    for time in outwards(told, loop=canvas.loop):
        while not (known := canvas.layout_known[0, time]).all():
            text, grid, layout = canvas.masked
            if not canvas.grid_known.any():  # a grid that tells nothing is left out, as it is in training
                grid = grid[:, :, :0, :0]
            features = network(text, grid, layout, loop=canvas.loop).things[0, time]
            ahead = going_on(beside(layout, canvas.loop)[0, time], head.radices)
            others = at(together(layout, canvas.loop), (0, time))
            things = torch.zeros_like(layout[0, time])
            nothing = _surely_none(head.logits(features, ahead, others, things, 0).float(), temperature)
            settled = known | nothing
            slot = int(settled.int().argmin())  # the first that is to be thought about, if there is one
            draw = partial(_written, head, features, ahead, others, slot, noise, temperature)
            things[slot] = _fitting(draw, canvas.grid_known[0, time] & (slot > 0))
            here = torch.zeros_like(canvas.layout_known)
            settled[: slot + 1] = True
            here[0, time] = ~known & settled.cumprod(0).bool()
            canvas = canvas.with_things(here, things[here[0, time]])
    return canvas


def with_read(network: Transformer, canvas: Canvas) -> Canvas:
    """What is known of the grid of one canvas, as a layout; things stand in the order in which words name them, or, if
    there are none, would. Who brings a layout, even a part of one, is taken at their word instead."""
    if not canvas.grid_known.any() or canvas.layout_known.any():
        return canvas
    things = network.reader.read(network.codes(canvas.masked[1])[0], canvas.loop)
    seen = [slot for slot in range(1, things.shape[1]) if (things[:, slot, 0] > 0).any()]
    if canvas.text_known.any() and seen:
        first = int((things[:, seen, 0] > 0).any(1).nonzero()[0])
        order = _as_named(network, canvas, things[first], first)
        things = torch.cat((things[:, :1], things[:, order]), dim=1)
    known = things[..., 0] != HIDDEN
    return canvas.with_things(known[None], things[known])


@torch.inference_mode()
def spoken_of(network: Transformer, canvas: Canvas) -> float | None:
    """By how many nats the words of a canvas make that likelier which is to be seen in its one layer of cells (their
    pointwise mutual information): more than 0 if they may go on with it, far less if they speak of something else.
    None if nothing is seen, or nobody has learned to read it."""
    if not network.config.slots:
        return None
    canvas = _nothing_told(network, canvas)
    (seen,) = network.reader.read(network.codes(canvas.masked[1])[0])
    if not (seen[1:, 0] > 0).any():
        return None
    return _naming(network, canvas.untold(), seen, 0, looks=True)[1] - _naming(network, canvas, seen, 0, looks=True)[1]


def _nothing_told(network: Transformer, canvas: Canvas) -> Canvas:
    layout = network.config.untold(len(canvas.grid), canvas.grid.shape[1]).to(canvas.grid.device)
    return replace(canvas, layout=layout, layout_known=torch.zeros_like(layout[..., 0], dtype=torch.bool))


def _as_named(network: Transformer, canvas: Canvas, seen: Int[Tensor, "things digits"], time: int) -> list[int]:
    """Which of the things seen in a layer is the first, the second, …, by how likely each is to be what words name
    there. Those that are not seen fill what is left."""
    there = [slot for slot in range(1, len(seen)) if seen[slot, 0] > 0]
    best, _ = _naming(network, canvas, seen, time)
    absent = [slot for slot in range(1, len(seen)) if slot not in there]
    placed = dict(zip(best, there, strict=True))
    return [placed[slot] if slot in placed else absent.pop() for slot in range(1, len(seen))]


def _naming(
    network: Transformer, canvas: Canvas, seen: Int[Tensor, "things digits"], time: int, *, looks: bool = False
) -> tuple[tuple[int, ...], float]:
    """(the slot of each thing that is there, so that all of them are likeliest to be what words name in a layer; the
    nats of that, or of their looks)."""
    text, grid, layout = canvas.masked
    things = network(text, grid[:, :, :0, :0], layout, loop=canvas.loop).things[0, time]
    near, others = beside(layout, canvas.loop)[0, time], at(together(layout, canvas.loop), (0, time))
    slots, there = range(1, len(seen)), [slot for slot in range(1, len(seen)) if seen[slot, 0] > 0]
    head = network.things_out
    nats = {
        (slot, thing): float(head.cross_entropy(things[s], near[s], at(others, s), seen[thing, None], looks)[0])
        for slot in slots
        for thing in there
        for s in (slice(slot, slot + 1),)
    }
    ways = {way: sum(nats[of] for of in zip(way, there, strict=True)) for way in permutations(slots, len(there))}
    best = min(ways, key=lambda way: ways[way])
    return best, ways[best]


def _fitting(draw: Callable[[], Int[Tensor, " digits"]], known: Bool[Tensor, "rows columns"]) -> Int[Tensor, " digits"]:
    """The first thing drawn that is not where cells are known, for who is there has been read; or, of DRAWS, the one
    that is so the least."""
    if not known.any():
        return draw()
    drawn: list[tuple[int, Tensor]] = []
    while len(drawn) < DRAWS:
        thing = draw()
        covered = int((known & _covered(thing, known.shape)).sum())
        if not covered:
            return thing
        drawn.append((covered, thing))
    return min(drawn, key=lambda one: one[0])[1]


def _covered(thing: Int[Tensor, " digits"], size: Sequence[int]) -> Bool[Tensor, "rows columns"]:
    """The cells whose middle lies under the inner part of a thing."""
    rows, columns = (torch.arange(count, device=thing.device) + 0.5 for count in size)
    x, y = centres(thing)
    away = torch.hypot(columns - x, rows[:, None] - y)
    return (away < INNER * thing[SIZE] / EIGHTHS) & (thing[0] > 0)


def _written(
    head: ThingsOut,
    features: Float[Tensor, "things width"],
    ahead: Foretold,
    others: Others,
    slot: int,
    noise: torch.Generator,
    temperature: float,
) -> Int[Tensor, " digits"]:
    """One of a layer's things, digit by digit."""
    it = slice(slot, slot + 1)
    ahead, others = at(ahead, it), at(others, it)
    thing = others.things.new_zeros(1, others.things.shape[-1])
    for place in range(thing.shape[1]):
        logits = head.logits(features[it], ahead, others, thing, place)
        thing[:, place] = sample(logits.float(), noise, temperature)
        if not thing[0, 0]:
            break
    return thing[0]


def _surely_none(seen: Float[Tensor, "things radix"], temperature: float) -> Bool[Tensor, " things"]:
    """Which things are as good as certainly not there. seen: logits of their first digits."""
    return (seen / max(temperature, 0.01)).softmax(-1)[:, 0] > SURE


def sample(logits: Float[Tensor, "places ids"], noise: torch.Generator, temperature: float) -> Int[Tensor, " places"]:
    """Gumbel-max. The noise is drawn on the CPU, so that every device draws the same."""
    if temperature == 0:
        return logits.argmax(-1)
    uniform = torch.rand(logits.shape, generator=noise, dtype=torch.float64).to(logits.device)
    return (logits.double() / temperature - torch.log(-torch.log(uniform))).argmax(-1)
