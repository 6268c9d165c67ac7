"""VideoTokenizer: a clip to a grid of codes, and back."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import log2

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from kinetoken.clip import Clip
from kinetoken.grid import CellSize, GridShape, layers_of_loop, picked, stretched
from kinetoken.tokenizer.layers import Decoder, Encoder, blocks_from_frames
from kinetoken.tokenizer.mosaic import STILLS, Mosaic
from kinetoken.tokenizer.past import Past
from kinetoken.tokenizer.quantizer import Quantized, Quantizer, QuantizerConfig
from kinetoken.tokenizer.refining import refined


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """channels: the decoder's width at the grid's resolution. encoder_blocks: layers within a block of pixels.
    decoder_blocks: the wide ones, at half the grid's resolution. frame_channels: the decoder's width at the rate of the
    frames and at twice the grid's resolution. frame_blocks: those at the rate of the frames. picture_blocks: those at
    twice the grid's resolution that correct the pictures at the ends of layers (`Pictures`); 0 for none. carries:
    whether the decoder carries what moves from there to the frames between (`Between`). A mosaic has no encoder, and is
    decoded to itself, enlarged, and what the decoder adds to that. sees_before: whether what it notices of motion is
    told by the frame before a cell's own, too."""

    cell: CellSize = field(default_factory=CellSize)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    channels: int = 64
    encoder_blocks: int = 3
    decoder_blocks: int = 3
    frame_channels: int = 48
    frame_blocks: int = 2
    picture_blocks: int = 0
    carries: bool = True
    sees_before: bool = False

    def __post_init__(self) -> None:
        sizes = self.channels, self.encoder_blocks, self.decoder_blocks, self.frame_channels, self.frame_blocks
        if min(sizes) < 1:
            raise ValueError(f"a tokenizer needs at least one channel and one block on each side, found {self}")
        if self.picture_blocks < 0:
            raise ValueError(f"picture_blocks cannot be negative, found {self.picture_blocks}")


class VideoTokenizer(nn.Module):
    """Pixels are float32 in [-1, 1], batch x frames x height x width x 3. Codes are int64 in [0, quantizer.codes).

    A code tells of its own block of pixels alone; if it `sees_before`, its digit of motion tells of the frame before,
    too. Decoding is causal: a frame does not depend on later blocks. So a long video can be encoded and decoded piece
    by piece (`encode_stream`, `decode_stream`), each part of the decoder remembering what it looks back at.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: Encoder | nn.Identity = nn.Identity()
        self.quantizer: Quantizer | Mosaic
        if config.quantizer.is_mosaic:
            self.quantizer = Mosaic(
                config.cell, soft=config.quantizer.kind == "soft-mosaic", sees_before=config.sees_before
            )
        else:
            self.encoder = Encoder(config.cell, config.channels, config.encoder_blocks, config.quantizer.width)
            self.quantizer = Quantizer(config.quantizer)
        self.decoder = Decoder(
            config.cell,
            config.channels,
            config.decoder_blocks,
            config.quantizer.width,
            frame_channels=config.frame_channels,
            frame_blocks=config.frame_blocks,
            picture_blocks=config.picture_blocks,
            carries=config.carries,
        )
        if isinstance(self.quantizer, Mosaic):  # the decoder sets out from adding nothing
            nn.init.zeros_(self.decoder.stack.leave.weight)
            nn.init.zeros_(self.decoder.stack.leave.bias)

    def settle(self, clips: Iterable[Float[Tensor, "batch frames height width 3"]]) -> None:
        """What comes before training: the palette of a mosaic is chosen from clips. Learned codes ask for none."""
        if isinstance(self.quantizer, Mosaic):
            self.quantizer.fit(blocks_from_frames(frames, self.config.cell) for frames in clips)

    def quantize(self, frames: Float[Tensor, "batch frames height width 3"]) -> Quantized:
        return self.quantizer(self.encoder(blocks_from_frames(frames, self.config.cell)))

    def reconstruct(
        self, quantized: Float[Tensor, "batch time rows columns width"], past: Past | None = None
    ) -> Float[Tensor, "b t h w 3"]:
        """Pixels of the whole grid, unclamped and uncropped. past: of the layers before these."""
        rough = self.quantizer.enlarged(quantized) if isinstance(self.quantizer, Mosaic) else None
        frames: Tensor = self.decoder(quantized, rough, past)
        return frames

    @torch.inference_mode()
    def encode(
        self, frames: Float[Tensor, "batch frames height width 3"], *, loop: bool = False
    ) -> Int[Tensor, "batch time rows columns"]:
        """loop: time is a circle, and the frames must be those of whole layers."""
        if not loop:
            if isinstance(self.quantizer, Mosaic):  # what its codes say need not be looked up
                return self.quantizer.codes(blocks_from_frames(frames, self.config.cell))[0]
            return self.quantize(frames).codes
        layers = layers_of_loop(frames.shape[1], self.config.cell)
        assert frames.shape[1] == layers * self.config.cell.frames, "a circle has whole layers"
        return self.encode(frames[:, self._frames_around(layers)])[:, -layers:]

    @torch.inference_mode()
    def decode(
        self, codes: Int[Tensor, "batch time rows columns"], *, loop: bool = False, past: Past | None = None
    ) -> Float[Tensor, "batch frames height width 3"]:
        """loop: time is a circle: `cell.frames` frames for every layer, the first one's too. past: of the codes that
        these go on from; what was decoded of those is not decoded again."""
        if not loop:
            return self.reconstruct(self.quantizer.lookup(codes), past).clamp_(-1, 1)
        frames = self.decode(codes[:, self._layers_around(codes.shape[1])])
        return frames[:, -codes.shape[1] * self.config.cell.frames :]

    @torch.inference_mode()
    def last_frame(self, codes: Int[Tensor, "batch time rows columns"]) -> Int[Tensor, "batch 1 rows columns"]:
        """Codes of an image of the last frame. A mosaic's layer is that already, and how it moved."""
        if isinstance(self.quantizer, Mosaic):
            return codes[:, -1:] % STILLS
        return self.encode(self.decode(codes)[:, -1:])

    def looks(self, codes: Int[Tensor, "clips time rows columns"]) -> Float[Tensor, "codes values"]:
        """What each code looks like where it occurs in these clips: the mean of its decoded blocks of pixels. Of codes
        that do not occur, the mean of all."""
        total = torch.zeros(self.config.quantizer.codes, 3 * self.config.cell.pixels)
        count = torch.zeros(len(total), 1)
        for clips in codes.split(8):
            blocks = blocks_from_frames(self.decode(clips.to(self.device)).cpu(), self.config.cell)
            total.index_add_(0, clips.flatten(), blocks.flatten(0, 3))
            count += torch.bincount(clips.flatten(), minlength=len(count))[:, None]
        return torch.where(count > 0, total / count.clamp_min(1), total.sum(0) / count.sum())

    def _layers_around(self, layers: int) -> Int[np.ndarray, " more_layers"]:
        """On a circle of time the decoder looks back around it, no further than `reach`: this is the same as going
        around for so many layers, and then once more for the result."""
        return np.arange(-self.decoder.reach, layers) % layers

    def _frames_around(self, layers: int) -> Int[np.ndarray, " more_frames"]:
        """One frame more than whole layers, for the first stands alone."""
        return np.arange(-1, layers * self.config.cell.frames) % (layers * self.config.cell.frames)

    # Clips

    def encode_clip(self, clip: Clip, *, loop: bool = False, refine: int = 0) -> Int[Tensor, "time rows columns"]:
        """loop: time is a circle; to fill its last layer, up to `cell.frames` - 1 frames are held for one more. refine:
        as `encode_stream` does. Raises: ValueError if a loop is to be refined, or learned codes are."""
        if loop and refine:
            raise ValueError("loops cannot be refined: encode them as they are")
        if not loop:
            return torch.cat(list(self.encode_stream(iter(clip.frames), refine=refine)))
        layers = layers_of_loop(len(clip), self.config.cell)
        turn = stretched(len(clip), layers * self.config.cell.frames)
        around = (clip.frames[turn[index]] for index in self._frames_around(layers))
        return torch.cat(list(self.encode_stream(around)))[-layers:]

    def decode_clip(
        self,
        codes: Int[Tensor, "time rows columns"],
        *,
        fps: float,
        frames: int,
        height: int,
        width: int,
        loop: bool = False,
    ) -> Clip:
        """Exactly `frames` x `height` x `width`; the grid may cover more, never less. loop: time is a circle, of
        exactly as many layers as `frames` need; of what it decodes to, `frames` are picked evenly.

        Raises: ValueError if the grid is too small for what was asked, or a circle too large.
        """
        needed = GridShape.of_clip(frames, height, width, self.config.cell, loop=loop)
        if loop and len(codes) != needed.time:
            raise ValueError(f"a loop of {frames} frames has {needed.time} layers of codes, found {len(codes)}")
        if any(have < need for have, need in zip(codes.shape, needed.sizes, strict=True)):
            raise ValueError(
                f"{frames} frames of {width} x {height} need a grid of {needed}, found {tuple(codes.shape)}"
            )
        if loop:
            turn = needed.frames(self.config.cell, loop=True)
            around = np.concatenate(list(self.decode_stream([codes[self._layers_around(needed.time)]])))
            pixels = around[-turn:][picked(frames, turn)]
        else:
            pixels = np.concatenate(list(self.decode_stream([codes[: needed.time]])))
        return Clip(frames=np.ascontiguousarray(pixels[:frames, :height, :width]), fps=fps)

    def encode_stream(
        self, frames: Iterable[UInt8[np.ndarray, "height width 3"]], *, layers: int = 16, refine: int = 0
    ) -> Iterator[Int[Tensor, "_ rows columns"]]:
        """Codes of a video of any length in bounded memory, at most `layers` layers of cells at a time. refine: in so
        many turns those are looked for that decode to less error (`refined`).

        Raises: ValueError for learned codes that are to be refined.
        """
        mosaic = self.quantizer if refine else None
        if mosaic is not None and not isinstance(mosaic, Mosaic):
            raise ValueError(f"only mosaics can be refined, found codes of kind {self.config.quantizer.kind}")
        source, step = iter(frames), self.config.cell.frames
        past: list[UInt8[np.ndarray, "height width 3"]] = []  # one frame, in whose place the first may stand alone
        while piece := list(islice(source, layers * step if past else 1 + (layers - 1) * step)):
            pixels = _pixels(np.stack(past + piece), self.device)[None]
            codes = self.encode(pixels)
            if mosaic is not None:
                codes = refined(mosaic, self.reconstruct, pixels, codes, turns=refine)
            yield codes[0, len(past) :]
            past = piece[-1:]

    def decode_stream(
        self, codes: Iterable[Int[Tensor, "_ rows columns"]], *, layers: int = 16
    ) -> Iterator[UInt8[np.ndarray, "_ height width 3"]]:
        """Frames of a grid that arrives in pieces, each piece decoded once it is there."""
        past = Past()
        for piece in (part for whole in codes for part in whole.split(layers)):
            yield _bytes(self.decode(piece[None].to(self.device), past=past)[0])

    @property
    def device(self) -> torch.device:
        return self.decoder.stack.leave.weight.device

    def flops(self, grid: GridShape) -> float:
        """Multiply-adds counted as two, to encode and decode a clip of that grid."""
        encoding = self.encoder.flops(grid.cells) if isinstance(self.encoder, Encoder) else 0.0
        return encoding + self.decoder.flops(grid.cells)

    def bits_per_pixel(self, frames: int, height: int, width: int) -> float:
        """Bits of the grid of codes for each pixel of the clip (a pixel is one place of one frame). All codes of a
        layer count as equally likely."""
        grid, quantizer = GridShape.of_clip(frames, height, width, self.config.cell), self.config.quantizer
        layers = log2(quantizer.still_codes) + (grid.time - 1) * log2(quantizer.codes)
        return grid.rows * grid.columns * layers / (frames * height * width)


def _pixels(frames: UInt8[np.ndarray, "*frames 3"], device: torch.device) -> Float[Tensor, "*frames 3"]:
    return torch.from_numpy(frames).to(device).float() / 127.5 - 1


def _bytes(pixels: Float[Tensor, "*frames 3"]) -> UInt8[np.ndarray, "*frames 3"]:
    return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
