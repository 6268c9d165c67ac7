"""How like real clips generated ones are: a model of one's own clips is asked for what captions of others say.

Distances between sets (`likeness`) say how near what it makes is to clips that it was not trained on; distances to the
nearest training clip (`remembered`) say whether it made or remembered it; a small network that learns from training
clips what captions mean (`agreement`) says whether it is what was asked for. docs/evaluation.md says what can be
compared with what.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from kinetoken.clip import Clip
from kinetoken.data.clips_on_disk import settings
from kinetoken.data.tar_shards import StoredClip, TarShards, records
from kinetoken.data.windows import window
from kinetoken.evaluation.agreement import learn, retrieval
from kinetoken.evaluation.distances import density_and_coverage, frechet, nearest
from kinetoken.evaluation.features import Extractor, Seen
from kinetoken.evaluation.generation import Record
from kinetoken.generator import Generator, ModelConfig

NEIGHBOURS: Final = 5
"""k of density and coverage, as in their paper: many clips of one distribution have a coverage of 1 - 2^-5."""
CAUTION: Final = "distances of few samples are too large: compare those of equal counts, made the same way, alone"


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A part of a prepared clip that takes the time of what a model makes. first: of its frames."""

    shards: TarShards
    number: int
    first: int

    def read(self, config: ModelConfig) -> StoredClip:
        """At the model's rate, length and size (Lanczos; what does not fit the shape is cut off)."""
        stored = self.shards[self.number]
        frames = stored.clip.frames[self.first + _times(config, stored.clip.fps)]
        clip = window(Clip(frames=frames, fps=config.fps), config.width, config.height, None)
        return replace(stored, clip=clip, second=stored.second + self.first / stored.clip.fps)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A stretch as it is seen, and what is said of it."""

    source: str
    captions: tuple[str, ...]
    seen: Seen


@dataclass(frozen=True, kw_only=True)
class Training:
    """Stretches that a model was trained on; whole: what is seen of each."""

    stretches: Sequence[Stretch]
    captions: Sequence[tuple[str, ...]]
    whole: Float[np.ndarray, "stretches features"]

    @classmethod
    def of(cls, stretches: Sequence[Stretch], shown: Iterable[Shown]) -> "Training":
        """Keeps little of each, as there may be many."""
        told = [(one.captions, one.seen.whole) for one in shown]
        captions, whole = zip(*told, strict=True)
        return cls(stretches=stretches, captions=captions, whole=np.stack(whole))

    @property
    def points(self) -> Float[np.ndarray, "stretches 1280"]:
        return self.whole[:, :1280]


@dataclass(frozen=True, kw_only=True)
class Made(Record):
    """figure: how far the nearest training clip is, which stands below."""

    seen: Seen


def stretches(shards: TarShards, config: ModelConfig) -> list[Stretch]:
    """One after the other, of every clip that is long enough."""
    span = int(_times(config, settings(shards.folder).fps)[-1]) + 1
    return [
        Stretch(shards=shards, number=number, first=first)
        for number, length in enumerate(shards.lengths.tolist())
        for first in range(0, length - span + 1, span)
    ]


def held_out(shards: TarShards, config: ModelConfig, count: int) -> list[Stretch]:
    """Beginnings of clips that have a caption: `count` of them, evenly spread, or all if there are fewer.

    Raises ValueError if there are fewer than 2.
    """
    assert count >= 2
    told = [bool(record.captions) for record in records(shards.folder) for _ in record.clips]
    beginnings = [stretch for stretch in stretches(shards, config) if stretch.first == 0]
    fitting = [stretch for stretch in beginnings if told[stretch.number]]
    if len(fitting) < 2:
        raise ValueError(
            f"two clips at least are compared, found {len(fitting)}: of {len(shards)} in {shards.folder}, "
            f"{told.count(False)} have no caption and {len(shards) - len(beginnings)} are shorter than the "
            f"{config.frames} frames at {config.fps:g} fps that the model makes"
        )
    return spread(fitting, count)


def spread(found: Sequence[Stretch], count: int) -> list[Stretch]:
    """`count` of them, evenly spread, or all if there are fewer."""
    return [found[number] for number in np.unique(np.linspace(0, len(found) - 1, count).round().astype(int))]


def see(found: Iterable[Stretch], config: ModelConfig, extractor: Extractor) -> Iterator[Shown]:
    for stretch in found:
        stored = stretch.read(config)
        yield Shown(source=stored.source, captions=stored.captions, seen=extractor(stored.clip))


def prompts(generator: Generator, examples: Iterable[Shown | StoredClip]) -> list[str]:
    """The first caption of each that the model can read. Raises ValueError if there is none."""
    words = generator.config.network.words
    readable = [
        (one.source, [text for text in one.captions if 2 <= len(generator.codec.encode(text)) <= words])
        for one in examples
    ]
    if silent := [source for source, texts in readable if not texts]:
        found = f"{len(silent)} clips, {silent[0]} the first,"
        raise ValueError(f"{found} have no caption of at most {words - 1} tokens, which is what the model reads")
    return [texts[0] for _, texts in readable]


def generated(
    generator: Generator, prompts: Sequence[str], extractor: Extractor, training: Training | None = None
) -> Iterator[Made]:
    """A clip for each prompt; clip k has seed k."""
    for seed, prompt in enumerate(prompts):
        clip = generator.generate(prompt, seed=seed)
        made = Made(seed=seed, text=prompt, verdict={}, clip=clip, seen=extractor(clip))
        yield made if training is None else _beside_nearest(made, training, generator.config)


def likeness(real: Sequence[Seen], other: Sequence[Seen]) -> dict[str, float]:
    """fd_lite0: of frames. fd_lite0_changes: of what changes between them; not there if all are pictures. density,
    coverage: of clips, with k neighbours."""
    frames, changes = (
        [np.concatenate([getattr(seen, name) for seen in side]) for side in (real, other)]
        for name in ("frames", "changes")
    )
    figures = {"fd_lite0": frechet(*frames)}
    if len(changes[0]):
        figures["fd_lite0_changes"] = frechet(*changes)
    k = min(NEIGHBOURS, len(real) - 1)
    density, coverage = density_and_coverage(_points(real), _points(other), k)
    figures |= {"density": density, "coverage": coverage, "k": k}
    return {name: round(value, 4) for name, value in figures.items()}


def remembered(real: Sequence[Seen], made: Sequence[Made], training: Training) -> dict[str, float]:
    """Median distances to the nearest training clip: of what was made, and of held-out clips, which nobody can have
    copied. What is far below those was remembered."""
    copies = np.array([one.figure for one in made], np.float64)
    sides = {"nearest_training": copies, "nearest_training_of_real": nearest(_points(real), training.points)[1]}
    return {name: round(float(np.median(far)), 4) for name, far in sides.items()}


def agreement(
    generator: Generator, real: Sequence[Seen], made: Sequence[Made], training: Training
) -> dict[str, dict[str, float | int]]:
    """Whether clips show what their prompts say, by a matcher that learns from the training clips which have captions;
    agreement_of_real: what it says of the held-out clips of those prompts. Nothing, if fewer than two have captions."""
    told = [number for number, texts in enumerate(training.captions) if texts]
    if len(told) < 2:
        return {}
    captions, texts = [training.captions[number] for number in told], [one.text for one in made]
    matcher = learn(generator.codec, training.whole[told], captions)
    sides = {"agreement": [one.seen for one in made], "agreement_of_real": real}
    return {name: retrieval(matcher, np.stack([seen.whole for seen in side]), texts) for name, side in sides.items()}


def _beside_nearest(made: Made, training: Training, config: ModelConfig) -> Made:
    numbers, far = nearest(made.seen.clip[None], training.points)
    below = training.stretches[int(numbers[0])].read(config)
    return replace(made, figure=float(far[0]), below=below.clip, below_is=f"{below.source}, second {below.second:g}")


def _points(seen: Sequence[Seen]) -> Float[np.ndarray, "clips 1280"]:
    return np.stack([one.clip for one in seen])


def _times(config: ModelConfig, fps: float) -> Int[np.ndarray, " frames"]:
    """Which frames of a clip of this rate make one of the model's rate and length."""
    return (np.arange(config.frames) * fps / config.fps).round().astype(int)
