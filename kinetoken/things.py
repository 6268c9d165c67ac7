"""Things: the transformer's modules that tell and write a layout (layout.py), and tell words and things of each
other."""

from math import pi
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kinetoken.layout import (
    ANGLE,
    ANGLES,
    EIGHTHS,
    GUESSES,
    HIDDEN,
    QUARTERS,
    SIZE,
    WAY_ANGLE,
    WAY_X,
    Foretold,
    X,
    Y,
    beside,
    centres,
    digits,
    going_on,
    ways,
)
from kinetoken.vocabulary import Vocabulary

PLACE_WAVES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # cells
FINE_WAVES: Final = tuple(2.0 ** (k / 2) for k in range(-4, 14))  # cells: the shortest tell neighbours apart
LOOKS_WIDTH: Final = 32  # of a digit's vector
DIGIT_WIDTH: Final = 96
TELLING_WIDTH: Final = 128
NUMBERS: Final = -X  # of a thing's digits, the last ones
NEAR: Final = (-2, -1, 1, 2)  # layers
AGAINST: Final = 2  # guesses from either side from which a number's steps are told: that it stands, that it moves on


def waves(values: Float[Tensor, "*shape"], lengths: tuple[float, ...]) -> Float[Tensor, "*shape features"]:
    """Sine and cosine of every wave length (Tancik et al. 2020, Fourier features): near numbers look alike, and a
    step is a turn, wherever it is taken from."""
    angles = values[..., None] * (2 * pi / torch.tensor(lengths, device=values.device, dtype=values.dtype))
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


class Things(nn.Module):
    """What the digits of things say, as features. What is HIDDEN is read as zeros."""

    def __init__(self, looks: tuple[int, ...]) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(radix, LOOKS_WIDTH) for radix in looks)

    @property
    def width(self) -> int:
        return LOOKS_WIDTH * len(self.tables) + 3 * 2 * len(PLACE_WAVES) + 2 * 2 + QUARTERS

    def forward(self, things: Int[Tensor, "*things digits"]) -> Float[Tensor, "*things features"]:
        """Looks, size and angle, how they moved and turned since half-way, and when they are to be seen; places are the
        reader's own affair."""
        looks = things[..., 1:X].clamp_min(0).unbind(-1)
        vectors = [table(digit) for table, digit in zip(self.tables, looks, strict=True)]
        angle, turned = (things[..., [ANGLE, WAY_ANGLE]].float() * (2 * pi / ANGLES))[..., None].unbind(-2)
        seen = (things[..., :1] - 1).clamp_min(0) >> torch.arange(QUARTERS, device=things.device) & 1
        numbers = (
            *(waves(things[..., SIZE].float() / EIGHTHS, PLACE_WAVES), angle.sin(), angle.cos()),
            *(waves(ways(things), PLACE_WAVES).flatten(-2), turned.sin(), turned.cos(), seen.float()),
        )
        return torch.cat((*vectors, *numbers), dim=-1)


class ThingsIn(nn.Module):
    """Each thing of each layer as one position of the transformer. It is told of itself in the two layers before and
    after: what it will be is mostly what it was, and attention takes long to find that out (docs/journal.md)."""

    def __init__(self, looks: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.things = Things(looks)
        self.enter = nn.Linear(self.things.width + 4 * len(PLACE_WAVES), width)
        self.leave = nn.Linear(width, width)
        self.absent, self.hidden = nn.Parameter(torch.randn(width)), nn.Parameter(torch.randn(width))
        self.near = nn.Linear(len(NEAR) * width, width)
        nn.init.zeros_(self.near.weight)
        nn.init.zeros_(self.near.bias)

    def forward(
        self, things: Int[Tensor, "batch time things digits"], loop: bool = False
    ) -> Float[Tensor, "batch time things width"]:
        """loop: the last layer precedes the first."""
        features = torch.cat((self.things(things), waves(centres(things), PLACE_WAVES).flatten(-2)), dim=-1)
        told, there = self.leave(F.silu(self.enter(features))), things[..., :1]
        here = torch.where(there > 0, told, torch.where(there == 0, self.absent, self.hidden))
        time, around = here.shape[1], F.pad(here, (0, 0, 0, 0, NEAR[-1], NEAR[-1]))
        near = [here.roll(-k, dims=1) if loop else around[:, NEAR[-1] + k :][:, :time] for k in NEAR]
        return here + self.near(torch.cat(near, dim=-1))


class Gist(nn.Module):
    """What a text says, whoever is meant: the mean over its words of what they say by threes. Every thing is told, on
    its way into the transformer and on its way out.

    Which of two things moves left is for attention to find out. That somebody does, attention had not found after
    thousands of steps, so rarely is a thing's next place in question (docs/journal.md).
    """

    def __init__(self, word_width: int, width: int) -> None:
        super().__init__()
        self.by_threes = nn.Conv1d(word_width, width, kernel_size=3, padding=1)

    def forward(
        self, text: Int[Tensor, "batch words"], words: Float[Tensor, "batch words word_width"]
    ) -> Float[Tensor, "batch width"]:
        if not text.shape[1]:
            return words.new_zeros(len(text), self.by_threes.out_channels)
        said = (text != Vocabulary.PAD)[..., None]
        features = F.silu(self.by_threes((words * said).mT)).mT * said
        return features.sum(1) / said.sum(1).clamp_min(1)


class ThingsInWords(nn.Module):
    """What every word is told of the things: of each, the mean over time of what it is and how it changes. Whoever is
    to say how something moves need not look for it."""

    def __init__(self, looks: tuple[int, ...], slots: int, width: int) -> None:
        super().__init__()
        self.things = Things(looks)
        features = self.things.width + 2 * 2 * len(PLACE_WAVES) + CHANGES
        self.enter, self.leave = nn.Linear(features, TELLING_WIDTH), nn.Linear(slots * (TELLING_WIDTH + 2), width)

    def forward(
        self, things: Int[Tensor, "batch time things digits"], loop: bool = False
    ) -> Float[Tensor, "batch width"]:
        """loop: the last layer precedes the first."""
        before = beside(things, loop)[:, :, :, 0, 0]
        where = waves(centres(things), PLACE_WAVES).flatten(-2)
        told = F.silu(self.enter(torch.cat((self.things(things), where, changes(things, before)), dim=-1)))
        there, hidden = things[..., :1] > 0, things[..., :1] == HIDDEN
        mean = (told * there).sum(1) / there.sum(1).clamp_min(1)
        shares = torch.cat((there, hidden), dim=-1).float().mean(1)
        return self.leave(torch.cat((mean, shares), dim=-1).flatten(1))


CHANGES: Final = 2 + 3 * 2 * len(PLACE_WAVES) + 2


def changes(
    things: Int[Tensor, "*things digits"], before: Int[Tensor, "*things digits"]
) -> Float[Tensor, "*things features"]:
    """Whether a thing was there in the layer before, whether it was not, and how it has moved, grown and turned."""
    there = before[..., :1] > 0
    moved, turned = (things - before)[..., X:WAY_X].float().tensor_split((3,), dim=-1)
    angle = turned * (2 * pi / ANGLES)
    numbers = torch.cat((waves(moved / EIGHTHS, PLACE_WAVES).flatten(-2), angle.sin(), angle.cos()), dim=-1)
    return torch.cat((there, before[..., :1] == 0, numbers * there), dim=-1)


class ThingsOut(nn.Module):
    """The digits of a thing, one after another: each knows those before it, and how far these lie from what they were
    (as the depth transformer of RQ-Transformer, Lee et al. 2022, has it; here a sum). Numbers are told by their waves:
    what is learned of one place holds for all. A thing goes on as it did, mostly: it is told what it would be if it
    stood, moved, bent off, turned or fell, and may trust that.
    """

    def __init__(self, looks: tuple[int, ...], slots: int, width: int) -> None:
        super().__init__()
        self.radices = digits(looks)
        for place, radix in enumerate(self.radices):
            answers = _answers(radix, place - len(self.radices))
            self.register_buffer(f"answers_{place}", answers, persistent=False)
        for number in range(-NUMBERS, 0):
            radix = self.radices[number]
            steps = _answers(2 * radix - 1, number, start=1 - radix)
            self.register_buffer(f"steps_{number + NUMBERS}", steps, persistent=False)
        self.told = told = [self._answers(place).shape[1] for place in range(len(self.radices))]
        self.enter = nn.Linear(width, len(told) * DIGIT_WIDTH)
        self.before = nn.ModuleList(nn.Linear(size, DIGIT_WIDTH) for size in told)
        self.between = nn.ModuleList(nn.Linear(DIGIT_WIDTH, DIGIT_WIDTH) for _ in told)
        self.out = nn.ModuleList(nn.Linear(DIGIT_WIDTH, size) for size in told)
        self.foretold = nn.ModuleList(nn.Linear(2 * GUESSES * size, DIGIT_WIDTH, bias=False) for size in told)
        self.trust = nn.ModuleList(nn.Linear(DIGIT_WIDTH, 2 * GUESSES) for _ in told)
        self.straight = nn.Linear(width, sum(told), bias=False)
        self.moved = nn.ModuleList(nn.Linear(DIGIT_WIDTH, 2 * AGAINST * size) for size in told[-NUMBERS:])
        self.stepped = nn.ModuleList(nn.Linear(2 * size, DIGIT_WIDTH, bias=False) for size in told[-NUMBERS:])
        self.apart = nn.ModuleList(Apart(told[X], told[SIZE], slots) for _ in (X, Y))
        for layer in (self.straight, *self.foretold, *self.trust, *self.moved, *self.stepped):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def _answers(self, place: int) -> Float[Tensor, "radix features"]:
        answers: Tensor = getattr(self, f"answers_{place}")
        return answers

    def _steps(self, number: int) -> Float[Tensor, "steps features"]:
        steps: Tensor = getattr(self, f"steps_{number}")
        return steps

    def logits(
        self,
        words: Float[Tensor, "things width"],
        ahead: Foretold,
        others: Int[Tensor, "things all_things digits"],
        things: Int[Tensor, "things digits"],
        place: int,
    ) -> Float[Tensor, "things radix"]:
        """Of the digit at a place, given those before it; what `things` has from that place on is not read. ahead:
        what they would be, by the layers around (`going_on`). others: what is told of their own layers (`together`)."""
        guesses, told = (part.unflatten(1, (2, -1)) for part in ahead)
        foretold = (self._answers(place)[guesses[..., place]] * told[..., place, None]).flatten(1, 2)
        weight, bias = (part.unflatten(0, (-1, DIGIT_WIDTH))[place] for part in (self.enter.weight, self.enter.bias))
        straight = F.linear(words, self.straight.weight.split(self.told)[place])
        feature = F.linear(words, weight, bias) + self.foretold[place](foretold.flatten(1))
        for earlier in range(place):
            feature = feature + self.before[earlier](self._answers(earlier)[things[:, earlier]])
            if (number := earlier - len(self.radices) + NUMBERS) >= 0:
                step = things[:, None, earlier] - guesses[:, :, 0, earlier] + self.radices[earlier] - 1
                steps = self._steps(number)[step] * told[:, :, 0, earlier, None]
                feature = feature + self.stepped[number](steps.flatten(1))
        feature = F.silu(self.between[place](F.silu(feature)))
        trusted = (self.trust[place](feature)[..., None] * foretold).sum(1)
        logits = F.linear(self.out[place](feature) + straight + trusted, self._answers(place))
        number = place - len(self.radices) + NUMBERS
        if number < 0:
            return logits
        steps = self.moved[number](feature).unflatten(1, (2 * AGAINST, -1))
        against, known = (part[:, :, :AGAINST, place].flatten(1) for part in (guesses, told))
        logits = logits + self._by_step(steps, against, known, place)
        if number >= len(self.apart):
            return logits
        told, others = others[..., 0] > 0, others.clamp_min(0)
        across = self._steps(0)[things[:, None, X] - others[..., X] + self.radices[X] - 1] if number else None
        steps = self.apart[number](feature, self._answers(len(self.radices) + SIZE)[others[..., SIZE]], across)
        return logits + self._by_step(steps, others[..., place], told, place)

    def _by_step(
        self,
        features: Float[Tensor, "things guesses features"],
        against: Int[Tensor, "things guesses"],
        told: Bool[Tensor, "things guesses"],
        place: int,
    ) -> Float[Tensor, "things radix"]:
        """Logits by how far a number lies from others: from what it is in the layers before and after, and from what it
        would be if it went on at the same pace, for "to the right" is the same step from everywhere, and so is what
        gravity adds; or from where other things are."""
        radix = self.radices[place]
        values = torch.arange(radix, device=features.device) - against[..., None] + radix - 1
        steps = self._steps(place - len(self.radices) + NUMBERS)
        return (F.linear(features, steps).gather(2, values) * told[..., None]).sum(1)

    def cross_entropy(
        self,
        words: Float[Tensor, "things width"],
        near: Int[Tensor, "things sides reach digits"],
        others: Int[Tensor, "things all_things digits"],
        things: Int[Tensor, "things digits"],
    ) -> Float[Tensor, " things"]:
        """Nats of each thing: if it is there of all its digits, else of that it is not. near: of the same things in the
        layers around (`beside`)."""
        there, ahead = things[:, 0] > 0, going_on(near, self.radices)
        nats = F.cross_entropy(self.logits(words, ahead, others, things, 0).float(), things[:, 0], reduction="none")
        ahead = Foretold(*(part[there] for part in ahead))
        of_digits = [
            F.cross_entropy(
                self.logits(words[there], ahead, others[there], things[there], place).float(),
                things[there, place],
                reduction="none",
            )
            for place in range(1, len(self.radices))
        ]
        return nats.index_add(0, there.nonzero()[:, 0], torch.stack(of_digits).sum(0))


class Apart(nn.Module):
    """How a thing lies to the others of its layer, in x or, when x is known, in y: things keep apart, or one chases the
    other. It starts at zero."""

    def __init__(self, step_width: int, size_width: int, slots: int) -> None:
        super().__init__()
        self.enter, self.which = nn.Linear(DIGIT_WIDTH, DIGIT_WIDTH), nn.Embedding(slots, DIGIT_WIDTH)
        self.size, self.across = (nn.Linear(width, DIGIT_WIDTH, bias=False) for width in (size_width, step_width))
        self.leave = nn.Linear(DIGIT_WIDTH, step_width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        features: Float[Tensor, "things width"],
        sizes: Float[Tensor, "things others size_width"],
        across: Float[Tensor, "things others step_width"] | None,
    ) -> Float[Tensor, "things others step_width"]:
        """sizes: of the others; across: how far right of them each thing is."""
        known = self.enter(features)[:, None] + self.size(sizes) + self.which.weight
        return self.leave(F.silu(known if across is None else known + self.across(across)))


def _answers(radix: int, place_from_end: int, start: int = 0) -> Float[Tensor, "radix features"]:
    """What stands for each value of a digit, from `start` on: itself for looks, waves for numbers."""
    values = torch.arange(start, start + radix).float()
    if place_from_end in (ANGLE, WAY_ANGLE):
        return waves(values / ANGLES, (1.0, 1 / 2, 1 / 3, 1 / 4))
    if place_from_end >= X:
        return torch.cat((waves(values / EIGHTHS, FINE_WAVES), values[:, None] / radix), dim=1)
    return torch.eye(radix)
