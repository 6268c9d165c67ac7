"""The masked process: hide places of a canvas and learn to fill them; fill a canvas in a few parallel steps.

Masked (absorbing) discrete diffusion as in MaskGIT (Chang et al. 2022), MAGVIT (Yu et al. 2023) and MDLM (Sahoo et al.
2024). Time is progress, here and everywhere: 0 is a canvas with nothing filled, 1 a canvas with everything filled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kinetoken.canvas import Canvas
from kinetoken.code_digits import code_logits
from kinetoken.grid import GridShape
from kinetoken.layout import HIDDEN, at, beside, together
from kinetoken.memory import Memory
from kinetoken.processes.in_pieces import summed
from kinetoken.processes.masking import FEWEST, CanvasBatch, MaskingConfig, to_be_written, training_canvas
from kinetoken.processes.orders import Order, halton_ranks, layer_ranks, outwards, random_ranks
from kinetoken.processes.planning import sample, with_layout
from kinetoken.transformer import Transformer
from kinetoken.vocabulary import Vocabulary


class MaskedObjective(nn.Module):
    """Cross-entropy over hidden places. Every canvas weighs the same, however much of it is hidden, as the bound on the
    likelihood has it (MDLM); but no code more than FEWEST allows."""

    def __init__(self, network: Transformer, masking: MaskingConfig) -> None:
        super().__init__()
        self.network = network
        self.masking = masking

    def forward(self, batch: CanvasBatch) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        canvas = training_canvas(batch, self.masking)
        hidden_text, hidden_grid = ~canvas.text_known, ~canvas.grid_known
        words, things, cells = self.network(*canvas.masked, loop=canvas.loop, asked=hidden_grid)
        told = canvas.layout[..., 0] != HIDDEN
        hidden_things = to_be_written(canvas)
        grid_loss = thing_loss = guess_loss = cells.new_zeros(())
        shares = hidden_grid.float()
        if hidden_grid.any():
            answers = canvas.grid[hidden_grid] - self.network.config.vocabulary.text_end
            shares = (1 / shares.mean((1, 2, 3), keepdim=True).clamp_min(FEWEST)).expand_as(hidden_grid)[hidden_grid]
            grid_loss = self.cost_of_codes(cells, answers, shares)
        known, written = canvas.masked[2], hidden_text.any(1)
        words = words[written]
        if len(words):
            layouts = known[written] if known.shape[2] else known
            words = self.network.told_words(words, layouts, loop=canvas.loop)
        text_logits = self.network.text_logits(words[hidden_text[written]]).float()
        text_loss = F.cross_entropy(text_logits, canvas.text[hidden_text], reduction="sum")
        thing_shares = hidden_things.float()
        if hidden_things.any():
            head, answers = self.network.things_out, canvas.layout[hidden_things]
            others = at(together(known, canvas.loop), hidden_things)
            asked = head.asked(things[hidden_things], beside(known, canvas.loop)[hidden_things], others)
            nats, misguess = head.cross_entropy(asked, answers), head.misguess(asked, answers)
            weight = told.sum((1, 2)) / hidden_things.sum((1, 2)).clamp_min(1)
            thing_shares = weight[:, None, None].expand_as(told)[hidden_things]
            thing_loss = (nats * thing_shares).sum()
            guess_loss = (misguess * thing_shares).sum()
        # Divided by what the batch holds, not by what is hidden, so that a share of a batch on each of several machines
        # gives the gradient of the whole.
        weighted = self.masking.text_weight * text_loss + self.masking.layout_weight * (thing_loss + guess_loss)
        loss = (grid_loss + weighted) / (batch.grid.numel() + self.masking.layout_weight * told.sum())
        return loss, {
            "code_loss": grid_loss.detach() / shares.sum().clamp_min(1),
            "word_loss": text_loss.detach() / hidden_text.sum().clamp_min(1),
            "thing_loss": thing_loss.detach() / thing_shares.sum().clamp_min(1),
        }

    def cost_of_codes(
        self, cells: Float[Tensor, "places head_width"], codes: Int[Tensor, " places"], shares: Float[Tensor, " places"]
    ) -> Float[Tensor, ""]:
        """The sum of shares * nats: of the code, or of its first digit and of the rest, given that."""
        radix, *rest = self.network.config.answers

        def cost(cells: Tensor, codes: Tensor, shares: Tensor, *head: Tensor) -> Tensor:
            nats = F.cross_entropy(code_logits(cells, head).float(), codes % radix, reduction="none")
            if rest:
                logits = code_logits(cells, head, codes % radix).float()
                nats = nats + F.cross_entropy(logits, codes // radix, reduction="none")
            return shares @ nats

        return summed(cost, (cells, codes, shares), self.network.code_head())

    def adamw_parameters(self) -> list[Tensor]:
        return self.network.adamw_parameters()


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """steps: network evaluations for a grid of which nothing is known; by layers, one of which whole layers are known
    takes the share of those that are to be filled. guidance: 1 is none, above it the text counts for more than it did
    in training (Ho and Salimans 2022). guided: the interval of progress in which guidance applies. order: of layers,
    one layer of time after another, away from what is known; halton and random take cells of all layers; confidence
    asks the network each time. temperature: 1 samples, 0 takes the likeliest.
    revision: the share of its own codes that the sampler takes back before each step, to choose them again now that
    more is known, where layers follow one another of the layer at hand; the number of steps stays the same. exponent:
    of the share of places filled at a progress in [0, 1], progress^exponent. 2 is nearly the cosine schedule; above it
    the first steps, which say where an object is and choose their codes without knowing of each other, choose fewer.
    By layers that is so of one that has nothing to go by; the others are filled in even shares. first: by layers, for
    how many layers' steps one counts that has nothing to go by. layout_temperature: of the layout's digits, likewise.
    """

    steps: int = 24
    guidance: float = 2.0
    guided: tuple[float, float] = (0.0, 1.0)
    temperature: float = 1.0
    order: Order = "layers"
    revision: float = 0.0
    exponent: float = 3.0
    first: float = 3.0
    layout_temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"sampling takes at least 1 step, found {self.steps}")
        if not 0 <= self.layout_temperature <= 10:
            raise ValueError(f"layout_temperature lies in [0, 10], found {self.layout_temperature}")
        if not 0 <= self.temperature <= 10 or not 0 <= self.guidance <= 100:
            raise ValueError(
                f"temperature lies in [0, 10] and guidance in [0, 100], found {self.temperature} and {self.guidance}"
            )
        if not 0 <= self.revision <= 1:
            raise ValueError(f"revision, a share of the codes, lies in [0, 1], found {self.revision}")
        if not 1 <= self.exponent <= 10:
            raise ValueError(f"exponent, of the sampler's schedule, lies in [1, 10], found {self.exponent}")
        if not 1 <= self.first <= 100:
            raise ValueError(f"first, in layers' steps, lies in [1, 100], found {self.first}")
        if self.order not in ("layers", "halton", "random", "confidence"):
            raise ValueError(f"unknown order {self.order!r}: choose layers, halton, random or confidence")


class Step(NamedTuple):
    """What a sampler yields: the canvas so far, and how many steps of how many are done."""

    canvas: Canvas
    done: int
    total: int


class _Asked:
    """What a network is asked about one canvas, step by step, and what holds for all steps."""

    def __init__(self, network: Transformer, canvas: Canvas, config: SamplingConfig) -> None:
        self.network, self.config = network, config
        tellings = [canvas] if config.guidance == 1 else [canvas, canvas.untold()]
        told = (torch.cat(parts) for parts in zip(*(telling.masked for telling in tellings), strict=True))
        self.texts, _, self.layouts = told
        self.painted = network.painted(self.texts, self.layouts, *canvas.grid.shape[2:], loop=canvas.loop)
        self.memory = Memory(canvas.grid.shape[1]) if _is_continued(canvas, config) else None

    def choose(
        self, canvas: Canvas, places: Bool[Tensor, "1 time rows columns"], progress: float, noise: torch.Generator
    ) -> tuple[Int[Tensor, " places"], Float[Tensor, " places"]]:
        """(codes, the logarithm of how likely each was, whatever the temperature). Logits are guided: the unconditional
        ones, and `guidance` times the way from them to the conditional ones. Layers after the last of which something
        is known or asked for are left out: nothing is learned from them. So are those that are remembered."""
        guided = self.config.guided[0] <= progress <= self.config.guided[1]
        told = len(self.texts) if guided or self.memory else 1
        texts, layouts = self.texts[:told], self.layouts[:told]
        begun = canvas.loop | (canvas.grid_known | places).any((2, 3))[0]
        now = slice(self.memory.layers if self.memory else 0, int(begun.nonzero().max()) + 1)
        grid, asked = (of[:, now].expand(told, -1, -1, -1) for of in (canvas.masked[1], places))
        painted = self.painted.part(told, now)
        if self.memory:
            cells = self.network.next_cells(texts, grid, layouts, painted, self.memory, asked)
        else:
            layouts = layouts[:, now]
            cells = self.network(texts, grid, layouts, loop=canvas.loop, painted=painted, asked=asked).cells
        chosen, likelihood, unit = cells.new_zeros(len(cells) // told, dtype=torch.int64), cells.new_zeros(()), 1
        for question, answers in enumerate(self.network.config.answers):
            first = chosen.repeat(told) if question else None
            conditional, *free = self.network.grid_logits(cells, first).float().chunk(told)
            logits = free[0] + self.config.guidance * (conditional - free[0]) if free and guided else conditional
            answer = sample(logits, noise, self.config.temperature)
            likelihood = likelihood + logits.log_softmax(-1).gather(-1, answer[:, None])[:, 0]
            chosen, unit = chosen + unit * answer, unit * answers
        return chosen, likelihood


@torch.inference_mode()
def fill_grid(network: Transformer, canvas: Canvas, seed: int, config: SamplingConfig) -> Iterator[Step]:
    """Fill the unknown cells of one canvas (a batch of one), yielding after every step. Before the first, what is
    unknown of the layout is written.

    Canvases are filled one at a time, so that the same seed gives the same codes whatever else is being made: the
    rounding of a matrix product depends on how many rows it has.
    """
    assert len(canvas.grid) == 1, "one canvas at a time"
    rng, noise = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    canvas = with_layout(network, canvas, noise, config.layout_temperature)
    ranks, targets = _order_of_filling(network, canvas, rng, config)
    unknown, own = int((~canvas.grid_known).sum()), ~canvas.grid_known
    likelihood = torch.zeros(canvas.grid.shape, device=canvas.grid.device)
    asked = _Asked(network, canvas, config)
    for done, (before, after) in enumerate(zip([0, *targets[:-1]], targets, strict=True), start=1):
        progress = before / unknown
        revisable = canvas.grid_known & own
        if asked.memory:  # a layer is done once it is full
            revisable &= ~canvas.grid_known.all((2, 3), keepdim=True)
        if back := int(config.revision * int(revisable.sum())):
            canvas = canvas.without_grid(_least_likely(likelihood, revisable, back, noise))
        if config.order == "confidence":
            places, codes, likely = _most_confident(asked, canvas, after - before + back, progress, noise)
        else:
            places = _next_places(ranks, canvas.grid_known, after - before + back)
            codes, likely = asked.choose(canvas, places, progress, noise)
        likelihood[places] = likely
        canvas = canvas.with_grid(places, codes + network.config.vocabulary.text_end)
        yield Step(canvas, done, len(targets))


@torch.inference_mode()
def fill_text(network: Transformer, canvas: Canvas, seed: int, *, temperature: float = 0.0) -> Iterator[Step]:
    """Write the unknown words of one canvas from left to right until the text ends, yielding after every word. Before
    the first, what is unknown of the layout is written."""
    assert len(canvas.text) == 1, "one canvas at a time"
    noise, length = torch.Generator().manual_seed(seed), canvas.text.shape[1]
    canvas = with_layout(network, canvas, noise, temperature)
    while not canvas.text_known.all():
        place = int((~canvas.text_known[0]).nonzero()[0])
        here = torch.arange(length, device=canvas.text.device)[None] == place
        words = network(*canvas.masked, loop=canvas.loop).words
        features = network.told_words(words, canvas.masked[2], loop=canvas.loop)[here]
        word = sample(network.text_logits(features).float(), noise, temperature)
        canvas = canvas.with_text(here, word)
        if int(word) == Vocabulary.END:
            rest = ~canvas.text_known
            canvas = canvas.with_text(rest, canvas.text.new_full((int(rest.sum()),), Vocabulary.PAD))
        yield Step(canvas, place + 1, length)


def _is_continued(canvas: Canvas, config: SamplingConfig) -> bool:
    """Whether each layer is filled once all before it are, and none of it is known before that."""
    begun, whole = canvas.grid_known.any((2, 3))[0], canvas.grid_known.all((2, 3))[0]
    first_ones = bool((begun == whole).all() and (whole[1:] <= whole[:-1]).all())
    return config.order == "layers" and not canvas.loop and first_ones


def _order_of_filling(
    network: Transformer, canvas: Canvas, rng: np.random.Generator, config: SamplingConfig
) -> tuple[Int[Tensor, "1 time rows columns"], list[int]]:
    """(which cells come first, how many are filled after each step)."""
    shape = GridShape(time=canvas.grid.shape[1], rows=canvas.grid.shape[2], columns=canvas.grid.shape[3])
    if config.order != "layers":
        ranks = random_ranks(shape, rng) if config.order == "random" else halton_ranks(shape, rng)
        return torch.from_numpy(ranks)[None], _targets(int((~canvas.grid_known).sum()), config.steps, config.exponent)
    anchors = canvas.grid_known.any((2, 3))[0].cpu().numpy()
    layers = outwards(anchors, loop=canvas.loop)
    begun = bool(canvas.grid_known.all(3).all(2).any())  # far from the known part of a layer there is nothing to go by
    by_squares = layers[0 if begun else 1 :] if network.config.squares else ()
    counts = (~canvas.grid_known).sum((2, 3))[0, layers].tolist()
    ranks = layer_ranks(shape, rng, layers, by_squares)
    return torch.from_numpy(ranks)[None], _targets_by_layer(counts, begun, config)


def _targets(unknown: int, steps: int, exponent: float) -> list[int]:
    """How many places are filled after each step: by the schedule, at least one more each time."""
    targets: list[int] = []
    for step in range(1, steps + 1):
        before = targets[-1] if targets else 0
        if before < unknown:
            planned = unknown if step == steps else int((step / steps) ** exponent * unknown)
            targets.append(min(unknown, max(before + 1, planned)))
    return targets


def _targets_by_layer(counts: Sequence[int], begun: bool, config: SamplingConfig) -> list[int]:
    """Likewise, layer after layer, of `counts` unknown places each. begun: there is something to go by from the start.
    All have the same share of the steps, and the first, if it has nothing to go by, a larger one: a layer takes as many
    after something known as it takes in a clip made of nothing. One for which there is no step is filled together with
    the next."""
    weights = [float(count > 0) for count in counts]
    if not begun:
        weights[0] = config.first
    steps = max(1, round(config.steps * sum(weights) / (config.first + len(weights) - 1)))
    ends = (np.cumsum(weights) / sum(weights) * steps + 1e-9).astype(int).tolist()
    targets, filled, waiting, last = [], 0, 0, 0
    for number, (count, end) in enumerate(zip(counts, ends, strict=True)):
        waiting += count
        if end > last:
            exponent = 1.0 if number or begun else config.exponent
            targets += [filled + target for target in _targets(waiting, end - last, exponent)]
            filled, waiting, last = filled + waiting, 0, end
    return targets


def _next_places(
    ranks: Int[Tensor, "1 time rows columns"], known: Bool[Tensor, "1 time rows columns"], count: int
) -> Bool[Tensor, "1 time rows columns"]:
    """The `count` unknown places that come first."""
    waiting = ranks.to(known.device).masked_fill(known, ranks.numel())
    return waiting <= waiting.flatten().kthvalue(count).values


def _least_likely(
    likelihood: Float[Tensor, "1 time rows columns"],
    places: Bool[Tensor, "1 time rows columns"],
    count: int,
    noise: torch.Generator,
) -> Bool[Tensor, "1 time rows columns"]:
    """`count` of `places`, drawn without replacement, each by the odds of one over the likelihood (given here as its
    logarithm) that its code had when it was chosen.

    Remasking by the confidence at the time of choosing (Wang et al. 2025, ReMDM-conf), which needs no further run of
    the network: what it says of places that it can see was never trained. They draw by the softmax of minus the
    probability, from odds of e to 1 at most; here an unlikely code is as many times likelier to go as it was unlikely.
    Gumbel-top-k (Kool et al. 2019) draws an exact number. Before a step, which then fills as many places more: theirs
    needs a cap where little is left to fill, for it masks after a step. Every step ends with the codes that it would
    have without revision.
    """
    uniform = torch.rand(likelihood.shape, generator=noise, dtype=torch.float64).to(likelihood.device)
    draw = (-likelihood.double() - torch.log(-torch.log(uniform))).masked_fill(~places, float("-inf"))
    taken = torch.zeros_like(places)
    taken.view(-1)[draw.flatten().topk(count).indices] = True
    return taken


def _most_confident(
    asked: _Asked, canvas: Canvas, count: int, progress: float, noise: torch.Generator
) -> tuple[Bool[Tensor, "1 time rows columns"], Int[Tensor, " count"], Float[Tensor, " count"]]:
    """Sample every unknown place and keep the `count` likeliest, with noise that fades as the grid fills (MaskGIT)."""
    unknown = ~canvas.grid_known
    codes, likelihood = asked.choose(canvas, unknown, progress, noise)
    uniform = torch.rand(likelihood.shape, generator=noise, dtype=torch.float64).to(likelihood.device)
    chosen = (likelihood - 4.5 * (1 - progress) * torch.log(-torch.log(uniform))).topk(count).indices
    places = torch.zeros_like(unknown)
    places[tuple(unknown.nonzero()[chosen].T)] = True
    kept = chosen.sort().values
    return places, codes[kept], likelihood[kept]
