"""The tokenizer's parts. Every tensor is channels-last: batch x time x rows x columns x channels.

Pixels are gathered into blocks of one cell each before the first weight is applied, so that all layers work at the
grid's resolution or at half of it: a few large matrix products, which is what processors are fastest at.
"""

from math import ceil

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kinetoken.grid import CellSize, GridShape
from kinetoken.norm import RMSNorm
from kinetoken.space import SpaceBlock
from kinetoken.through_time import plus_through_time
from kinetoken.tokenizer.past import Past

DRAWN = 2.0  # the logit of what is drawn against what is carried, to begin with
FAR = 4.0  # pixels: the unit in which it is said how far something is carried
BLOCK_WIDTH = 4  # channels of the encoder for each one of the decoder: no place of it sees another
COARSE_WIDTH = 3  # channels at half resolution for each one at the grid's: nine times the work on a quarter of places


def blocks_from_frames(
    frames: Float[Tensor, "batch frames height width 3"], cell: CellSize
) -> Float[Tensor, "batch time rows columns values"]:
    """Space-to-depth. The first frame stands alone, so it is repeated to fill its block; the last frame, row and column
    are repeated to fill theirs."""
    _, length, height, width, _ = frames.shape
    grid = GridShape.of_clip(length, height, width, cell)
    ends = (
        (cell.frames - 1, grid.frames(cell) - length),
        (0, grid.rows * cell.height - height),
        (0, grid.columns * cell.width - width),
    )
    for axis, (before, after) in enumerate(ends, start=1):
        if before or after:
            frames = torch.cat(
                (frames.narrow(axis, 0, 1),) * before + (frames,) + (frames.narrow(axis, -1, 1),) * after, dim=axis
            )
    return rearrange(
        frames,
        "b (t ft) (r fh) (k fw) c -> b t r k (ft fh fw c)",
        ft=cell.frames,
        fh=cell.height,
        fw=cell.width,
    )


def pictures_of(
    cells: Float[Tensor, "*layers rows columns values"], cell: CellSize
) -> Float[Tensor, "*layers 3 height width"]:
    """Depth-to-space, of frames whose cells' pixels are given."""
    return rearrange(cells, "... r k (h w c) -> ... c (r h) (k w)", h=cell.height, w=cell.width)


class SpaceTimeBlock(SpaceBlock):
    """A residual block: a 3 x 3 convolution in space, then a causal one over (previous, present) in time.

    Factorised (2+1)-D convolutions as in R(2+1)D (Tran et al. 2018) and Cosmos (2025). The layer before the first is
    taken to be equal to the first, so that a still image and a still clip look alike.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.time = nn.Linear(2 * channels, channels)
        nn.init.zeros_(self.time.weight)
        nn.init.zeros_(self.time.bias)

    def forward(
        self, x: Float[Tensor, "batch time rows columns channels"], past: Past | None = None
    ) -> Float[Tensor, "batch time rows columns channels"]:
        """past: of the layers before these."""
        layers = self.seen(x)
        if past is not None:
            layers = past.joined(self, layers)
        count, time = layers.shape[1], x.shape[1]
        return plus_through_time(x, self.time, layers, _previous(count, time), range(count - time, count))


def _previous(layers: int, time: int) -> list[int]:
    """The layer before each of the last `time` of so many. The first is before itself."""
    return [max(layer - 1, 0) for layer in range(layers - time, layers)]


class SpaceTimeBlocks(nn.ModuleList):
    """One after another."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__(SpaceTimeBlock(channels) for _ in range(count))

    def forward(
        self, x: Float[Tensor, "batch time rows columns channels"], past: Past | None = None
    ) -> Float[Tensor, "batch time rows columns channels"]:
        for block in self:
            x = block(x, past)
        return x


class Frames(nn.Module):
    """Residual blocks at the rate of the frames, where a cell's pixels are `frames` places and not one: what moves fast
    has little in common from one end of a cell's time to the other."""

    def __init__(self, frames: int, values_in: int, channels: int, blocks: int, values_out: int) -> None:
        super().__init__()
        self.enter = nn.Linear(values_in // frames, channels)
        self.blocks = SpaceTimeBlocks(channels, blocks)
        self.norm = RMSNorm(channels)
        self.leave = nn.Linear(channels, values_out // frames)

    def forward(
        self, frames: Float[Tensor, "batch frames rows columns values_in"], past: Past | None = None
    ) -> tuple[Float[Tensor, "batch frames rows columns channels"], Float[Tensor, "batch frames rows columns values"]]:
        """(features, values) of each frame."""
        features = self.norm(self.blocks(self.enter(frames), past))
        return features, self.leave(features)


class PictureBlock(SpaceBlock):
    """A residual block within each picture: a 3 x 3 convolution, then a linear layer. It starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.leave = nn.Linear(channels, channels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self, x: Float[Tensor, "batch time rows columns channels"]
    ) -> Float[Tensor, "batch time rows columns channels"]:
        return plus_through_time(x, self.leave, self.seen(x), range(x.shape[1]))  # of time each sees itself alone


class Pictures(nn.Module):
    """Pictures at the ends of layers, corrected at twice the grid's resolution (as in single-image super-resolution:
    EDSR, Lim et al. 2017). A place is a quarter of a cell, a mosaic's pixel of the thumbnail: an edge is drawn by the
    same rule wherever in its cell it lies. It starts as nothing.
    """

    def __init__(self, cell: CellSize, values_in: int, channels: int, blocks: int) -> None:
        super().__init__()
        if cell.height % 2 or cell.width % 2:
            raise ValueError(f"pictures are corrected in quarters of cells, which need even sides, found {cell}")
        self.cell = cell
        pixels = 3 * cell.height * cell.width // 4
        self.see = nn.Linear(pixels, channels)
        self.enter = nn.Linear(values_in, 4 * channels)
        self.blocks = nn.Sequential(*(PictureBlock(channels) for _ in range(blocks)))
        self.norm = RMSNorm(channels)
        self.leave = nn.Linear(channels, pixels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        drawn: Float[Tensor, "batch time rows columns values"],
        told: Float[Tensor, "batch time rows columns values_in"],
    ) -> Float[Tensor, "batch time 3 height width"]:
        """The corrections. told: what is known of each cell beside its pixels."""
        sides = {"y": self.cell.height // 2, "x": self.cell.width // 2}
        pixels = rearrange(drawn, "b t r k (v y u x c) -> b t (r v) (k u) (y x c)", v=2, u=2, c=3, **sides)
        x = self.see(pixels)
        quarters = rearrange(x, "b t (r v) (k u) c -> b t r v k u c", v=2, u=2)  # a view: added to where x lies
        quarters += rearrange(self.enter(told), "b t r k (v u c) -> b t r v k u c", v=2, u=2)
        corrections = self.leave(self.norm(self.blocks(x)))
        return rearrange(corrections, "b t r k (y x c) -> b t c (r y) (k x)", c=3, **sides)

    def flops(self, cells: int) -> float:
        """Multiply-adds counted as two, for the picture of each of `cells` cells."""
        return 2.0 * cells * (_weights(self.enter) + 4 * _weights(self.see, self.blocks, self.leave))


class Between(nn.Module):
    """Frames between the ends of two layers: of what was drawn for them and of the pictures at both ends, each pixel
    of these fetched from where it has been or will be, a mixture (as frames are interpolated: Super SloMo, Jiang et al.
    2018). What moves keeps its outline, which convolutions that know where it was and where it is smear over the way.
    It sets out from DRAWN and no motion.
    """

    def __init__(self, cell: CellSize, channels: int) -> None:
        super().__init__()
        self.cell = cell
        self.leave = nn.Linear(channels, (2 * 2 + 3) * cell.height * cell.width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        self.leave.bias.data[-3 * cell.height * cell.width : -2 * cell.height * cell.width] = DRAWN

    def forward(
        self,
        drawn: Float[Tensor, "batch time 3 frames height width"],
        features: Float[Tensor, "batch time frames rows columns channels"],
        before: Float[Tensor, "batch time 3 height width"],
        ends: Float[Tensor, "batch time 3 height width"],
    ) -> Float[Tensor, "batch time 3 frames height width"]:
        """before, ends: pictures at the ends of the layers before these, and of these."""
        sides = {"h": self.cell.height, "w": self.cell.width}
        ways, shares = self._said(features)
        from_before, from_end = rearrange(ways, "b t f r k (n h w v) -> n (b t) (f r h) (k w) v", n=2, v=2, **sides)
        of_drawn, of_before, of_end = rearrange(
            shares, "b t f r k (n h w) -> n b t 1 f (r h) (k w)", n=3, **sides
        ).softmax(0)
        mixed = torch.addcmul(of_drawn * drawn, of_before, _fetched(before, from_before).view_as(drawn))
        return torch.addcmul(mixed, of_end, _fetched(ends, from_end).view_as(drawn))

    def _said(self, features: Float[Tensor, "batch time frames rows columns channels"]) -> tuple[Tensor, ...]:
        """(ways, shares) of each cell. The two numbers of a way are asked for side by side, as they are used: so many
        pairs are slow to bring together afterwards."""
        ways = 2 * 2 * self.cell.height * self.cell.width
        weight, bias = (
            torch.cat((rearrange(of[:ways], "(n v p) ... -> (n p v) ...", n=2, v=2), of[ways:]))
            for of in (self.leave.weight, self.leave.bias)
        )
        said = F.linear(features.flatten(0, -2), weight, bias)  # as one matrix: parts of a tensor would be many
        return said.unflatten(0, features.shape[:-1]).tensor_split((ways,), dim=-1)


def _fetched(
    pictures: Float[Tensor, "batch time 3 height width"], way: Float[Tensor, "pictures frames_down width 2"]
) -> Float[Tensor, "pictures 3 frames_down width"]:
    """Every pixel of several frames, one below the other, from so many of FAR (right, down) away in its layer's
    picture, bilinearly; beyond the edge the picture goes on as it ends."""
    source = pictures.flatten(0, 1)
    height, width = source.shape[2:]
    size = way.new_tensor((width, height))
    down, right = torch.meshgrid(*(torch.arange(side, device=way.device) for side in (height, width)), indexing="ij")
    here = (torch.stack((right, down), dim=-1) + 0.5) * (2 / size) - 1
    scale = (2 * FAR / size).expand_as(here).contiguous()  # to be stretched along an axis of two is slow
    places = torch.addcmul(here, way.unflatten(1, (-1, height)), scale)
    return F.grid_sample(source, places.flatten(1, 2), padding_mode="border", align_corners=False)


class Stack(nn.Module):
    """An hourglass at the grid's rate, the middle of the decoder. One residual block at the grid's resolution, `blocks`
    wider ones at half of it, and one more at the grid's resolution, which sees both.

    Most of the weights work where there is a quarter of the places, and where one block sees twice as far: an object
    that crosses ten cells in the time of one needs that.
    """

    def __init__(self, values_in: int, channels: int, blocks: int, values_out: int) -> None:
        super().__init__()
        wide = COARSE_WIDTH * channels
        self.enter = nn.Linear(values_in, channels)
        self.before = SpaceTimeBlock(channels)
        self.down = nn.Linear(4 * channels, wide)
        self.blocks = SpaceTimeBlocks(wide, blocks)
        self.coarse_norm = RMSNorm(wide)
        self.up = nn.Linear(wide, 4 * channels)
        self.after = SpaceTimeBlock(channels)
        self.norm = RMSNorm(channels)
        self.leave = nn.Linear(channels, values_out)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(
        self, x: Float[Tensor, "batch time rows columns values_in"], past: Past | None = None
    ) -> Float[Tensor, "batch time rows columns values_out"]:
        x = self.before(self.enter(x), past)
        fours = rearrange(_evened(x), "b t (r pr) (k pk) c -> b t r k (pr pk c)", pr=2, pk=2)
        coarse = self.up(self.coarse_norm(self.blocks(self.down(fours), past)))
        back = rearrange(coarse, "b t r k (pr pk c) -> b t (r pr) (k pk) c", pr=2, pk=2)
        return self.leave(self.norm(self.after(x + back[:, :, : x.shape[2], : x.shape[3]], past)))

    def flops(self, cells: int) -> float:
        """Multiply-adds counted as two, for one pass over `cells` cells."""
        fine = _weights(self.enter, self.before, self.after, self.leave)
        return 2.0 * cells * (fine + _weights(self.down, self.blocks, self.up) / 4)


class BlockLayer(nn.Module):
    """A residual layer within one block: x + a layer of twice the width. It starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.enter = nn.Linear(width, 2 * width)
        self.leave = nn.Linear(2 * width, width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Float[Tensor, "*cells width"]) -> Float[Tensor, "*cells width"]:
        return x + self.leave(F.silu(self.enter(self.norm(x))))


class Encoder(nn.Module):
    """Blocks of pixels to vectors, every block by itself: a code tells of its own pixels and of nothing else.

    An encoder that sees its surroundings fits a clip half a dB better, and its codes are riddles: what a cell is called
    depends on what happens beside it. Of these the same ground has the same code everywhere, and an edge can be told
    from its neighbours for two thirds of the price (docs/journal.md). And a known code gives nothing away of pixels
    that are to be made anew.
    """

    def __init__(self, cell: CellSize, channels: int, blocks: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(3 * cell.pixels, BLOCK_WIDTH * channels)
        self.blocks = nn.Sequential(*(BlockLayer(BLOCK_WIDTH * channels) for _ in range(blocks)))
        self.norm = RMSNorm(BLOCK_WIDTH * channels)
        self.leave = nn.Linear(BLOCK_WIDTH * channels, width)

    def forward(
        self, blocks: Float[Tensor, "batch time rows columns values"]
    ) -> Float[Tensor, "batch time rows columns width"]:
        return self.leave(self.norm(self.blocks(self.enter(blocks))))

    def flops(self, cells: int) -> float:
        return 2.0 * cells * _weights(self)


class Decoder(nn.Module):
    """Vectors to frames: a linear map of what a `Stack` makes of them, corrected by `Frames`, the ends of layers by
    `Pictures`, and what moves carried along (`Between`)."""

    def __init__(
        self,
        cell: CellSize,
        channels: int,
        blocks: int,
        width: int,
        *,
        frame_channels: int,
        frame_blocks: int,
        picture_blocks: int,
        carries: bool,
    ) -> None:
        super().__init__()
        self.cell = cell
        features, pixels = frame_channels * cell.frames, 3 * cell.pixels
        self.stack = Stack(width, channels, blocks, features + pixels)
        self.frames = Frames(cell.frames, features, frame_channels, frame_blocks, pixels)
        self.pictures: Pictures | None = None
        if picture_blocks:
            self.pictures = Pictures(cell, width + frame_channels, frame_channels, picture_blocks)
        self.between = Between(cell, frame_channels) if carries else None
        nn.init.zeros_(self.frames.leave.weight)
        nn.init.zeros_(self.frames.leave.bias)

    def forward(
        self,
        vectors: Float[Tensor, "batch time rows columns width"],
        rough: Float[Tensor, "batch time rows columns values"] | None = None,
        past: Past | None = None,
    ) -> Float[Tensor, "b t h w 3"]:
        """rough: the pixels that each cell's frames are to be corrected from; nothing if None. past: of the layers
        before these, if there are any; else the first layer has one frame."""
        count, begun = self.cell.frames, past is not None and past.begun
        frames, blocks = self.stack(vectors, past).tensor_split((self.frames.enter.in_features * count,), dim=-1)
        features, values = self.frames(rearrange(frames, "b t r k (f v) -> b (t f) r k v", f=count), past)
        drawn = values.unflatten(1, (-1, count))
        drawn += rearrange(blocks, "b t r k (f v) -> b t f r k v", f=count)
        if rough is not None:
            drawn += rough[:, :, None]
        features, last = features.unflatten(1, (-1, count)), drawn[:, :, -1]
        ends = pictures_of(last, self.cell)
        if self.pictures is not None:
            ends = ends + self.pictures(last, torch.cat((vectors, features[:, :, -1]), dim=-1))
        later = slice(0 if begun else 1, None)
        between = rearrange(pictures_of(drawn[:, later, :-1], self.cell), "b t f c h w -> b t c f h w")
        if self.between is not None:
            all_ends = ends if past is None else past.joined(self.between, ends)
            before = all_ends[:, _previous(all_ends.shape[1], ends.shape[1])][:, later]
            if between.numel():
                between = self.between(between, features[:, later, :-1], before, ends[:, later])
        return _in_turn(between, ends, begun)

    @property
    def reach(self) -> int:
        """How many layers of cells it looks back in time: one for each block of its stack, as many as its frames need,
        and one for the picture from which things are carried."""
        return len(self.stack.blocks) + 2 + ceil(len(self.frames.blocks) / self.cell.frames) + 1

    def flops(self, cells: int) -> float:
        framewise = (self.frames,) if self.between is None else (self.frames, self.between)
        pictures = 0.0 if self.pictures is None else self.pictures.flops(cells)
        return self.stack.flops(cells) + 2.0 * cells * self.cell.frames * _weights(*framewise) + pictures


def _in_turn(
    between: Float[Tensor, "batch later 3 frames height width"],
    ends: Float[Tensor, "batch time 3 height width"],
    begun: bool,
) -> Float[Tensor, "batch all_frames height width 3"]:
    """Each layer's frames before its end; of the first layer, unless others have come before, the end alone. Colours
    stay in planes, where they are: the last axis is a view."""
    frames = [] if begun else [ends[:, :1]]
    for layer, end in zip(between.unbind(1), ends[:, len(frames) :].unbind(1), strict=True):
        frames += [layer.transpose(1, 2), end[:, None]]
    return torch.cat(frames, dim=1).permute(0, 1, 3, 4, 2)


def _weights(*modules: nn.Module) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


def _evened(
    x: Float[Tensor, "batch time rows columns channels"],
) -> Float[Tensor, "batch time even_rows even_columns channels"]:
    """The last row and column repeated where their number is odd."""
    if x.shape[2] % 2:
        x = torch.cat((x, x[:, :, -1:]), dim=2)
    if x.shape[3] % 2:
        x = torch.cat((x, x[:, :, :, -1:]), dim=3)
    return x
