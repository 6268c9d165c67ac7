"""The one network: a transformer over a row of text ids and a grid of codes."""

from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from math import ceil, pi, prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kinetoken.code_digits import DigitTable, code_logits, rows_of_digits
from kinetoken.grid import GridShape
from kinetoken.kept import Kept
from kinetoken.layer import Layer, mixed, rotation_by
from kinetoken.layout import HIDDEN, digits
from kinetoken.memory import Memory
from kinetoken.near import NearBlocks
from kinetoken.norm import RMSNorm
from kinetoken.painting import NOT_DRAWN, Painted, ThingsOnGrid
from kinetoken.reading import Reader
from kinetoken.sketch import PlaceIn, Sketch
from kinetoken.telling import Telling
from kinetoken.things import Gist, ThingsIn, ThingsInWords, ThingsOut
from kinetoken.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """`depth` is the one size dial: everything else follows from it unless it is said.

    width_per_layer: 64, as nanochat has it. halvings: how often rows and columns are halved on the way to the
    transformer; a patch of 2^halvings codes square is one position. near_blocks: of convolutions among codes before the
    transformer, and at each resolution above its own after it. coarse_blocks: before it, at each resolution between
    that of codes and its own. squeeze: how many times narrower than the codes is what these blocks see of their
    neighbours, and than what is drawn the layers that draw it. sight_width: of the small network that tells every cell
    of every thing.
    levels: the radices of a code's digits, lowest first, if codes have any (FSQ's have): codes that share a digit then
    share what is learned about it. squares: whether the first digits of four cells in a square tell of two colours, as
    a mosaic's do. digit_first: whether a code's first digit is answered before all others, which are then answered at
    once: two questions, of a mosaic with 8 and 243 answers, instead of one with 1,944.
    looks, things: the radices of the digits by which a layout says what a thing looks like, and how many things it has
    room for in every layer of time (layout.py); without looks there is no layout.
    mixture: whether words and things go through layers of their own, beside those of patches; weights without them load
    as copies of those.
    """

    text_codes: int
    visual_codes: int
    levels: tuple[int, ...] = ()
    squares: bool = False
    digit_first: bool = False
    depth: int = 4
    width_per_layer: int = 64
    head_width: int = 32
    halvings: int = 2
    near_blocks: int = 2
    coarse_blocks: int = 0
    squeeze: int = 1
    words: int = 48
    looks: tuple[int, ...] = ()
    things: int = 3
    sight_width: int = 192
    mixture: bool = True

    def __post_init__(self) -> None:
        if self.depth < 1 or self.width % self.head_width or self.head_width % 4 or self.head_width < 12:
            raise ValueError(
                f"width {self.width} must be a multiple of head_width {self.head_width}, and that of 4: change depth"
            )
        if not 0 <= self.halvings <= 5:
            raise ValueError(f"halvings lie in [0, 5], found {self.halvings}")
        if self.near_blocks < 1 or self.coarse_blocks < 0:
            raise ValueError(
                f"near_blocks must be at least 1, coarse_blocks 0, found {self.near_blocks} and {self.coarse_blocks}"
            )
        if self.squeeze < 1 or self.code_width % self.squeeze:
            raise ValueError(f"squeeze must divide {self.code_width} channels, found {self.squeeze}")
        if self.squares and not self.levels:
            raise ValueError("codes of squares need levels: the first digit tells of the colours")
        if self.digit_first and len(self.levels) < 2:
            raise ValueError(f"digit_first needs codes of two digits or more, found levels {self.levels}")
        if self.levels and prod(self.levels) != self.visual_codes:
            raise ValueError(f"{self.visual_codes} codes have no digits of radices {self.levels}")
        if self.things < 1 or any(radix < 1 for radix in self.looks):
            raise ValueError(f"a layout needs things, and looks of at least 1, found {self.things} and {self.looks}")

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(text=self.text_codes, visual=self.visual_codes)

    @property
    def slots(self) -> int:
        """Things in every layer of time."""
        return self.things if self.looks else 0

    def untold(self, batch: int, time: int) -> Int[Tensor, "batch time things digits"]:
        """Layouts of which nothing is told."""
        return torch.full((batch, time, self.slots, len(digits(self.looks))), HIDDEN)

    @property
    def patch(self) -> tuple[int, int, int]:
        """The block of codes (time, rows, columns) that is one position."""
        return 1, 2**self.halvings, 2**self.halvings

    @property
    def width(self) -> int:
        """Channels of a position: whole heads."""
        return ceil(self.depth * self.width_per_layer / self.head_width) * self.head_width

    @property
    def heads(self) -> int:
        return self.width // self.head_width

    @property
    def hidden(self) -> int:
        """Width of the gated layer: 8/3 of the width, so that SwiGLU costs what a plain fourfold layer would
        (Shazeer 2020), rounded to whole vector registers."""
        return ceil(self.width * 8 / 3 / 64) * 64

    @property
    def code_width(self) -> int:
        """Channels of one code at the grid's own resolution; each halving doubles them."""
        return ceil(self.width / 4 / 32) * 32

    @property
    def near_widths(self) -> tuple[int, ...]:
        """Channels at each resolution above the transformer's, finest first."""
        return tuple(self.code_width * 2**level for level in range(self.halvings))

    @property
    def blocks_before(self) -> tuple[int, ...]:
        """Of convolutions, before the transformer, likewise."""
        return tuple(self.coarse_blocks if level else self.near_blocks for level in range(self.halvings))

    @property
    def answers(self) -> tuple[int, ...]:
        """How many there are to each question about a code: all codes, or its first digit and then the rest."""
        return (self.levels[0], self.visual_codes // self.levels[0]) if self.digit_first else (self.visual_codes,)

    @property
    def head_code_width(self) -> int:
        """Channels of one place before its logits."""
        return 4 * self.code_width


class Features(NamedTuple):
    """What the network makes of a canvas, before any logits. cells: of the whole grid, or those that were asked for, in
    its order."""

    words: Float[Tensor, "batch words width"]
    things: Float[Tensor, "batch time things width"]
    cells: Float[Tensor, "*places head_width"]


class Transformer(nn.Module):
    """Pre-norm transformer with RMSNorm, SwiGLU, QK-norm and rotary positions in (time, row, column), at the bottom of
    an hourglass of convolutions that make patches of codes, and codes of patches.

    A position is one word, one thing of a layout or one patch of codes, and masks stay per code: an unknown code is the
    id MASK inside its patch. The network has no attention mask: every position sees every other, whichever of two kinds
    of weights it goes through (`mixed`). What a layout says is told to the cells, too.
    """

    digits: Tensor
    answer_digits: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        vocabulary, widths = config.vocabulary, (*config.near_widths, config.width)
        self.embedding = nn.Embedding(vocabulary.size, widths[0])
        self.word_in = nn.Linear(widths[0], config.width)
        near = partial(NearBlocks, squeeze=config.squeeze)
        self.near_in = nn.ModuleList(map(near, config.near_widths, config.blocks_before))
        self.narrow = nn.ModuleList(nn.Linear(4 * fine, coarse) for fine, coarse in pairwise(widths))
        of_kind = partial(Layer, config.width, config.head_width, config.hidden, tuning=not config.looks)
        self.layers = nn.ModuleList(of_kind() for _ in range(config.depth))
        if config.mixture:
            self.told_layers = nn.ModuleList(of_kind() for _ in range(config.depth))
            self.register_load_state_dict_pre_hook(_both_kinds)
        self.norm = RMSNorm(config.width)
        self.word_out = nn.Linear(config.width, vocabulary.text_end)
        self.widen = nn.ModuleList(nn.Linear(coarse, 4 * fine) for fine, coarse in pairwise(widths))
        self.near_out = nn.ModuleList(near(width, config.near_blocks) for width in config.near_widths)
        self.code_norm = RMSNorm(widths[0])
        self.code_enter = nn.Linear(widths[0], config.head_code_width)
        self.code_out = nn.Linear(config.head_code_width, config.answers[-1])
        self.digit_in = DigitTable(sum(config.levels), widths[0])
        told_apart = config.levels[1:] if config.digit_first else config.levels
        self.digit_out = DigitTable(sum(told_apart), config.head_code_width)
        self.register_buffer("digits", rows_of_digits(config.levels, config.visual_codes), persistent=False)
        self.register_buffer("answer_digits", rows_of_digits(told_apart, config.answers[-1]), persistent=False)
        if config.digit_first:
            self.code_first = nn.Linear(config.head_code_width, config.levels[0])
            self.code_given = nn.Embedding(config.levels[0], 2 * config.head_code_width)
            nn.init.zeros_(self.code_given.weight)
        self._kept_ids, self._kept_head = Kept(), Kept()
        for table in (self.embedding, self.digit_in):
            nn.init.normal_(table.weight, std=(1 + len(config.levels)) ** -0.5)  # a code's sum has deviation 1
        for head in (self.word_out, self.code_out):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)
        nn.init.zeros_(self.digit_out.weight)
        self.gist = Gist(widths[0], config.width)
        if config.looks:
            self.gist_in, self.gist_out = (nn.Linear(config.width, config.width) for _ in range(2))
            self.things_in_words = ThingsInWords(config.looks, config.things, config.width)
            self.telling_in = nn.Linear(config.width, config.width)
            self.telling = Telling(config.looks, config.things, config.width, config.head_width, config.hidden)
            self.things_in = ThingsIn(config.looks, config.width)
            self.things_on_grid = ThingsOnGrid(
                config.looks,
                config.things,
                widths[0],
                config.head_code_width,
                config.levels[0] if config.squares else 0,
                sight_width=config.sight_width,
                squeeze=config.squeeze,
            )
            self.reader = Reader(config.looks, config.things, config.halvings, self.digits)
            for layer in (self.gist_in, self.gist_out, self.telling_in):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
            self.things_out = ThingsOut(config.looks, config.things, config.width)
        else:
            self.place_in = PlaceIn(config.width)
            self.sketch = Sketch(config.width, widths[0], config.head_code_width)

    def forward(
        self,
        text: Int[Tensor, "batch words"],
        grid: Int[Tensor, "batch time rows columns"],
        layout: Int[Tensor, "told layers things digits"] | None = None,
        *,
        loop: bool = False,
        painted: Painted | None = None,
        asked: Bool[Tensor, "batch time rows columns"] | None = None,
    ) -> Features:
        """Features of every word and thing, and of cells. Logits are asked for separately, only where they are needed.

        The grid must be made of whole patches; any number of them will do, none among them. layout: None is one that
        nobody has told. loop: time is a circle. painted: what `painted` says, if that has been asked before. asked: of
        which cells; of all if None.
        """
        if self.config.looks and (layout is None or not layout.shape[2]):
            layout = self.config.untold(len(grid), grid.shape[1]).to(grid.device)
        said = F.embedding(text, self.embedding.weight)
        gist = self.gist(text, said)
        told = self._told(said, gist, layout, loop)
        if painted is None:
            painted = self._painted(gist, layout, grid.shape[2], grid.shape[3], loop)
        rotation = self._rotation(text.shape[1], _shape(*grid.shape[1:]), loop)
        whole, cells = self._through(told, gist, grid, painted, rotation, asked, loop=loop)
        words, things = whole.tensor_split((text.shape[1],), dim=1)
        things = things.unflatten(1, (grid.shape[1], -1))
        if self.config.looks:
            things = things + self.gist_out(gist)[:, None, None]
        return Features(words, things, cells)

    def next_cells(
        self,
        text: Int[Tensor, "batch words"],
        grid: Int[Tensor, "batch layers rows columns"],
        layout: Int[Tensor, "told time things digits"],
        painted: Painted,
        memory: Memory,
        asked: Bool[Tensor, "batch layers rows columns"] | None = None,
    ) -> Float[Tensor, "*places head_width"]:
        """Features of cells of the next layers after those that are remembered. Those of these in which nothing is
        unknown are remembered, too; words and things are from the first time on. painted: of these layers. asked: of
        which cells; of all if None."""
        said = F.embedding(text, self.embedding.weight)
        gist = memory.once(self.gist, lambda: self.gist(text, said))
        patches = grid.shape[2] * grid.shape[3] // prod(self.config.patch)
        rotation = self._rotation(text.shape[1], _shape(memory.time, *grid.shape[2:]))
        of_told, of_cells = rotation.tensor_split((rotation.shape[1] - memory.time * patches,), dim=1)
        of_cells = of_cells[:, memory.layers * patches :][:, : grid.shape[1] * patches]
        if memory.told:
            told, of_told = gist.new_zeros(len(gist), 0, self.config.width), of_told[:, :0]
        else:
            told = self._told(said, gist, layout)
        done = int((grid != Vocabulary.MASK).all(3).all(2).all(0).cumprod(0).sum())
        with memory.asked(told.shape[1], grid.shape[1], done, patches, grid.device):
            turns = torch.cat((of_told, of_cells), dim=1)
            _, cells = self._through(told, gist, grid, painted, turns, asked, memory=memory)
        return cells

    def _told(
        self,
        said: Float[Tensor, "batch words code_width"],
        gist: Float[Tensor, "batch width"],
        layout: Int[Tensor, "told layers things digits"] | None,
        loop: bool = False,
    ) -> Float[Tensor, "batch positions width"]:
        """Words, and things if there are any, as they enter."""
        words = self.word_in(said)
        if not self.config.looks:
            return words
        assert layout is not None
        things = self.things_in(layout, loop) + self.gist_in(gist)[:, None, None]
        telling = self.telling_in(F.silu(self.things_in_words(layout, loop)))
        return torch.cat((words + telling[:, None], things.flatten(1, 2)), dim=1)

    def _through(
        self,
        told: Float[Tensor, "batch told_positions width"],
        gist: Float[Tensor, "batch width"],
        grid: Int[Tensor, "batch time rows columns"],
        painted: Painted,
        rotation: Float[Tensor, "2 positions channels"],
        asked: Bool[Tensor, "batch time rows columns"] | None,
        *,
        loop: bool = False,
        memory: Memory | None = None,
    ) -> tuple[Float[Tensor, "batch told_positions width"], Float[Tensor, "*places head_width"]]:
        """Features of words and things, and of cells: through near blocks, all layers, and near blocks again."""
        cells, fine = F.embedding(grid, self._id_vectors()) + painted.told, []
        near_in, near_out = (
            list(zip(blocks, linear, strict=True)) if grid.numel() else []  # convolutions refuse what is empty
            for blocks, linear in ((self.near_in, self.narrow), (self.near_out, self.widen))
        )
        for blocks, narrow in near_in:
            fine.append(blocks(cells, loop, memory))
            cells = narrow(rearrange(fine[-1], "b t (r pr) (k pk) c -> b t r k (pr pk c)", pr=2, pk=2))
        places = cells.shape[1:4]
        if not self.config.looks and grid.numel():
            cells = cells + self.place_in(*places[1:])
        parts = [told, cells.reshape(len(grid), prod(places), self.config.width)]
        kinds = (self.told_layers, self.layers) if self.config.mixture else (self.layers,)
        parts = parts if self.config.mixture else [torch.cat(parts, dim=1)]
        for layers in zip(*kinds, strict=True):
            parts = mixed(layers, parts, rotation, gist, memory)
        told, cells = self.norm(torch.cat(parts, dim=1)).tensor_split((told.shape[1],), dim=1)
        cells = cells.unflatten(1, places)
        for (blocks, widen), known in reversed(list(zip(near_out, fine, strict=True))):
            cells = known + rearrange(widen(cells), "b t r k (pr pk c) -> b t (r pr) (k pk) c", pr=2, pk=2)
            cells = blocks(cells, loop, memory)
        return told, self._heads(cells, grid, painted, asked)

    def _heads(
        self,
        cells: Float[Tensor, "batch time rows columns code_width"],
        grid: Int[Tensor, "batch time rows columns"],
        painted: Painted,
        asked: Bool[Tensor, "batch time rows columns"] | None,
    ) -> Float[Tensor, "*places head_width"]:
        """What logits are made of, of the cells that are asked for."""
        if not grid.numel():
            return cells.new_zeros(*(grid.shape if asked is None else (0,)), self.config.head_code_width)
        places = torch.arange(grid.numel(), device=grid.device) if asked is None else asked.flatten().nonzero()[:, 0]
        features = self.code_enter(self.code_norm(cells.flatten(0, 3).index_select(0, places)))
        rows = painted.row.expand(grid.shape).flatten().index_select(0, places)
        which = (rows != NOT_DRAWN).nonzero()[:, 0]
        drawn = painted.drawn.index_select(0, rows[which])
        if self.config.looks:
            drawn = drawn + self.things_on_grid.coloured(self._first_digits(grid), places[which])
        features.index_add_(0, which, drawn)
        return features.unflatten(0, grid.shape) if asked is None else features

    def painted(
        self,
        text: Int[Tensor, "batch words"],
        layout: Int[Tensor, "told layers things digits"],
        rows: int,
        columns: int,
        *,
        loop: bool = False,
    ) -> Painted:
        """What a layout, or where there is none the text, says of each cell: the same at every step of a sampler."""
        gist = self.gist(text, F.embedding(text, self.embedding.weight))
        return self._painted(gist, layout, rows, columns, loop)

    def _painted(self, gist: Tensor, layout: Tensor | None, rows: int, columns: int, loop: bool) -> Painted:
        if not rows * columns:
            none = gist.new_zeros(len(gist), 1, rows, columns)
            return Painted(none[..., None], none.new_zeros(0, self.config.head_code_width), none.long())
        if layout is None or not self.config.looks:
            return self.sketch(gist, rows, columns)
        return self.things_on_grid(layout, rows, columns, loop)

    def told_words(
        self,
        words: Float[Tensor, "batch words width"],
        layout: Int[Tensor, "told layers things digits"],
        *,
        loop: bool = False,
    ) -> Float[Tensor, "batch words width"]:
        """Features of words that are to be written, as they are once they have been told of things: what `text_logits`
        is to be asked for. Without layouts they are as they were."""
        if not self.config.looks:
            return words
        if not layout.shape[2]:
            layout = self.config.untold(len(words), 1).to(words.device)
        rotation = self._rotation(words.shape[1], GridShape(time=0, rows=0, columns=0))
        return words + self.telling(words, layout, rotation, loop)

    def codes(self, grid: Int[Tensor, "*places"]) -> Int[Tensor, "*places"]:
        """Of ids; HIDDEN where there is none."""
        return (grid - self.config.vocabulary.text_end).clamp_min(HIDDEN)

    def _first_digits(self, grid: Int[Tensor, "batch time rows columns"]) -> Int[Tensor, "batch time rows columns"]:
        """Of codes; HIDDEN where there is none."""
        codes = self.codes(grid)
        return torch.where(codes < 0, HIDDEN, codes % self.config.levels[0] if self.config.levels else 0)

    def _id_vectors(self) -> Float[Tensor, "ids code_width"]:
        table = self.embedding.weight

        def vectors() -> Tensor:
            text, visual = table.split((self.config.vocabulary.text_end, self.config.visual_codes))
            return torch.cat((text, visual + self.digit_in(self.digits)))

        return self._kept_ids.of((table, self.digit_in.weight), vectors)

    def text_logits(self, words: Float[Tensor, "*places width"]) -> Float[Tensor, "*places text_end"]:
        """Over ids [0, text_end). MASK is never an answer."""
        logits = self.word_out(words)
        return logits.index_fill(-1, torch.tensor(Vocabulary.MASK, device=logits.device), float("-inf"))

    def grid_logits(
        self, cells: Float[Tensor, "places head_width"], first: Int[Tensor, " places"] | None = None
    ) -> Float[Tensor, "places answers"]:
        """Over codes [0, visual), for the features of the cells that are asked for. If `digit_first`, over the first
        digit, and once that is given, over the code without it, code // its radix."""
        return code_logits(cells, self.code_head(), first)

    def code_head(self) -> tuple[Tensor, ...]:
        """The weights of `code_logits`."""
        own, shared = self.code_out.weight, self.digit_out
        weight = self._kept_head.of((own, shared.weight), lambda: own + shared(self.answer_digits))
        if not self.config.digit_first:
            return weight, self.code_out.bias
        return self.code_first.weight, self.code_first.bias, self.code_given.weight, weight, self.code_out.bias

    def _rotation(self, words: int, grid: GridShape, loop: bool = False) -> Float[Tensor, "2 positions channels"]:
        rotation = _rotation(words, self.config.slots, grid, self.config.patch, self.config.head_width, loop)
        return rotation.to(self.norm.weight.device)

    @torch.no_grad()
    def begin_by_looks(self, looks: Float[Tensor, "visual values"]) -> None:
        """Codes that look alike begin alike: a thousand ids are a thousand riddles to a network that has to find out
        what each means, and the tokenizer knows. looks: of every code, such as its mean block of pixels.

        The tables begin with the principal components, turned at random so that no channel is like another.
        """
        centred = looks - looks.mean(0)
        left, size, _ = torch.linalg.svd(centred, full_matrices=False)
        tables = [(self.embedding.weight[self.config.vocabulary.text_end :], 1.0)]
        if not self.config.digit_first:
            tables.append((self.code_out.weight, 0.1))
        for table, deviation in tables:
            width = min(table.shape[1], left.shape[1])
            parts = left[:, :width] * size[:width]
            turn = nn.init.orthogonal_(table.new_empty(width, table.shape[1]))
            table.copy_(parts @ turn * (deviation / (parts @ turn).square().mean().sqrt().clamp_min(1e-6)))

    @torch.no_grad()
    def begin_by_words(self, other: "Transformer") -> None:
        """Take what another network of this shape, but of other codes, has learned of words and of patches. Its layers
        may not have been tuned by words."""
        text = self.config.vocabulary.text_end
        self.embedding.weight[:text] = other.embedding.weight[:text]
        layers = ("layers", "told_layers") if self.config.mixture else ("layers",)
        for name in ("word_in", "gist", *layers, "norm", "word_out"):
            learned = getattr(other, name).state_dict()
            getattr(self, name).load_state_dict(learned, strict=name not in layers)

    def flops(self, words: int, grid: GridShape, logits: int) -> float:
        """Multiply-adds counted as two, for one forward pass over one canvas with `logits` of its codes asked for."""
        config = self.config
        widths = (*config.near_widths, config.width)
        positions = words + config.slots * grid.time + grid.cells // prod(config.patch)
        layer = 4 * config.width**2 + 3 * config.width * config.hidden + 2 * positions * config.width
        near = sum(
            ((before + config.near_blocks) * 12 * fine**2 / config.squeeze + 2 * fine * coarse) / 4**level
            for level, (before, (fine, coarse)) in enumerate(zip(config.blocks_before, pairwise(widths), strict=True))
        )
        enter, head = widths[0] * config.head_code_width, config.head_code_width * sum(config.answers)
        told = 3 * words * widths[0] * config.width
        if not config.looks:
            tunings = (1 + config.mixture) * config.depth
            told += 4 * tunings * config.width**2 + self.sketch.multiplications(grid.rows, grid.columns)
        return 2.0 * (grid.cells * (near + enter) + positions * config.depth * layer + logits * head + told)

    def adamw_parameters(self) -> list[Tensor]:
        """Tables of ids are no linear maps between features: AdamW, not Muon."""
        heads = (self.word_out, self.code_out, *([self.code_first] if self.config.digit_first else []))
        return [head.weight for head in heads]


def _both_kinds(network: nn.Module, weights: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Weights of a network with one kind of layers are those of both: such a network says the same with two."""
    of_patches, of_told = f"{prefix}layers.", f"{prefix}told_layers."
    if not any(name.startswith(of_told) for name in weights):
        learned = {name: weight for name, weight in weights.items() if name.startswith(of_patches)}
        weights.update({of_told + name.removeprefix(of_patches): weight for name, weight in learned.items()})


def _shape(time: int, rows: int, columns: int) -> GridShape:
    return GridShape(time=time, rows=rows, columns=columns)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # kept: what a sampler has asked for, training may ask for again
def _rotation(
    words: int, things: int, grid: GridShape, patch: tuple[int, int, int], head_width: int, loop: bool = False
) -> Float[Tensor, "2 positions channels"]:
    """Of each position. A quarter of the channel pairs turn with time, the others with row and
    column, by frequencies from 1 to 1/100 radians per cell. loop: time turns as `_circular` says.

    Words lie on the diagonal that runs away from the grid's origin, (-1, -1, -1), (-2, -2, -2), ... (as M-RoPE, Wang et
    al. 2024, puts text on all axes at once): where a word lies does not depend on the grid's size or the text's length.
    Things lie on it, too, the first of them at its beginning, but at the time of their layer.
    """
    whole = torch.from_numpy(grid.coordinates()).reshape(*grid.sizes, 3)[:: patch[0], :: patch[1], :: patch[2]]
    centres = whole.reshape(-1, 3).double() + (torch.tensor(patch).double() - 1) / 2
    diagonal = -torch.arange(1, words + 1).double()[:, None].expand(-1, 3)
    beside = -torch.arange(things).double().repeat(grid.time)
    times = torch.arange(grid.time).double().repeat_interleave(things)
    places = torch.cat((diagonal, torch.stack((times, beside, beside), dim=1), centres))
    pairs = head_width // 2
    share = (pairs // 4, (pairs - pairs // 4) // 2, pairs - pairs // 4 - (pairs - pairs // 4) // 2)
    frequencies = [100.0 ** -torch.linspace(0, 1, count).double() for count in share]
    angles = [places[:, axis, None] * frequency for axis, frequency in enumerate(frequencies)]
    if loop:
        angles[0][words:] = _circular(places[words:, 0], grid.time, frequencies[0])
    return rotation_by(torch.cat(angles, -1)).float()


def _circular(
    times: Float[Tensor, " positions"], layers: int, frequencies: Float[Tensor, " pairs"]
) -> Float[Tensor, "positions pairs"]:
    """Angles of layers on a circle: each frequency becomes the nearest one that makes whole turns, so that the step
    from the last layer to the first is like any other.

    The highest frequency tells neighbours apart. It makes one turn at least (on circles of up to 9 layers, one), and
    neighbours differ by an angle near to the 1 radian that was trained. The low ones, which within a clip say little
    more than "early" or "late", make none: on a circle nothing is early, and all layers say "middle". Times count from
    1, for at 0 the network knows a frame that stands alone, and on a circle none does.
    """
    turn, middle = 2 * pi / layers, (layers + 1) / 2
    turns = (frequencies / turn).round()
    turns[0].clamp_(min=1)
    return middle * frequencies + (times + 1 - middle)[:, None] * turns * turn
