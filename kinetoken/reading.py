"""Reading: how a layout is found in a grid of codes."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kinetoken.code_digits import DigitTable
from kinetoken.glimpses import Glimpses
from kinetoken.grid import GridShape
from kinetoken.layout import (
    EIGHTHS,
    HIDDEN,
    MARGIN,
    PLACES,
    SIZE,
    X,
    beside,
    centres,
    digits,
    order_of_telling,
)
from kinetoken.near import NearBlocks
from kinetoken.norm import RMSNorm
from kinetoken.things import PLACE_WAVES, answers, waves
from kinetoken.tracks import Sight, followed

FINEST, WIDEST = 64, 192  # channels at the grid's own resolution, twice as many at half of it, and so on up to WIDEST
SAYING_WIDTH: Final = 256
BESIDE: Final = 32  # eighths by which a thing's centre may lie off the cell that speaks for it: outside of the grid
STEP: Final = 80  # eighths that a thing may have gone since the layer before
NEAR: Final = 1.0  # cells: whoever lies nearer to a thing's centre may speak for it, too
NEVER: Final = -30.0  # the logarithm of how likely a place is that a cell cannot name
PHASES: Final = 8  # channels by which a lattice of marks is found
LIKELY: Final = 0.5
UNLIKELY: Final = 0.003  # of a cell, that a thing's centre is in it: fewer are not thought of
WEIGHT_OF_WORDS: Final = 0.2  # of what is said of a thing, in nats of all its digits, against that it is there


class Seen(NamedTuple):
    """What a reader makes of a grid: how likely each cell has a thing's centre in it (logits), and what there is to be
    said by cells, and by the whole of a layer."""

    centre: Float[Tensor, "batch time rows columns"]
    cells: Float[Tensor, "batch time rows columns width"]
    whole: Float[Tensor, "batch time width"]


class Read(NamedTuple):
    """What a reader says is there. looks: of each thing the logarithm of how likely each digit of its looks is; none of
    the view, and of those that are not there. glimpses: of layers that are known in part."""

    layout: Int[Tensor, "time things digits"]
    looks: list[list[Float[Tensor, " _"]]]
    glimpses: dict[int, Glimpses]


class Reader(nn.Module):
    """Cells say what is there: the one in which a thing's centre lies says so, and all that a layout says of the thing
    (CenterNet: Zhou et al. 2019, "Objects as points"); and where it was a layer before, by which things are followed
    through time (CenterTrack: Zhou et al. 2020). Of the view, which is everywhere, a whole layer speaks.

    The transformer was to read by attention, thing after thing, and of two things it made one that was a little of both
    (docs/journal.md). That cells are asked, each for itself, is thousands of lessons in every grid instead of a few.
    """

    code_digits: Tensor

    def __init__(
        self, looks: tuple[int, ...], slots: int, halvings: int, code_digits: Int[Tensor, "codes axes"]
    ) -> None:
        """code_digits: for every code, the rows of its digits in a table of all axes' digits."""
        super().__init__()
        self.slots, self.radices = slots, digits(looks)
        widths = [min(FINEST * 2**level, WIDEST) for level in range(halvings + 1)]
        codes, rows = len(code_digits), int(code_digits.max()) + 1 if code_digits.numel() else 0
        self.code_in, self.digit_in = nn.Embedding(codes + 1, FINEST), DigitTable(rows, FINEST)
        self.register_buffer("code_digits", code_digits, persistent=False)
        self.down = nn.ModuleList(NearBlocks(width, 1 + (level > 0)) for level, width in enumerate(widths))
        self.up = nn.ModuleList(NearBlocks(width, 1) for width in widths[:-1])
        self.narrow = nn.ModuleList(nn.Linear(4 * fine, coarse) for fine, coarse in pairwise(widths))
        self.widen = nn.ModuleList(nn.Linear(coarse, 4 * fine) for fine, coarse in pairwise(widths))
        self.norm = RMSNorm(FINEST)
        self.centre = nn.Linear(FINEST, 1)
        self.thing = Saying(FINEST, self.radices, 2)
        self.phase = nn.Linear(FINEST, PHASES)
        self.view = Saying(FINEST + 2 * PHASES * 2 * len(PLACE_WAVES), self.radices, 0)
        nn.init.constant_(self.centre.bias, -4.0)

    def forward(self, codes: Int[Tensor, "batch time rows columns"], loop: bool = False) -> Seen:
        """codes: HIDDEN where nobody knows. loop: the last layer precedes the first."""
        known = codes.masked_fill(codes < 0, len(self.code_digits))
        own, nobody = self.code_in.weight.tensor_split((-1,))
        table = torch.cat((own + self.digit_in(self.code_digits), nobody))
        cells, fine = F.embedding(known, table), []
        for level, blocks in enumerate(self.down):
            if level:
                fine.append(cells)
                cells = rearrange(cells, "b t (r pr) (k pk) c -> b t r k (pr pk c)", pr=2, pk=2)
                cells = self.narrow[level - 1](cells)
            cells = blocks(cells, loop)
        for blocks, widen, finer in reversed(list(zip(self.up, self.widen, fine, strict=True))):
            cells = finer + rearrange(widen(cells), "b t r k (pr pk c) -> b t (r pr) (k pk) c", pr=2, pk=2)
            cells = blocks(cells, loop)
        cells = self.norm(cells)
        return Seen(self.centre(cells)[..., 0], cells, self._whole(cells))

    def _whole(self, cells: Float[Tensor, "batch time rows columns width"]) -> Float[Tensor, "batch time features"]:
        """Of each layer the mean, and how what may be marks lies to waves that count from the grid's middle."""
        _, _, rows, columns, _ = cells.shape
        marks = self.phase(cells)
        down, across = (
            waves(torch.arange(count, device=cells.device) + (1 - count) / 2, PLACE_WAVES) / count
            for count in (rows, columns)
        )
        lying = (
            torch.einsum("btrkc,kw->btcw", marks, across) / rows,
            torch.einsum("btrkc,rw->btcw", marks, down) / columns,
        )
        return torch.cat((cells.mean((2, 3)), *(part.flatten(2) for part in lying)), dim=-1)

    def loss(
        self,
        codes: Int[Tensor, "batch time rows columns"],
        layout: Int[Tensor, "batch time things digits"],
        loop: bool = False,
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Of what is to be read of the layers of which a cell is known; and how it is made up: nats of where things
        are, for each thing, and of all that is said of a thing, and of the view."""
        seen, shown = self(codes, loop), (codes >= 0).any((2, 3))
        lesson = _lesson(layout, beside(layout, loop)[:, :, :, 0, 0], codes.shape[2], codes.shape[3])
        counted = shown[..., None, None] & ~lesson.passed_over
        where = F.binary_cross_entropy_with_logits(
            seen.centre[counted], lesson.centre[counted].float(), reduction="sum"
        )
        speaking = lesson.speaks & shown[..., None, None]
        of_things = self.thing.nats(seen.cells[speaking], lesson.says[speaking])
        said = torch.stack([nats.mean() if nats.numel() else nats.sum() for nats in of_things]).sum()
        view = layout[:, :, 0][shown]
        of_view, there = self.view.nats(seen.whole[shown], view), view[:, 0] > 0
        of_it = of_view[0].mean() + sum(nats[there].sum() for nats in of_view[1:]) / there.sum().clamp_min(1)
        where = where / (lesson.centre & counted).sum().clamp_min(1)
        loss = where + WEIGHT_OF_WORDS * (said + 0.5 * of_it)
        return loss, {"where_loss": where.detach(), "said_loss": said.detach(), "view_loss": of_it.detach()}

    def flops(self, grid: GridShape) -> float:
        """Multiply-adds counted as two, for one look at one grid. What is said of things is not counted."""
        blocks = [*enumerate(self.down), *enumerate(self.up)]
        near = sum(weight.numel() / 4**level for level, part in blocks for weight in part.parameters())
        layers = [*enumerate(self.narrow, start=1), *enumerate(self.widen, start=1)]
        between = sum(weight.numel() / 4**level for level, part in layers for weight in part.parameters())
        return 2.0 * grid.cells * (near + between)

    @torch.inference_mode()
    def read(self, codes: Int[Tensor, "time rows columns"], loop: bool = False) -> Read:
        """The layout of one grid, as far as it is to be seen: things in the order in which they would be named, those
        of which nothing is known HIDDEN. Where a layer is known as a whole that is all there is: things that are seen
        before or after it are put where they would have been, and no others are there."""
        seen = Seen(*(part[0] for part in self(codes[None], loop)))
        shown, whole = (codes >= 0).any(2).any(1), (codes >= 0).all(2).all(1)
        sights = [
            self._sights(Seen(*(part[time] for part in seen))) if shown[time] else [] for time in range(len(codes))
        ]
        layout = codes.new_full((len(codes), self.slots, len(self.radices)), HIDDEN)
        layout[whole] = 0
        looks: list[list[Tensor]] = [[] for _ in range(self.slots)]
        for slot, course in enumerate(followed(sights, whole.tolist(), self.slots - 1, self.radices), start=1):
            looks[slot] = course.looks
            for time, thing in course.things.items():
                layout[time, slot] = thing
        view = self.view.likeliest(seen.whole)
        layout[:, 0] = torch.where(shown[:, None], view * (view[:, :1] > 0), HIDDEN)
        order = order_of_telling(layout)
        glimpses = {
            time: self._glimpses(Seen(*(part[time] for part in seen)))
            for time in (shown & ~whole).nonzero()[:, 0].tolist()
        }
        return Read(layout[:, order], [looks[slot] for slot in order], glimpses)

    def _sights(self, seen: Seen) -> list[Sight]:
        """Of one layer: the cells that say that a thing is there, louder than those around them."""
        likely = seen.centre.sigmoid()
        peaks = (F.max_pool2d(likely[None], 3, stride=1, padding=1)[0] == likely) & (likely > LIKELY)
        row, column = peaks.nonzero(as_tuple=True)
        logits = self.thing.logits(seen.cells[peaks])
        said = torch.stack([of.argmax(-1) for of in logits], dim=-1)
        said[:, 0].clamp_min_(1)
        corner = _corners(row, column)
        things = said[:, : len(self.radices)].clone()
        places = (things[:, X:SIZE] + corner).clamp(0, PLACES - 1)
        things[:, X:SIZE] = places
        before = places - (said[:, -2:] - STEP)
        looks = [of.softmax(-1) for of in logits[1 : len(self.radices) + X]]
        loudest = likely[peaks].argsort(descending=True)[: self.slots - 1].tolist()
        return [Sight(things[k], before[k].tolist(), [of[k] for of in looks], float(likely[peaks][k])) for k in loudest]

    def _glimpses(self, seen: Seen) -> Glimpses:
        """Of one layer: all cells in which something may be."""
        likely = seen.centre.sigmoid()
        some = likely > UNLIKELY
        row, column = some.nonzero(as_tuple=True)
        said = [of.float().log_softmax(-1) for of in self.thing.logits(seen.cells[some])[: len(self.radices)]]
        corner = _corners(row, column)
        for axis in range(2):
            said[X + axis] = _from_the_corner(said[X + axis], corner[:, axis])
        return Glimpses(likely[some], torch.stack((column, row), dim=-1) + 0.5, said)


class Lesson(NamedTuple):
    """What cells are to say. centre: a thing's centre is there; speaks: or near enough; passed_over: which of the two
    it is, is not asked."""

    centre: Bool[Tensor, "batch time rows columns"]
    speaks: Bool[Tensor, "batch time rows columns"]
    passed_over: Bool[Tensor, "batch time rows columns"]
    says: Int[Tensor, "batch time rows columns digits"]


def _lesson(
    layout: Int[Tensor, "batch time things digits"],
    before: Int[Tensor, "batch time things digits"],
    rows: int,
    columns: int,
) -> Lesson:
    """A thing that lies outside is spoken for by the cell nearest to it, if it reaches into the grid. Places are told
    from the cell, and so is how far a thing has gone."""
    things, earlier = layout[:, :, 1:], before[:, :, 1:]
    ends = torch.tensor((columns, rows), device=layout.device)
    centre, radius = centres(things), things[..., SIZE, None].float() / EIGHTHS
    inside = centre.clamp(torch.zeros_like(ends) + 0.01, ends - 0.01)
    there = (things[..., 0] > 0) & ((inside - centre).abs() <= radius.clamp_max(BESIDE / EIGHTHS - 0.5)).all(-1)
    middles = [torch.arange(int(count), device=layout.device) + 0.5 for count in (columns, rows)]
    away = torch.stack(
        (
            (middles[0] - inside[..., :1])[..., None, :].expand(*there.shape, rows, columns),
            (middles[1] - inside[..., 1:])[..., :, None].expand(*there.shape, rows, columns),
        ),
        dim=-1,
    )
    here = (away.abs() <= 0.5).all(-1) & there[..., None, None]
    near = (away.norm(dim=-1) < NEAR) & there[..., None, None]
    far = away.norm(dim=-1).masked_fill(~(near | here), float("inf"))
    nearest = far.argmin(2)[..., None]  # of a cell's things
    pick = nearest.flatten(2, 3).expand(-1, -1, -1, layout.shape[-1])
    thing, was = (part.gather(2, pick).unflatten(2, (rows, columns)) for part in (things, earlier))
    went = torch.where(was[..., :1] > 0, thing[..., X:SIZE] - was[..., X:SIZE] + STEP, HIDDEN)
    corner = torch.stack(
        torch.meshgrid(*(torch.arange(n, device=layout.device) for n in (rows, columns)), indexing="ij")
    )
    corner = corner.flip(0).permute(1, 2, 0) * EIGHTHS + MARGIN - BESIDE
    says = torch.cat((thing, went.clamp(HIDDEN, 2 * STEP)), dim=-1)
    says[..., X - 2 : SIZE - 2] = (says[..., X - 2 : SIZE - 2] - corner).clamp(0, PLACES - 1)
    speaks, has = (near | here).any(2), here.any(2)
    return Lesson(has, speaks, speaks & ~has, says)


def _corners(row: Int[Tensor, " cells"], column: Int[Tensor, " cells"]) -> Int[Tensor, "cells 2"]:
    """(x, y) from which cells tell where things lie, in the units of layouts."""
    return torch.stack((column, row), dim=-1) * EIGHTHS + MARGIN - BESIDE


def _from_the_corner(
    told: Float[Tensor, "cells places"], corner: Int[Tensor, " cells"]
) -> Float[Tensor, "cells places"]:
    """The logarithms of how likely each place is that cells tell from their own corners, as places of layouts."""
    places = torch.arange(told.shape[1], device=told.device) - corner[:, None]
    beyond = (places < 0) | (places >= told.shape[1])
    return told.gather(1, places.clamp(0, told.shape[1] - 1)).masked_fill(beyond, NEVER)


class Saying(nn.Module):
    """A feature's digits, each by itself. Numbers are told by their waves: what is learned of one holds for those
    beside it, too."""

    def __init__(self, width: int, radices: Sequence[int], steps: int) -> None:
        """radices: of the digits of a thing. steps: how many numbers follow that say how far it has gone."""
        super().__init__()
        tables = [answers(radix, place - len(radices)) for place, radix in enumerate(radices)]
        tables += [answers(2 * STEP + 1, X) for _ in range(steps)]
        for number, table in enumerate(tables):
            self.register_buffer(f"answers_{number}", table, persistent=False)
        self.sizes = [table.shape[1] for table in tables]
        self.enter = nn.Linear(width, SAYING_WIDTH)
        self.leave = nn.Linear(SAYING_WIDTH, sum(self.sizes))

    def logits(self, features: Float[Tensor, "*places width"]) -> list[Float[Tensor, "*places radix"]]:
        said = self.leave(F.silu(self.enter(features))).split(self.sizes, dim=-1)
        return [part @ getattr(self, f"answers_{number}").T for number, part in enumerate(said)]

    def likeliest(self, features: Float[Tensor, "*places width"]) -> Int[Tensor, "*places digits"]:
        return torch.stack([of.argmax(-1) for of in self.logits(features)], dim=-1)

    def nats(
        self, features: Float[Tensor, "places width"], says: Int[Tensor, "places digits"]
    ) -> list[Float[Tensor, " places"]]:
        """Of each digit; 0 for what is HIDDEN."""
        return [
            F.cross_entropy(of.float(), says[:, number], ignore_index=HIDDEN, reduction="none")
            for number, of in enumerate(self.logits(features))
        ]
