"""Quantizers: vectors to codes and back, always in fp32. Finite scalar quantization is a few lines and is written here;
of the other kinds vector-quantize-pytorch does the work, and takes two seconds to import. Every kind gets the same
verbs, and several codebooks of one cell (residual stages) become one integer by mixed radix."""

from dataclasses import dataclass
from math import prod
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Kind = Literal["mosaic", "soft-mosaic", "fsq", "lfq", "bsq", "residual-fsq", "ema-vq"]
MOSAIC_DIGITS = (8, 3, 3, 3, 3, 3)  # a digit of a colour, the tones of four pixels, how it moves


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    """kind: fsq (Mentzer et al. 2023), lfq (Yu et al. 2023), bsq (Zhao et al. 2024), residual-fsq or ema-vq (van den
    Oord et al. 2017), which quantize what an encoder has learned; or mosaic or soft-mosaic, which need none
    (mosaic.py).
    levels: values per axis, for the fsq kinds. bits: code width of lfq, bsq and ema-vq. stages: codebooks of
    residual-fsq."""

    kind: Kind = "fsq"
    levels: tuple[int, ...] = (8, 5, 5, 5)
    bits: int = 10
    stages: int = 2

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown quantizer {self.kind!r}: choose {', '.join(get_args(Kind))}")
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"every level of a quantizer must be at least 2, found {self.levels}")
        if not 1 <= self.bits <= 18 or self.stages < 1:
            raise ValueError(f"a quantizer needs 1 to 18 bits and at least 1 stage, found {self.bits}, {self.stages}")

    @property
    def is_mosaic(self) -> bool:
        return self.kind in ("mosaic", "soft-mosaic")

    @property
    def codes(self) -> int:
        """The size of the visual vocabulary."""
        return prod(self.digits) if self.digits else 2**self.bits

    @property
    def still_codes(self) -> int:
        """How many of them may stand in a clip's first layer, which is one frame: of a mosaic those that do not
        move."""
        return self.codes // MOSAIC_DIGITS[-1] if self.is_mosaic else self.codes

    @property
    def digits(self) -> tuple[int, ...]:
        """The radices of a code's digits, lowest first; empty if digits mean nothing."""
        if self.is_mosaic:
            return MOSAIC_DIGITS
        return {"fsq": self.levels, "residual-fsq": self.levels * self.stages}.get(self.kind, ())

    @property
    def width(self) -> int:
        """Channels of the vector that the decoder sees of one code."""
        if self.is_mosaic:
            return 3 * 4 + 2
        return len(self.levels) if "fsq" in self.kind else min(self.bits, 16) if self.kind == "ema-vq" else self.bits


class Quantized(NamedTuple):
    """vectors: what the decoder sees, with a straight-through gradient; codes: int64; loss: the kind's own, or zero."""

    vectors: Float[Tensor, "*cells width"]
    codes: Int[Tensor, "*cells"]
    loss: Float[Tensor, ""]


class Quantizer(nn.Module):
    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        self.book = _book(config)

    def forward(self, vectors: Float[Tensor, "*cells width"]) -> Quantized:
        """Quantize in fp32: half precision loses codes."""
        rows = vectors.float().reshape(1, -1, vectors.shape[-1])
        with torch.autocast(vectors.device.type, enabled=False):
            quantized, indices, *rest = self.book(rows)
        if self.config.kind == "residual-fsq":
            indices = (indices * self._radix(indices)).sum(-1)
        loss = rest[0].sum() if rest else rows.new_zeros(())
        return Quantized(
            quantized.reshape(vectors.shape).to(vectors.dtype), indices.reshape(vectors.shape[:-1]).long(), loss
        )

    def lookup(self, codes: Int[Tensor, "*cells"]) -> Float[Tensor, "*cells width"]:
        """The vectors of codes in [0, config.codes)."""
        flat = codes.reshape(1, -1)
        match self.config.kind:
            case "residual-fsq":
                stages = flat[..., None] // self._radix(flat) % prod(self.config.levels)
                vectors = self.book.get_output_from_indices(stages)
            case "ema-vq":
                vectors = self.book.get_output_from_indices(flat)
            case _:
                vectors = self.book.indices_to_codes(flat)
        return vectors.reshape(*codes.shape, -1)

    def _radix(self, like: Tensor) -> Int[Tensor, " stages"]:
        return prod(self.config.levels) ** torch.arange(self.config.stages, device=like.device)


class FiniteScalars(nn.Module):
    """Every channel is squashed to the range of its levels and rounded; a code's digits are its levels, lowest channel
    first (FSQ, Mentzer et al. 2023, section 3.1 and appendix A.1). No weights, and no codebook to collapse."""

    MARGIN = 1e-3  # beyond the outermost levels, so that the gradient does not vanish there

    levels: Tensor
    radix: Tensor

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer(
            "radix", torch.tensor([prod(levels[:axis]) for axis in range(len(levels))]), persistent=False
        )

    def forward(self, x: Float[Tensor, "*cells width"]) -> tuple[Float[Tensor, "*cells width"], Int[Tensor, "*cells"]]:
        reach = (self.levels - 1) * (1 + self.MARGIN) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)  # an even number of levels has none in the middle
        squashed = torch.tanh(x + torch.atanh(offset / reach)) * reach - offset
        rounded = squashed + (squashed.round() - squashed).detach()  # straight through
        digits = squashed.detach().round().long() + self.levels // 2
        return rounded / (self.levels // 2), (digits * self.radix).sum(-1)

    def indices_to_codes(self, codes: Int[Tensor, "*cells"]) -> Float[Tensor, "*cells width"]:
        middle = self.levels // 2
        return (codes[..., None] // self.radix % self.levels - middle) / middle


def _book(config: QuantizerConfig) -> Any:
    if config.kind == "fsq":
        return FiniteScalars(config.levels)
    import vector_quantize_pytorch as vq

    match config.kind:
        case "residual-fsq":
            return vq.ResidualFSQ(levels=list(config.levels), num_quantizers=config.stages)
        case "lfq" | "bsq":
            return vq.LFQ(codebook_size=config.codes, dim=config.bits, spherical=config.kind == "bsq")
        case "ema-vq":
            return vq.VectorQuantize(
                dim=config.width, codebook_size=config.codes, kmeans_init=True, threshold_ema_dead_code=2
            )
