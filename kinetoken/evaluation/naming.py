"""What a model knows by name: whether a clip is taken for the one from whose caption it was made.

A small network learns what captions mean (agreement.py) from glances at all clips. A glance is coarse on purpose: what
a tokenizer leaves of a small clip is known from it as well as the clip itself, of which features that were learned on
photographs know two in five (docs/journal.md).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch.nn.functional import interpolate

from kinetoken.clip import Clip
from kinetoken.data.tar_shards import StoredClip
from kinetoken.evaluation.agreement import Matcher, learn
from kinetoken.evaluation.features import MOMENTS
from kinetoken.evaluation.generation import Record
from kinetoken.evaluation.likeness import Stretch
from kinetoken.generator import Generator, ModelConfig

SIDE: Final = 8
"""Pixels of a glance at one, across and down."""
GLANCE: Final = f"contrastive, on {MOMENTS} evenly spaced frames at {SIDE}x{SIDE} (area)"


def glance(clip: Clip) -> Float[np.ndarray, " features"]:
    """Levels in [0, 1] of MOMENTS frames; of a shorter clip some twice."""
    moments = np.linspace(0, len(clip) - 1, MOMENTS).round().astype(int)
    pixels = rearrange(torch.from_numpy(clip.frames[moments]), "moments h w c -> moments c h w")
    seen: np.ndarray = interpolate(pixels.float() / 255, (SIDE, SIDE), mode="area").flatten().numpy()
    return seen


@dataclass(frozen=True, kw_only=True)
class Known:
    """Clips that others are taken for; sources: the files that they are of."""

    stretches: Sequence[Stretch]
    sources: Sequence[str]
    captions: Sequence[tuple[str, ...]]
    glances: Float[np.ndarray, "clips features"]

    @classmethod
    def of(cls, stretches: Sequence[Stretch], read: Iterable[StoredClip]) -> "Known":
        """read: the stretches, one after another; little is kept of each."""
        told = [(one.source, one.captions, glance(one.clip)) for one in read]
        sources, captions, glances = zip(*told, strict=True)
        return cls(stretches=stretches, sources=sources, captions=captions, glances=np.stack(glances))

    def matcher(self, generator: Generator) -> Matcher:
        """Learned from those that have captions. Raises: ValueError if fewer than two have."""
        told = [number for number, texts in enumerate(self.captions) if texts]
        if len(told) < 2:
            raise ValueError(f"two clips at least must have captions, found {len(told)}")
        return learn(generator.codec, self.glances[told], [self.captions[number] for number in told])


def named(
    config: ModelConfig,
    examples: Sequence[StoredClip],
    prompts: Sequence[str],
    make: Callable[[int], Clip],
    known: Known,
    matcher: Matcher,
) -> Iterator[Record]:
    """Right if, of all that are known, the clip that the matcher takes what was made for is of the example's file. That
    clip stands below; figure: the cosine of the two. make: the clip of an example, by its number."""
    points = matcher.points(known.glances)
    for number, (example, prompt) in enumerate(zip(examples, prompts, strict=True)):
        clip = make(number)
        cosines = points @ matcher.points(glance(clip)[None])[0]
        best = int(cosines.argmax())
        below = known.stretches[best].read(config)
        yield Record(
            seed=number,
            text=prompt,
            verdict={"name": known.sources[best] == example.source},
            figure=float(cosines[best]),
            clip=clip,
            below=below.clip,
            below_is=f"{below.source}, second {below.second:g}",
        )
