"""Things: the transformer's modules that tell and write a layout (layout.py), and tell words and things of each
other."""

from functools import lru_cache
from math import pi
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kinetoken.layout import (
    ANGLE,
    ANGLES,
    EIGHTHS,
    GUESSES,
    HALVES,
    HIDDEN,
    QUARTERS,
    SIZE,
    WAY,
    WAY_ANGLE,
    WAY_X,
    WAY_Y,
    Foretold,
    Others,
    X,
    Y,
    agreement,
    at,
    beside,
    centres,
    digits,
    going_on,
    halfway,
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
    frequencies, phases = _frequencies(lengths, values.device, values.dtype)
    return (values[..., None] * frequencies).add_(phases).sin_()


@lru_cache
@torch.inference_mode(False)  # kept: what a sampler has asked for, training may ask for again
def _frequencies(lengths: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Float[Tensor, "2 features"]:
    """And phases, for a cosine is a sine a quarter of a turn ahead: so nothing need be laid side by side."""
    waves = 2 * pi / torch.tensor(lengths, device=device, dtype=dtype)
    return torch.stack(
        (waves.repeat(2), torch.tensor((0, pi / 2), device=device, dtype=dtype).repeat_interleave(len(waves)))
    )


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
        told = F.silu(self.enter(courses(self.things, things, loop)))
        return self.leave(over_time(told, things).flatten(1))


CHANGES: Final = 2 + 3 * 2 * len(PLACE_WAVES) + 2


def courses(
    tell: Things, things: Int[Tensor, "batch time things digits"], loop: bool = False
) -> Float[Tensor, "batch time things features"]:
    """What things are in each layer, where, and how they have come there. loop: the last layer precedes the first."""
    where = waves(centres(things), PLACE_WAVES).flatten(-2)
    return torch.cat((tell(things), where, changes(things, beside(things, loop)[:, :, :, 0, 0])), dim=-1)


def over_time(
    told: Float[Tensor, "batch time things width"], things: Int[Tensor, "batch time things digits"]
) -> Float[Tensor, "batch things features"]:
    """The mean over the layers in which a thing is there; and of how many it is, and of how many nobody has said."""
    there, hidden = things[..., :1] > 0, things[..., :1] == HIDDEN
    mean = (told * there).sum(1) / there.sum(1).clamp_min(1)
    return torch.cat((mean, there.float().mean(1), hidden.float().mean(1)), dim=-1)


def changes(
    things: Int[Tensor, "*things digits"], before: Int[Tensor, "*things digits"]
) -> Float[Tensor, "*things features"]:
    """Whether a thing was there in the layer before, whether it was not, and how it has moved, grown and turned."""
    there = before[..., :1] > 0
    moved, turned = (things - before)[..., X:WAY_X].float().tensor_split((3,), dim=-1)
    angle = turned * (2 * pi / ANGLES)
    numbers = torch.cat((waves(moved / EIGHTHS, PLACE_WAVES).flatten(-2), angle.sin(), angle.cos()), dim=-1)
    return torch.cat((there, before[..., :1] == 0, numbers * there), dim=-1)


class Asked(NamedTuple):
    """Things that are to be written, and what is known of each before any digit is: what the network has to say of each
    digit, to be thought about and straight to its answers; what they would be by the layers around (`going_on`); what
    is told of their own layers (`together`); and each of MOVING as it is learned to come, in eighths, and as an answer
    would be told."""

    said: Float[Tensor, "things digits digit_width"]
    straight: Float[Tensor, "things features"]
    ahead: Foretold
    others: Others
    moves: Float[Tensor, "things numbers"]
    coming: Float[Tensor, "things numbers answer_features"]

    def those(self, which: Any) -> "Asked":
        """Some of them."""
        told = at(self.ahead, which), at(self.others, which)
        return Asked(self.said[which], self.straight[which], *told, self.moves[which], self.coming[which])


class ThingsOut(nn.Module):
    """The digits of a thing, one after another: each knows those before it, and how far these lie from what they were
    (as the depth transformer of RQ-Transformer, Lee et al. 2022, has it; here a sum). Numbers are told by their waves:
    what is learned of one place holds for all. A thing goes on as it did, mostly: it is told what it would be if it
    stood, moved, bent off, turned or fell, and may trust that; a guess that was right about the numbers before may be
    relied on for the next. Or what can go round either way has its x from one and its y from the other.
    """

    def __init__(self, looks: tuple[int, ...], slots: int, width: int) -> None:
        super().__init__()
        self.radices = digits(looks)
        for place, radix in enumerate(self.radices):
            own = answers(radix, place - len(self.radices))
            self.register_buffer(f"answers_{place}", own, persistent=False)
        for number in range(-NUMBERS, 0):
            radix = self.radices[number]
            steps = answers(2 * radix - 1, number, start=1 - radix)
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
        self.bent = nn.ModuleList(nn.Linear(DIGIT_WIDTH, len(HALVES)) for _ in (WAY_X, WAY_Y))
        self.moving = Moving(width)
        self.learned = nn.ModuleList(nn.Linear(told[digit], DIGIT_WIDTH, bias=False) for digit in MOVING)
        self.believed = nn.ModuleList(nn.Linear(DIGIT_WIDTH, len(FINE_WAVES)) for _ in MOVING)
        self.right = nn.ModuleList(nn.Linear(2 * GUESSES + len(HALVES), DIGIT_WIDTH, bias=False) for _ in PROVED)
        self.relied = nn.ModuleList(nn.Linear(DIGIT_WIDTH, 2 * GUESSES + len(HALVES)) for _ in PROVED)
        guesses = (*self.foretold, *self.trust, *self.bent, *self.learned, *self.believed, *self.right, *self.relied)
        for layer in (self.straight, *self.moved, *self.stepped, *guesses):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def _answers(self, place: int) -> Float[Tensor, "radix features"]:
        answers: Tensor = getattr(self, f"answers_{place}")
        return answers

    def _steps(self, number: int) -> Float[Tensor, "steps features"]:
        steps: Tensor = getattr(self, f"steps_{number}")
        return steps

    def asked(
        self, words: Float[Tensor, "things width"], near: Int[Tensor, "things sides reach digits"], others: Others
    ) -> Asked:
        """near: of the same things in the layers around (`beside`)."""
        ahead, said = going_on(near, self.radices), self.enter(words).unflatten(1, (-1, DIGIT_WIDTH))
        moves = self.moving(words, ahead.near)
        radices = moves.new_tensor([self.radices[digit] for digit in MOVING])
        coming = torch.cat((waves(moves / EIGHTHS, FINE_WAVES), (moves / radices)[..., None]), dim=-1)
        was_there = ahead.near[:, 0, 0, :1, None] > 0  # in the layer before: else nothing is learned to come of it
        return Asked(said, self.straight(words), ahead, others, moves, coming * was_there)

    def logits(
        self,
        asked: Asked,
        things: Int[Tensor, "things digits"],
        place: int,
        heard: Float[Tensor, "things digit_width"] | float,
    ) -> Float[Tensor, "things radix"]:
        """Of the digit at a place, given those before it; what `things` has from that place on is not read. heard: the
        sum of what is `heard` of every digit before it; 0 if there is none."""
        digit, ahead = place - len(self.radices), asked.ahead
        guesses, told = ahead.guesses[..., place], ahead.told[..., place]
        foretold = (self._answers(place)[guesses] * told[..., None]).flatten(1, 2)
        feature = asked.said[:, place] + self.foretold[place](foretold.flatten(1)) + heard
        guess = right = None
        if digit in MOVING:
            guess = asked.coming[:, MOVING.index(digit)]
            feature = feature + self.learned[MOVING.index(digit)](guess)
        if digit in (WAY_X, WAY_Y):
            come = halfway(ahead.guesses[:, 0, 0], things)
            ways = self._answers(place)[come[..., digit - WAY_X]] * told[:, 0, :1, None]
            foretold = torch.cat((foretold, ways), dim=1)
        if digit in PROVED:
            right = agreement(ahead, things, digit, come if digit == WAY_Y else None)
            feature = feature + self.right[PROVED.index(digit)](right)
        feature = F.silu(self.between[place](F.silu(feature)))
        trusted = self._trusted(feature, foretold, right, digit)
        if guess is not None:
            belief = self.believed[MOVING.index(digit)](feature)
            trusted = trusted + F.pad(belief.repeat(1, 2), (0, 1)) * guess
        straight = asked.straight.narrow(1, sum(self.told[:place]), self.told[place])
        logits = F.linear(self.out[place](feature) + straight + trusted, self._answers(place))
        number = digit + NUMBERS
        if number < 0:
            return logits
        steps = self.moved[number](feature).unflatten(1, (2 * AGAINST, -1))
        against, known = (part[:, :, :AGAINST].flatten(1) for part in (guesses, told))
        logits = logits + self._by_step(steps, against, known, place)
        if number >= len(self.apart):
            return logits
        near, there = asked.others.things.clamp_min(0), asked.others.things[..., 0] > 0
        across = self._steps(0)[things[:, None, X] - near[..., X] + self.radices[X] - 1] if number else None
        sizes = self._answers(SIZE + len(self.radices))[near[..., SIZE]]
        steps = self.apart[number](feature, sizes, asked.others.now, across)
        return logits + self._by_step(steps, near[..., place], there, place)

    def heard(
        self, ahead: Foretold, things: Int[Tensor, "things digits"], place: int
    ) -> Float[Tensor, "things digit_width"]:
        """What the digit at a place tells all that follow it: what it is, and if it is a number, how far it lies from
        what it was in the layers before and after."""
        said = self.before[place](self._answers(place)[things[:, place]])
        number = place - len(self.radices) + NUMBERS
        if number < 0:
            return said
        guesses, told = ahead.guesses[:, :, 0, place], ahead.told[:, :, 0, place]
        steps = self._steps(number)[things[:, None, place] - guesses + self.radices[place] - 1]
        return said + self.stepped[number]((steps * told[..., None]).flatten(1))

    def _trusted(
        self,
        feature: Float[Tensor, "things width"],
        foretold: Float[Tensor, "things guesses features"],
        right: Float[Tensor, "things all_guesses"] | None,
        digit: int,
    ) -> Float[Tensor, "things features"]:
        """What is foretold of a digit, by how far each guess is trusted; the further, the more it has been right."""
        trust = self.trust[digit + len(self.radices)](feature)
        if digit in (WAY_X, WAY_Y):
            trust = torch.cat((trust, self.bent[digit - WAY_X](feature)), dim=1)
        if right is not None:
            relied = self.relied[PROVED.index(digit)](feature) * right
            trust = trust + relied[:, : trust.shape[1]]  # of y no way is foretold
        return (trust[..., None] * foretold).sum(1)

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
        values = torch.arange(radix - 1, 2 * radix - 1, device=features.device) - against[..., None]
        steps = self._steps(place - len(self.radices) + NUMBERS)
        return (F.linear(features, steps).gather(2, values) * told[..., None]).sum(1)

    def cross_entropy(
        self, asked: Asked, things: Int[Tensor, "things digits"], looks: bool = False
    ) -> Float[Tensor, " things"]:
        """Nats of each thing: if it is there of all its digits, else of that it is not. looks: of no other digits than
        those of its looks."""
        there = things[:, 0] > 0
        nats = F.cross_entropy(self.logits(asked, things, 0, 0.0).float(), things[:, 0], reduction="none")
        asked, things = asked.those(there), things[there]
        of_digits, heard = [], torch.zeros_like(asked.said[:, 0])
        for place in range(1, len(self.radices) - (NUMBERS if looks else 0)):
            heard = heard + self.heard(asked.ahead, things, place - 1)
            logits = self.logits(asked, things, place, heard)
            of_digits.append(F.cross_entropy(logits.float(), things[:, place], reduction="none"))
        return nats.index_add(0, there.nonzero()[:, 0], torch.stack(of_digits).sum(0))

    def misguess(self, asked: Asked, things: Int[Tensor, "things digits"]) -> Float[Tensor, " things"]:
        """How far what `Moving` says is from things, in eighths, as Huber (1964) counts; 0 if they are not there, or
        were not in the layer before. From logits alone, through waves, it would not be learned."""
        both = (things[:, 0] > 0) & (asked.ahead.near[:, 0, 0, 0] > 0)
        truth = things[:, list(MOVING)].float()
        return F.smooth_l1_loss(asked.moves, truth, reduction="none").sum(1) * both


PROVED: Final = (Y, WAY_X, WAY_Y)
MOVING: Final = (X, Y, WAY_X, WAY_Y)
MOVING_WIDTH: Final = 160


class Moving(nn.Module):
    """Where a thing will be, as a plain function of where it was: one guess more, which is learned. When something hits
    the ground and how high it comes back follows from a few numbers, but from no recurrence."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words = nn.Linear(width, MOVING_WIDTH)
        self.numbers = nn.Linear(2 * 2 * 9, MOVING_WIDTH, bias=False)
        self.layers = nn.ModuleList(nn.Linear(MOVING_WIDTH, MOVING_WIDTH) for _ in range(4))
        self.leave = nn.Linear(MOVING_WIDTH, len(MOVING))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self, words: Float[Tensor, "things width"], near: Int[Tensor, "things sides 2 digits"]
    ) -> Float[Tensor, "things numbers"]:
        """Of each of MOVING. They mean nothing for a thing that was not there in the layer before."""
        told, x_y = (near[..., :1] > 0).float(), near[..., X:SIZE].float()
        one = x_y[:, 0, 0]
        turned = near[..., ANGLE, None] * (2 * pi / ANGLES)
        numbers = (x_y / WAY - 2, (x_y - one[:, None, None]) / 16, near[..., SIZE, None] / 16)
        half_way = (near[..., WAY_X:WAY_ANGLE] - WAY) / 16
        seen = torch.cat((*numbers, turned.sin(), turned.cos(), half_way), dim=-1) * told
        x = self.words(words) + self.numbers(seen.flatten(1))
        for layer in self.layers:
            x = x + layer(F.silu(x))
        return torch.cat((one, torch.full_like(one, WAY)), dim=1) + 16 * self.leave(F.silu(x))


class Apart(nn.Module):
    """How a thing lies to the others of its layer, or to where they were before it, in x or, when x is known, in y:
    things keep apart, run into each other, or one chases the other. It starts at zero."""

    def __init__(self, step_width: int, size_width: int, slots: int) -> None:
        super().__init__()
        self.enter, self.which = nn.Linear(DIGIT_WIDTH, DIGIT_WIDTH), nn.Embedding(2 * slots, DIGIT_WIDTH)
        self.size, self.across = (nn.Linear(width, DIGIT_WIDTH, bias=False) for width in (size_width, step_width))
        self.leave = nn.Linear(DIGIT_WIDTH, step_width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        features: Float[Tensor, "things width"],
        sizes: Float[Tensor, "things others size_width"],
        now: Bool[Tensor, "things others"],
        across: Float[Tensor, "things others step_width"] | None,
    ) -> Float[Tensor, "things others step_width"]:
        """sizes: of the others; now: whether they are where they are; across: how far right of them each thing is."""
        before, present = self.which.weight.chunk(2)
        known = self.enter(features)[:, None] + self.size(sizes) + torch.where(now[..., None], present, before)
        return self.leave(F.silu(known if across is None else known + self.across(across)))


def answers(radix: int, place_from_end: int, start: int = 0) -> Float[Tensor, "radix features"]:
    """What stands for each value of a digit, from `start` on: itself for looks, waves for numbers."""
    values = torch.arange(start, start + radix).float()
    if place_from_end in (ANGLE, WAY_ANGLE):
        return waves(values / ANGLES, (1.0, 1 / 2, 1 / 3, 1 / 4))
    if place_from_end >= X:
        return torch.cat((waves(values / EIGHTHS, FINE_WAVES), values[:, None] / radix), dim=1)
    return torch.eye(radix)
