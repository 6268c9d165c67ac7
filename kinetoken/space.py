"""The beginning of every residual block of convolutions: what a place sees of its neighbours in space."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinetoken.kept import Kept
from kinetoken.norm import RMSNorm, normalised


class SpaceBlock(nn.Module):
    """RMSNorm, a 3 x 3 convolution and SiLU. The norm's weights are multiplied into the convolution's, of which there
    are fewer than places."""

    def __init__(self, channels: int, seen: int | None = None) -> None:
        """seen: how many channels the convolution has to say; as many as there are if None."""
        super().__init__()
        self.norm = RMSNorm(channels)
        self.space = nn.Conv2d(channels, channels if seen is None else seen, kernel_size=3, padding=1)
        self._kept_weight = Kept()

    def seen(self, x: Float[Tensor, "*pictures rows columns channels"]) -> Float[Tensor, "*pictures rows columns seen"]:
        weights = self.space.weight, self.norm.weight
        weight = self._kept_weight.of(
            weights, lambda: (weights[0] * weights[1][:, None, None]).contiguous(memory_format=torch.channels_last)
        )
        images = normalised(x).flatten(0, -4).permute(0, 3, 1, 2)  # a view: channels_last, too
        seen = F.silu(F.conv2d(images, weight, self.space.bias, padding=1), inplace=not torch.is_grad_enabled())
        return seen.permute(0, 2, 3, 1).unflatten(0, x.shape[:-3])
