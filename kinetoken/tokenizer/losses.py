"""What the tokenizer is trained for, and what is watched while it learns."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from kinetoken.tokenizer.layers import Encoder
from kinetoken.tokenizer.video_tokenizer import VideoTokenizer


class ClipBatch(NamedTuple):
    """frames: uint8 RGB."""

    frames: UInt8[Tensor, "batch frames height width 3"]


class ReconstructionObjective(nn.Module):
    """Reconstruct a clip through its codes: mean absolute plus `square_weight` times mean square error, both per clip,
    plus `variation_weight` times the variation of the grid, plus `change_weight` times the mean square error of what
    changes from frame to frame, plus `coarse_weight` times the mean square error at half the size, where it is seen
    from afar.

    The absolute error keeps edges crisp; the square is what PSNR measures. Without the third, plain background is
    dithered: the codes flicker between neighbours on the quantizer's lattice to mean a colour in between, which no eye
    sees and which a network would have to learn, cell for cell. Without the fourth, clips pulse: each layer of cells
    has errors of its own, and where one follows another all of them change at once. Squares are least if they change
    bit by bit; absolute values are the same however they do.
    """

    def __init__(
        self,
        tokenizer: VideoTokenizer,
        *,
        square_weight: float = 5.0,
        variation_weight: float = 0.03,
        change_weight: float = 0.0,
        coarse_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.tokenizer, self.coarse_weight = tokenizer, coarse_weight
        self.square_weight, self.variation_weight, self.change_weight = square_weight, variation_weight, change_weight

    def forward(self, batch: ClipBatch) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        if batch.frames.dtype != torch.uint8:
            raise ValueError(f"the tokenizer trains on uint8 frames in [0, 255], found {batch.frames.dtype}")
        target = batch.frames.float() / 127.5 - 1
        _, length, height, width, _ = target.shape
        quantized = self.tokenizer.quantize(target)
        rebuilt = self.tokenizer.reconstruct(quantized.vectors)[:, :length, :height, :width]
        error = rebuilt - target
        unrest = variation(quantized.vectors)
        loss = error.abs().mean() + self.square_weight * error.square().mean() + self.variation_weight * unrest
        if self.coarse_weight:
            halved = F.avg_pool2d(rearrange(error, "b t h w c -> (b t) c h w"), 2, ceil_mode=True)
            loss = loss + self.coarse_weight * halved.square().mean()
        changes = error.diff(dim=1).square().sum() / error.numel()  # of a picture none
        return loss + self.change_weight * changes + quantized.loss, {
            "psnr": psnr(rebuilt.detach(), target),
            "change_error": changes.detach(),
            "variation": unrest.detach(),
            **codebook_use(quantized.codes, self.tokenizer),
        }

    def adamw_parameters(self) -> list[Tensor]:
        """The layers that face pixels and codes, not features: AdamW suits them better than Muon."""
        encoder, decoder = self.tokenizer.encoder, self.tokenizer.decoder
        layers = [decoder.stack.leave, decoder.frames.leave, decoder.stack.enter]
        if decoder.pictures is not None:
            layers += [decoder.pictures.see, decoder.pictures.leave]
        if isinstance(encoder, Encoder):
            layers += [encoder.enter, encoder.leave]
        else:
            layers += [layer for layer in self.tokenizer.quantizer.modules() if isinstance(layer, nn.Linear)]
        return [layer.weight for layer in layers]


def variation(vectors: Float[Tensor, "batch time rows columns width"]) -> Float[Tensor, ""]:
    """How much neighbouring cells differ: the mean of log(1 + (4 d)^2) over neighbours in time, rows and columns and
    over axes, d being the difference of their quantized vectors, each axis in [-1, 1]. A robust total variation (Black
    and Rangarajan 1996 on such penalties): one high edge costs less than the same height in steps of one level."""
    steps = [vectors.diff(dim=axis) for axis in (1, 2, 3)]
    total = sum((torch.log1p((4 * step).square()).sum() for step in steps), start=vectors.new_zeros(()))
    return total / max(1, sum(step.numel() for step in steps))


def psnr(
    rebuilt: Float[Tensor, "batch frames height width 3"], target: Float[Tensor, "batch frames height width 3"]
) -> Float[Tensor, ""]:
    """Mean over clips of the peak signal-to-noise ratio in dB, for pixels in [-1, 1] (a peak-to-peak range of 2)."""
    error = (rebuilt.clamp(-1, 1) - target).square().flatten(1).mean(1)
    return (10 * torch.log10(4 / error.clamp_min(1e-10))).mean()


def codebook_use(codes: Int[Tensor, "*cells"], tokenizer: VideoTokenizer) -> dict[str, Float[Tensor, ""]]:
    """perplexity: exp of the entropy of the codes' frequencies; dead_codes: the share that this batch never uses."""
    size = tokenizer.config.quantizer.codes
    counts = torch.bincount(codes.flatten(), minlength=size).float()
    frequencies = counts / counts.sum()
    entropy = -(frequencies * frequencies.clamp_min(1e-12).log()).sum()
    return {"perplexity": entropy.exp(), "dead_codes": (counts == 0).float().mean()}


def collapse_warning(line: Mapping[str, float | int], codes: int) -> str | None:
    """What to say when the codebook has collapsed: nearly all of it unused, or one code nearly everywhere. The first
    steps are spared."""
    if line["step"] < 100 or (line["dead_codes"] < 0.98 and line["perplexity"] > 3):
        return None
    return (
        f"step {line['step']:.0f}: the codebook has collapsed: {line['dead_codes']:.0%} of {codes} codes unused, "
        f"perplexity {line['perplexity']:.1f}; lower the learning rate, or take fsq"
    )
