"""Whether clips show what texts say, told by a small network that learns it from the training clips in a minute.

Two encoders give a clip and its caption vectors of one direction (CLIP, Radford et al. 2021), each of two layers: over
the mean of the caption's tokens, whose order is lost, and over what the extractor sees of the clip. It is no judge by
nature. How often it finds the captions of real clips that nobody trained on stands beside every figure of it: where
that is low, it says nothing.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from kinetoken.vocabulary import TextCodec, Vocabulary

WIDTH: Final = 128
STEPS, BATCH = 300, 128
HIDDEN: Final = 0.3
"""Share of a clip's features that are dropped in training: there are more of them than clips."""


class Matcher(nn.Module):
    """mean, deviation: of each feature of the training clips."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, codec: TextCodec, clips: Float[Tensor, "clips features"]) -> None:
        super().__init__()
        self.codec, features = codec, clips.shape[1]
        self.register_buffer("mean", clips.mean(0))
        self.register_buffer("deviation", clips.std(0) + 1e-3)
        ids = Vocabulary.SPECIAL + codec.size
        words = nn.EmbeddingBag(ids, WIDTH, mode="mean", padding_idx=Vocabulary.PAD)
        self.read = nn.Sequential(words, nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.look = nn.Sequential(nn.Dropout(HIDDEN), nn.Linear(features, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.sharpness = nn.Parameter(torch.tensor(2.66))  # the logarithm of 1 / 0.07, as in the paper

    def rows(self, texts: Sequence[str]) -> Int[Tensor, "texts tokens"]:
        ids = [self.codec.encode(text) for text in texts]
        longest = max(map(len, ids))
        return torch.tensor([row + [Vocabulary.PAD] * (longest - len(row)) for row in ids])

    def of_rows(self, rows: Int[Tensor, "texts tokens"]) -> Float[Tensor, "texts 128"]:
        return normalize(self.read(rows), dim=-1)

    def of_clips(self, clips: Float[Tensor, "clips features"]) -> Float[Tensor, "clips 128"]:
        return normalize(self.look((clips - self.mean) / self.deviation), dim=-1)

    @torch.inference_mode()
    def points(self, clips: Float[np.ndarray, "clips features"]) -> Float[np.ndarray, "clips 128"]:
        """Of what an extractor has seen."""
        points: np.ndarray = self.of_clips(torch.from_numpy(clips).float()).numpy()
        return points


def learn(codec: TextCodec, clips: Float[np.ndarray, "clips features"], captions: Sequence[Sequence[str]]) -> Matcher:
    """Train a matcher on clips that have several captions each, one of which is drawn every time. Seed 0.

    The loss is cross-entropy both ways over a batch; clips with the same caption are all right.
    """
    rng, seen = np.random.default_rng(0), torch.from_numpy(clips).float()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        matcher = Matcher(codec, seen)
        optimizer = torch.optim.AdamW(matcher.parameters(), lr=2e-3, weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=STEPS)
        for _ in range(STEPS):
            batch = rng.permutation(len(clips))[:BATCH].tolist()
            texts = [captions[number][int(rng.integers(len(captions[number])))] for number in batch]
            ids = torch.tensor([texts.index(text) for text in texts])
            right = (ids[:, None] == ids).float()
            found = matcher.of_clips(seen[batch]) @ matcher.of_rows(matcher.rows(texts)).T * matcher.sharpness.exp()
            target = right / right.sum(1)  # symmetric: as many are right of a row as of its column
            loss = cross_entropy(found, target) + cross_entropy(found.T, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return matcher.eval()


@torch.inference_mode()
def retrieval(
    matcher: Matcher, clips: Float[np.ndarray, "clips features"], texts: Sequence[str]
) -> dict[str, float | int]:
    """Which of all texts fits a clip best? top1, top5: how often its own does, or is among the best five; of: how many
    different texts there are, so that chance is 1 / of; similarity: the mean cosine of a clip and its text."""
    choices = sorted(set(texts))
    cosines = torch.from_numpy(matcher.points(clips)) @ matcher.of_rows(matcher.rows(choices)).T
    own = cosines.gather(1, torch.tensor([[choices.index(text)] for text in texts]))
    better = (cosines > own).sum(1)
    shares = {f"top{best}": round(float((better < best).float().mean()), 4) for best in (1, 5)}
    return shares | {"of": len(choices), "similarity": round(float(own.mean()), 4)}
