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
from kinetoken.through_time import plus_through_time
from kinetoken.tokenizer.past import Past

FRAME_CHANNELS = 48
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
    pads = (
        *(0, grid.columns * cell.width - width),
        *(0, grid.rows * cell.height - height),
        *(cell.frames - 1, grid.frames(cell) - length),
    )
    padded = F.pad(rearrange(frames, "b t h w c -> b c t h w"), pads, mode="replicate")
    return rearrange(
        padded,
        "b c (t ft) (r fh) (k fw) -> b t r k (ft fh fw c)",
        ft=cell.frames,
        fh=cell.height,
        fw=cell.width,
    )


def frames_from_blocks(
    blocks: Float[Tensor, "batch time rows columns values"], cell: CellSize, *, begun: bool = False
) -> Float[Tensor, "batch frames height width 3"]:
    """Depth-to-space: the inverse of `blocks_from_frames`, before any cropping. Of the first block only the last frame
    is kept, unless others have come before."""
    frames = rearrange(
        blocks,
        "b t r k (ft fh fw c) -> b (t ft) (r fh) (k fw) c",
        ft=cell.frames,
        fh=cell.height,
        fw=cell.width,
    )
    return frames if begun else frames[:, cell.frames - 1 :]


class SpaceTimeBlock(nn.Module):
    """A residual block: a 3 x 3 convolution in space, then a causal one over (previous, present) in time.

    Factorised (2+1)-D convolutions as in R(2+1)D (Tran et al. 2018) and Cosmos (2025). The layer before the first is
    taken to be equal to the first, so that a still image and a still clip look alike.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = RMSNorm(channels)
        self.space = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.time = nn.Linear(2 * channels, channels)
        nn.init.zeros_(self.time.weight)
        nn.init.zeros_(self.time.bias)

    def forward(
        self, x: Float[Tensor, "batch time rows columns channels"], past: Past | None = None
    ) -> Float[Tensor, "batch time rows columns channels"]:
        """past: of the layers before these."""
        images = rearrange(self.norm(x), "b t r k c -> (b t) c r k")  # a view: this is torch's channels_last layout
        seen = F.silu(self.space(images), inplace=not torch.is_grad_enabled())
        layers = rearrange(seen, "(b t) c r k -> b t r k c", b=x.shape[0])
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


class PictureBlock(nn.Module):
    """A residual block within each picture: a 3 x 3 convolution, then a linear layer. It starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = RMSNorm(channels)
        self.space = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.leave = nn.Linear(channels, channels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self, x: Float[Tensor, "pictures rows columns channels"]
    ) -> Float[Tensor, "pictures rows columns channels"]:
        images = rearrange(self.norm(x), "n r k c -> n c r k")
        seen = F.silu(self.space(images), inplace=not torch.is_grad_enabled())
        return x + self.leave(rearrange(seen, "n c r k -> n r k c"))


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
        blocks: Float[Tensor, "batch time rows columns values"],
        told: Float[Tensor, "batch time rows columns values_in"],
    ) -> Float[Tensor, "batch time rows columns values"]:
        """Blocks whose last frame is corrected. told: what is known of each cell beside its pixels."""
        *between, drawn = blocks.split(3 * self.cell.height * self.cell.width, dim=-1)
        quarters = {"v": 2, "u": 2, "y": self.cell.height // 2, "x": self.cell.width // 2}
        pixels = rearrange(drawn, "b t r k (v y u x c) -> (b t) (r v) (k u) (y x c)", c=3, **quarters)
        x = self.see(pixels) + rearrange(self.enter(told), "b t r k (v u c) -> (b t) (r v) (k u) c", v=2, u=2)
        corrections = rearrange(
            self.leave(self.norm(self.blocks(x))),
            "(b t) (r v) (k u) (y x c) -> b t r k (v y u x c)",
            b=len(blocks),
            c=3,
            **quarters,
        )
        return torch.cat((*between, drawn + corrections), dim=-1)

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
        blocks: Float[Tensor, "batch time rows columns values"],
        features: Float[Tensor, "batch frames rows columns channels"],
        past: Past | None = None,
    ) -> Float[Tensor, "batch time rows columns values"]:
        cell = self.cell
        drawn = rearrange(
            blocks, "b t r k (f h w c) -> b t f c (r h) (k w)", f=cell.frames, h=cell.height, w=cell.width
        )
        between, ends = drawn[:, :, :-1], drawn[:, :, -1:]
        if not between.shape[2]:
            return blocks
        moving = rearrange(features, "b (t f) r k v -> b t f r k v", f=cell.frames)[:, :, :-1]
        said = rearrange(self.leave(moving), "b t f r k (v h w) -> b t f v (r h) (k w)", h=cell.height, w=cell.width)
        from_before, from_end, shares = said.split((2, 2, 3), dim=3)
        all_ends = ends if past is None else past.joined(self, ends)
        before = all_ends[:, _previous(all_ends.shape[1], ends.shape[1])]
        pictures = torch.stack((between, _fetched(before, from_before), _fetched(ends, from_end)), dim=3)
        mixed = (pictures * shares.softmax(3)[:, :, :, :, None]).sum(3)
        return rearrange(
            torch.cat((mixed, ends), dim=2),
            "b t f c (r h) (k w) -> b t r k (f h w c)",
            h=cell.height,
            w=cell.width,
        )


def _fetched(
    pictures: Float[Tensor, "batch time 1 channels height width"],
    way: Float[Tensor, "batch time frames 2 height width"],
) -> Float[Tensor, "batch time frames channels height width"]:
    """Every pixel of every frame from so many of FAR (right, down) away in its layer's picture, bilinearly; beyond the
    edge the picture goes on as it ends."""
    batch, time, frames, _, height, width = way.shape
    size = way.new_tensor((width, height))
    down, right = torch.meshgrid(*(torch.arange(side, device=way.device) for side in (height, width)), indexing="ij")
    here = torch.stack((right, down), dim=-1) + 0.5
    places = (here + FAR * rearrange(way, "b t f v h w -> (b t f) h w v")) * (2 / size) - 1
    source = pictures.expand(-1, -1, frames, -1, -1, -1).flatten(0, 2)
    fetched = F.grid_sample(source, places, padding_mode="border", align_corners=False)
    return fetched.unflatten(0, (batch, time, frames))


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
    """Vectors to blocks of pixels: a linear map of what a `Stack` makes of them, corrected by `Frames`, the ends of
    layers by `Pictures`, and what moves carried along (`Between`)."""

    def __init__(
        self,
        cell: CellSize,
        channels: int,
        blocks: int,
        width: int,
        *,
        frame_blocks: int,
        picture_blocks: int,
        carries: bool,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.stack = Stack(width, channels, blocks, 3 * cell.pixels + FRAME_CHANNELS * cell.frames)
        self.frames = Frames(cell.frames, FRAME_CHANNELS * cell.frames, FRAME_CHANNELS, frame_blocks, 3 * cell.pixels)
        self.pictures: Pictures | None = None
        if picture_blocks:
            self.pictures = Pictures(cell, width + FRAME_CHANNELS, FRAME_CHANNELS, picture_blocks)
        self.between = Between(cell, FRAME_CHANNELS) if carries else None
        nn.init.zeros_(self.frames.leave.weight)
        nn.init.zeros_(self.frames.leave.bias)

    def forward(
        self,
        vectors: Float[Tensor, "batch time rows columns width"],
        rough: Float[Tensor, "batch time rows columns values"] | None = None,
        past: Past | None = None,
    ) -> Float[Tensor, "batch time rows columns values"]:
        """rough: what is to be corrected; nothing if None. past: of the layers before these, if there are any."""
        count = self.cell.frames
        frames, blocks = self.stack(vectors, past).tensor_split((self.frames.enter.in_features * count,), dim=-1)
        features, values = self.frames(rearrange(frames, "b t r k (f v) -> b (t f) r k v", f=count), past)
        blocks = blocks + rearrange(values, "b (t f) r k v -> b t r k (f v)", f=count)
        blocks = blocks if rough is None else blocks + rough
        if self.pictures is not None:
            blocks = self.pictures(blocks, torch.cat((vectors, features[:, count - 1 :: count]), dim=-1))
        return blocks if self.between is None else self.between(blocks, features, past)

    @property
    def reach(self) -> int:
        """How many layers of cells it looks back in time: one for each block of its stack, as many as its frames need,
        and one for the picture from which things are carried."""
        return len(self.stack.blocks) + 2 + ceil(len(self.frames.blocks) / self.cell.frames) + 1

    def flops(self, cells: int) -> float:
        framewise = (self.frames,) if self.between is None else (self.frames, self.between)
        pictures = 0.0 if self.pictures is None else self.pictures.flops(cells)
        return self.stack.flops(cells) + 2.0 * cells * self.cell.frames * _weights(*framewise) + pictures


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
