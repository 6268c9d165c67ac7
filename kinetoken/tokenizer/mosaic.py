"""Mosaics: codes that can be read. A clip becomes a thumbnail of half its width and height, of one frame for each layer
of cells, in few colours; and a code is 2 x 2 pixels of it.

Block truncation coding (Delp and Mitchell 1979), on colours and as a language: in a learned code, which colours meet at
an edge and how they meet are one number, so each pair of colours is an alphabet of its own. Here they are digits.
"""

from collections.abc import Iterable
from itertools import combinations_with_replacement
from typing import Final

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kinetoken.grid import CellSize
from kinetoken.tokenizer.quantizer import MOSAIC_DIGITS, Quantized

SIDE: Final = 2  # cells of a square: together they say two colours, a digit each
BASE, TONES, *_ = MOSAIC_DIGITS  # of a pixel's tones: the first colour, the second, and the second in the shade
COLOURS: Final = BASE**2
PIXELS: Final = 4  # of the thumbnail in a cell
STILLS: Final = BASE * TONES**PIXELS  # codes of cells that do not move
MOTIONS: Final = MOSAIC_DIGITS[-1] - 1  # ways to move
NOTICED: Final = 384  # features of how a square's frames differ
CALM: Final = 0.1  # how much must be noticed
SHADE: Final = 0.45
"""How bright a colour is in the shade."""
PLAIN: Final = 0.0012
"""Mean square error per pixel, of channels in [0, 1], at which one colour will do."""
SHADED: Final = 0.003
"""Likewise, by how much shade must lessen it."""
FREQUENT: Final = 4  # colours of a square that may be one of its two
FREQUENT_SOFT: Final = 6  # likewise, of a soft mosaic
DARKEST: Final = 0.4  # how dark a colour may be and still be counted as itself
DIMMED: Final = 0.05  # squared error that a colour without any light counts for
BINS: Final = 32  # of each channel, within which pixels have the same colour


class Mosaic(nn.Module):
    """A square of 2 x 2 cells has two colours of a palette of 64, the first and the second, and each cell tells one
    octal digit: the upper ones the first colour, the lower ones the second. What the cell's four pixels are (the first
    colour, the second, or the second in the shade) are four digits more. A square that one colour explains has it
    twice, and all its pixels are the first.

    The pixels are those of a layer's last frame. How the frames before it differ is a digit more, the only thing that
    is learned: 0 where nothing moves, else one of two. So there are 8 * 3^4 * 3 = 1,944 codes. A square tells of its
    own pixels alone, but that if it `sees_before` it notices how the last frame before its own differs, too.

    soft: a pixel's third tone is not the second colour in the shade, but half-way between the two. Shade is for stripes
    of black on flat colours; what is between is for drawings with shading and soft edges.
    """

    palette: Float[Tensor, "colours 3"]

    def __init__(self, cell: CellSize, *, soft: bool = False, sees_before: bool = False) -> None:
        """The palette is grey until `fit`. sees_before: what is noticed is noticed of the frame before a cell's own,
        too."""
        super().__init__()
        if cell.square != SIDE or cell.height % 2 or cell.width % 2:
            raise ValueError(f"a mosaic needs cells of even sides in squares of {SIDE} x {SIDE}, found {cell}")
        self.cell, self.soft, self.sees_before = cell, soft, sees_before
        self.register_buffer("palette", torch.linspace(-1, 1, COLOURS)[:, None].repeat(1, 3))
        values = SIDE**2 * 3 * cell.height * cell.width
        self.notice = nn.Sequential(
            nn.Linear((cell.frames - 1 + sees_before) * values, NOTICED, bias=False),
            nn.SiLU(),
            nn.Linear(NOTICED, SIDE**2 * MOTIONS, bias=False),
        )

    @property
    def bytes(self) -> Float[Tensor, "colours 3"]:
        """The palette in [0, 255], whole numbers whatever precision it was kept in."""
        return ((self.palette.float() + 1) * 127.5).round()

    @torch.no_grad()
    def fit(self, blocks: Iterable[Float[Tensor, "batch time rows columns values"]]) -> None:
        """Choose the palette: weighted k-means over the commonest colour of every square, sorted by how often they
        come, so that grounds come first. soft: over all of the thumbnail, sorted so that colours with the same first
        digit are alike: then a wrong second digit is a wrong shade, and no more."""
        pixels = torch.cat([self._squares(some.chunk(self.cell.frames, -1)[-1]).flatten(0, 3) for some in blocks])
        if self.soft:
            seen = self._parts(pixels).mean(-2).flatten(0, 1)
            bins, power = _bins(seen), 1.0
        else:
            of_pixels = _bins(pixels)
            bins, power = of_pixels.mode(1).values, 0.5
            hits = (of_pixels == bins[:, None])[..., None]
            seen = (pixels * hits).sum(1) / hits.sum(1)
        found, which, count = torch.unique(bins, return_inverse=True, return_counts=True)
        mean = torch.zeros(len(found), 3).index_add_(0, which, seen) / count[:, None]
        palette, share = _k_means(mean, count.float() ** power, COLOURS)
        order = _branches(palette) if self.soft else share.argsort(descending=True)
        self.palette.copy_(palette[order] * 2 - 1)

    def forward(self, blocks: Float[Tensor, "batch time rows columns values"]) -> Quantized:
        """Blocks of pixels in [-1, 1] to codes, and what they say, in fp32. A gradient passes to what is noticed of
        motion alone, straight through the threshold (Bengio et al. 2013)."""
        codes, likely = self.codes(blocks)
        through = F.pad(likely - likely.detach(), (3 * PIXELS, 0))
        return Quantized(self.lookup(codes) + through, codes, blocks.new_zeros(()))

    def codes(
        self, blocks: Float[Tensor, "batch time rows columns values"]
    ) -> tuple[Int[Tensor, "batch time rows columns"], Float[Tensor, "batch time rows columns ways"]]:
        """And how likely each way is in which a cell moves."""
        with torch.autocast(blocks.device.type, enabled=False):
            frames = blocks.float().unflatten(-1, (self.cell.frames, -1))
            before, last = frames[..., :-1, :], frames[..., -1, :]
            if self.sees_before:  # the first layer's frame is before itself
                ends = torch.cat((last[:, :1], last[:, :-1]), dim=1)
                before = torch.cat((before, ends[..., None, :]), dim=-2)
            differences = (before - last[..., None, :]).flatten(-2)
            squares = rearrange(differences, "b t (r y) (k x) v -> b t r k (y x v)", y=SIDE, x=SIDE)
            noticed = rearrange(self.notice(squares), "b t r k (y x n) -> b t (r y) (k x) n", y=SIDE, x=SIDE)
            way, likely = self._way(noticed, differences)
            return self._still(last.detach()) + STILLS * way, likely

    def _way(
        self, noticed: Float[Tensor, "*cells ways"], differences: Float[Tensor, "*cells values"]
    ) -> tuple[Int[Tensor, "*cells"], Float[Tensor, "*cells ways"]]:
        """(0 or in which way each cell moves, how likely each way is): if more is noticed than CALM, in the way that is
        noticed most. In training others are tried, or nobody would know what they are worth (Gumbel-max, and straight
        through softmax: Jang et al. 2017). Mosaics that do not see before have learned without that, and the second way
        goes before the first."""
        if not self.sees_before:
            ways = torch.arange(1, 1 + MOTIONS, device=noticed.device)
            return ((noticed > CALM) * ways).amax(-1), (noticed - CALM).sigmoid()
        ways = F.pad(noticed, (1, 0), value=CALM)
        tried = ways
        if self.training:
            differs = differences.any(-1, keepdim=True)
            tried = ways - differs * torch.empty_like(ways).exponential_().log()
        return tried.argmax(-1), ways.softmax(-1)[..., 1:]

    def _still(self, last: Float[Tensor, "batch time rows columns values"]) -> Int[Tensor, "batch time rows columns"]:
        """Codes of last frames."""
        palette = self.bytes / 255
        pixels = self._squares(last)
        parts = self._parts(pixels)
        thumbnail = parts.mean(-2)
        if self.soft:
            first, second = _soft_colours(thumbnail, palette)
            third = first != second
        else:
            first, second, third = _two_colours(thumbnail, _frequent(pixels, palette), palette)
        colours = self._tones_of(palette[first], palette[second])
        tones = _tones(thumbnail, None if self.soft else parts, colours, first != second, third)
        cells = rearrange(tones, "b t r k (y v x u) -> b t (r y) (k x) (v u)", y=SIDE, v=2, x=SIDE)
        digits = torch.stack((first // BASE, first % BASE, second // BASE, second % BASE), dim=-1)
        digit = rearrange(digits, "b t r k (y x) -> b t (r y) (k x)", y=SIDE)
        return digit + BASE * (cells * TONES ** torch.arange(PIXELS, device=cells.device)).sum(-1)

    def lookup(self, codes: Int[Tensor, "batch time rows columns"]) -> Float[Tensor, "batch time rows columns width"]:
        """The colours of each cell's four pixels, in [-1, 1], and 1 for the way in which it moves, 0 for the other.
        Raises: ValueError for a grid of half squares."""
        if codes.shape[2] % SIDE or codes.shape[3] % SIDE:
            raise ValueError(f"a mosaic has whole squares of {SIDE} x {SIDE} cells, found a grid of {codes.shape[2:]}")
        digit = rearrange(codes % BASE, "b t (r y) (k x) -> b t r k (y x)", y=SIDE, x=SIDE)
        pair = torch.stack((digit[..., 0] * BASE + digit[..., 1], digit[..., 2] * BASE + digit[..., 3]), dim=-1)
        pair = repeat(pair, "b t r k n -> b t (r y) (k x) n", y=SIDE, x=SIDE)
        palette = self.bytes / 255
        tones = self._tones_of(palette[pair[..., 0]], palette[pair[..., 1]])
        which = codes[..., None] // BASE // TONES ** torch.arange(PIXELS, device=codes.device) % TONES
        pixels = tones.gather(-2, which[..., None].expand(*which.shape, 3)).flatten(-2) * 2 - 1
        moves = codes[..., None] // STILLS == torch.arange(1, 1 + MOTIONS, device=codes.device)
        return torch.cat((pixels, moves.to(pixels)), dim=-1)

    def _tones_of(
        self, first: Float[Tensor, "*places 3"], second: Float[Tensor, "*places 3"]
    ) -> Float[Tensor, "*places tones 3"]:
        return _three(first, second) if self.soft else torch.stack((first, second, SHADE * second), dim=-2)

    def enlarged(
        self, vectors: Float[Tensor, "batch time rows columns width"]
    ) -> Float[Tensor, "batch time rows columns values"]:
        """Cells' pixels in a frame that shows the thumbnail as it is."""
        return repeat(
            vectors[..., : 3 * PIXELS],
            "b t r k (v u c) -> b t r k (v y u x c)",
            v=2,
            u=2,
            y=self.cell.height // 2,
            x=self.cell.width // 2,
        )

    def _parts(self, squares: Float[Tensor, "*squares pixels 3"]) -> Float[Tensor, "*squares small parts 3"]:
        """The pixels of each pixel of the thumbnail."""
        sides = {"y": 2 * SIDE, "x": 2 * SIDE, "v": self.cell.height // 2}
        return rearrange(squares, "... (y v x u) c -> c ... (y x) (v u)", **sides).movedim(0, -1)  # a plane each

    def _squares(
        self, last: Float[Tensor, "batch time rows columns values"]
    ) -> Float[Tensor, "batch time squares_down squares_across pixels 3"]:
        """The pixels of each square, in [0, 1]."""
        return rearrange(
            last / 2 + 0.5, "b t (r y) (k x) (h w c) -> b t r k (y h x w) c", y=SIDE, x=SIDE, h=self.cell.height, c=3
        )


def _bins(pixels: Float[Tensor, "*places 3"]) -> Int[Tensor, "*places"]:
    red, green, blue = (pixels * (BINS - 0.01)).long().unbind(-1)
    return (red * BINS + green) * BINS + blue


def _frequent(
    pixels: Float[Tensor, "*squares pixels 3"], palette: Float[Tensor, "colours 3"]
) -> Int[Tensor, "*squares frequent"]:
    """A square's most frequent colours. What is dark is taken for a colour in the shade rather than for another one."""
    red, green, blue = (pixels * 255).round().unbind(-1)
    levels = ((red * 256 + green) * 256 + blue).int()  # below 2^24, where fp32 has every whole number
    different, where = levels.unique(return_inverse=True)  # of a clip's pixels few are
    colours = torch.stack((different // 65536, different // 256 % 256, different % 256), dim=1) / 255
    alike, sizes = colours @ palette.T, palette.square().sum(1)
    light = (alike / sizes.clamp_min(1e-6)).clamp(DARKEST, 1)
    error = light * (light * sizes - 2 * alike) + DIMMED * (1 - light).square()  # and the colour's own square, for all
    nearest = error.argmin(1)[where].flatten(0, -2)
    votes = torch.zeros(len(nearest), len(palette), device=pixels.device)
    votes.scatter_add_(1, nearest, torch.ones(nearest.shape, device=pixels.device))
    return votes.topk(FREQUENT).indices.unflatten(0, pixels.shape[:-2])


def _two_colours(
    thumbnail: Float[Tensor, "*squares pixels 3"],
    frequent: Int[Tensor, "*squares frequent"],
    palette: Float[Tensor, "colours 3"],
) -> tuple[Int[Tensor, "*squares"], Int[Tensor, "*squares"], Bool[Tensor, "*squares"]]:
    """(first, second, whether the second is seen in the shade, too): the most frequent colour, and the one of all that
    explains the square best beside it. Unless there is shade, they are sorted."""
    one = frequent[..., :1]

    def error(colours: Float[Tensor, "*squares some 3"]) -> Float[Tensor, "*squares some pixels"]:
        return _squared_distance(thumbnail[..., None, :, :], colours[..., None, :])

    alone = error(palette[one])
    both = torch.minimum(alone, error(palette[frequent]))
    ways = torch.stack(
        (
            both.mean(-1),
            torch.minimum(both, error(SHADE * palette[frequent])).mean(-1) + SHADED,
            torch.minimum(both, error(SHADE * palette[one])).mean(-1) + SHADED,
        ),
        dim=-1,
    )
    least, best = ways.flatten(-2).min(-1)
    plain = alone.mean(-1)[..., 0] - least < PLAIN
    way = torch.where(plain, 0, best % 3)
    one, other = one[..., 0], frequent.gather(-1, best[..., None] // 3)[..., 0]
    other = torch.where(plain, one, other)
    low, high = torch.minimum(one, other), torch.maximum(one, other)
    first = torch.where(way == 0, low, torch.where(way == 1, one, other))
    second = torch.where(way == 0, high, torch.where(way == 1, other, one))
    return first, second, way > 0


def _soft_colours(
    thumbnail: Float[Tensor, "*squares pixels 3"], palette: Float[Tensor, "colours 3"]
) -> tuple[Int[Tensor, "*squares"], Int[Tensor, "*squares"]]:
    """The two colours of a square that, with what is half-way between them, explain it best: of those that are nearest
    to most of its pixels. They are sorted."""
    nearest = torch.cdist(thumbnail, palette).argmin(-1)
    votes = torch.zeros(*nearest.shape[:-1], len(palette), device=palette.device)
    frequent = votes.scatter_add_(-1, nearest, torch.ones_like(thumbnail[..., 0])).topk(FREQUENT_SOFT).indices
    pairs = torch.tensor(list(combinations_with_replacement(range(FREQUENT_SOFT), 2)), device=palette.device)
    errors = torch.stack(
        [
            (thumbnail[..., None, :] - _three(*palette[frequent[..., pair]].unbind(-2))[..., None, :, :])
            .square()
            .sum(-1)
            .amin(-1)
            .mean(-1)
            for pair in pairs
        ],
        dim=-1,
    )
    alone = errors.masked_fill(pairs[:, 0] != pairs[:, 1], torch.inf)
    plain = alone.amin(-1) - errors.amin(-1) < PLAIN
    best = torch.where(plain, alone.argmin(-1), errors.argmin(-1))
    first, second = frequent.gather(-1, pairs[best]).unbind(-1)
    return torch.minimum(first, second), torch.maximum(first, second)


def _three(first: Float[Tensor, "*places 3"], second: Float[Tensor, "*places 3"]) -> Float[Tensor, "*places tones 3"]:
    """Two colours and what is half-way between them."""
    return torch.stack((first, second, (first + second) / 2), dim=-2)


def _tones(
    thumbnail: Float[Tensor, "*squares pixels 3"],
    parts: Float[Tensor, "*squares pixels parts 3"] | None,
    tones: Float[Tensor, "*squares tones 3"],
    two: Bool[Tensor, "*squares"],
    third: Bool[Tensor, "*squares"],
) -> Int[Tensor, "*squares pixels"]:
    """Which tone each pixel is nearest to, of those that its square has: two colours, a third tone. If parts are given,
    the third is the second in the shade, and a pixel is the first or the second as most of its parts are: fine stripes
    of white and grey are on the whole beige, and would be lost on it."""
    lacking = torch.stack((torch.zeros_like(two), ~two, ~third), dim=-1)
    colours = tones.masked_fill(lacking[..., None], torch.inf).unbind(-2)

    def errors(pixels: Float[Tensor, "*squares some 3"]) -> Float[Tensor, "tones *squares some"]:
        return torch.stack([_squared_distance(pixels, colour[..., None, :]) for colour in colours])

    of_all = errors(thumbnail)
    if parts is not None:
        of_first, *of_others = errors(parts.flatten(-3, -2))
        covered = torch.minimum(*of_others) < of_first
        share = covered.unflatten(-1, parts.shape[-3:-1]).float().mean(-1)
        of_all[0].masked_fill_(share > 0.5, torch.inf)
        of_all[1:].masked_fill_(share < 0.5, torch.inf)
    return of_all.min(0).indices  # argmin is many times as slow along this axis


def _squared_distance(one: Float[Tensor, "*#places 3"], other: Float[Tensor, "*#places 3"]) -> Float[Tensor, "..."]:
    """Channel by channel: a sum over an axis of three is slow."""
    red, green, blue = (a - b for a, b in zip(one.unbind(-1), other.unbind(-1), strict=True))
    return red.square_().add_(green.square_()).add_(blue.square_())


def _branches(colours: Float[Tensor, "colours 3"]) -> Int[Tensor, " colours"]:
    """The order of a k-d tree's leaves (Bentley 1975): halves along the axis on which colours differ most."""
    if len(colours) == 1:
        return torch.zeros(1, dtype=torch.int64)
    *_, axes = torch.linalg.svd(colours - colours.mean(0), full_matrices=False)
    halves = (colours @ axes[0]).argsort().chunk(2)
    return torch.cat([half[_branches(colours[half])] for half in halves])


def _k_means(
    points: Float[Tensor, "points axes"], weights: Float[Tensor, " points"], count: int
) -> tuple[Float[Tensor, "count axes"], Float[Tensor, " count"]]:
    """(centres, the weight of each). They set out from the points that lie farthest from those already chosen."""
    centres = points[weights.argmax()][None]
    while len(centres) < count:
        farthest = (torch.cdist(points, centres).min(1).values.square() * weights).argmax()
        centres = torch.cat((centres, points[farthest][None]))
    for _ in range(30):
        nearest = torch.cdist(points, centres).argmin(1)
        share = torch.zeros(count).index_add_(0, nearest, weights)
        total = torch.zeros(count, points.shape[1]).index_add_(0, nearest, points * weights[:, None])
        centres = torch.where(share[:, None] > 0, total / share[:, None].clamp_min(1e-9), centres)
    return centres, share
