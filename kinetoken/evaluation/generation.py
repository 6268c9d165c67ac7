"""How well a model does what it is asked, measured on toybox, whose every clip can be judged.

Every measurement is a generator of one record for each scene, so that a caller can show progress, stop early and keep
what it has; `summary` turns records into figures. All scenes have seeds that are never trained on, and all but those of
`gravity` are held out: each has a combination of shape, colour and motion that no model has been trained on.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from kinetoken.clip import Clip
from kinetoken.data.tar_shards import TarShards, check_apart
from kinetoken.data.toybox import GRAVITY, Camera, Caption, Motion, Scene, captions, render, sample_scene
from kinetoken.evaluation.captions import caption_verdict
from kinetoken.evaluation.features import Extractor
from kinetoken.evaluation.judge import fit_gravity, judge
from kinetoken.evaluation.reconstruction import flicker, psnr, ssim
from kinetoken.generator import Generator
from kinetoken.joins import step_sizes
from kinetoken.loops import loops, seam
from kinetoken.side_by_side import side_by_side
from kinetoken.tokenizer.video_tokenizer import VideoTokenizer

WINDOWS = 8  # of a long clip, when drift is measured
ENDLESS = (Motion.STILL, Motion.BOUNCES, Motion.SPINS, Motion.ORBITS, Motion.BLINKS)
FIRST_SEED = 2**40  # scenes from here on are never trained on, whatever they hold


@dataclass(frozen=True, kw_only=True)
class Record:
    """One scene's outcome. verdict: attribute path to right or wrong; figure: a number, for what is not judged;
    measures: further ones, by name; below: a clip to compare with on a sheet, and what it is."""

    seed: int
    text: str
    verdict: dict[str, bool]
    figure: float | None = None
    clip: Clip | None = None
    measures: dict[str, float] = field(default_factory=dict)
    below: Clip | None = None
    below_is: str = ""

    @property
    def right(self) -> bool:
        return all(self.verdict.values())


def adherence(generator: Generator, *, count: int, actors: int, first_seed: int = FIRST_SEED) -> Iterator[Record]:
    """Generate from the captions of held-out scenes; the judge says whether each stated attribute is there.

    The caption's style (terse, full, reworded, shuffled) goes round; clip k has seed k.
    """
    told = list(_told(count, actors, first_seed))

    def made(number: int) -> Record:
        scene, caption = told[number]
        return _judged(generator.generate(caption.text, seed=number), scene, caption, first_seed + number)

    yield from side_by_side(made, count, generator.device)


def ceiling(tokenizer: VideoTokenizer, *, count: int, actors: int, first_seed: int = FIRST_SEED) -> Iterator[Record]:
    """As `adherence`, of the rendered truth, tokenized and decoded: what the tokenizer leaves possible."""
    told = list(_told(count, actors, first_seed))

    def made(number: int) -> Record:
        scene, caption = told[number]
        return _judged(through(tokenizer, render(scene)), scene, caption, first_seed + number)

    yield from side_by_side(made, count, tokenizer.device)


def drift(generator: Generator, *, count: int, first_seed: int = FIRST_SEED) -> Iterator[Record]:
    """As `adherence`, of clips of WINDOWS times the model's length, each length judged by itself: whether what was
    asked for is still there in the last. Scenes of one object with a motion that has no end, and a camera that
    stands, for its moves have one; clip k has seed k."""
    seeds = (
        seed
        for seed in range(first_seed, first_seed + 10_000 * count)
        for scene in (sample_scene(seed, actors=1, split="held-out"),)
        if scene.actors[0].motion in ENDLESS and scene.camera == Camera.STILL
    )
    length, chosen = generator.config.frames, list(islice(seeds, count))

    def made(number: int) -> Record:
        seed = chosen[number]
        scene = sample_scene(seed, actors=1, split="held-out")
        caption = captions(scene, seed)[1]
        stretches = generator.stream_long(caption.text, frames=WINDOWS * length, seed=number)
        clip = Clip(frames=np.concatenate([part.clip.frames for part in stretches]), fps=generator.config.fps)
        verdict: dict[str, bool] = {}
        for window in range(WINDOWS):
            part = Clip(frames=clip.frames[window * length : (window + 1) * length], fps=clip.fps)
            shown = judge(part, scene, midway=window > 0).shown
            verdict |= {f"window {window + 1}: {path}": shown[path] for path in sorted(caption.stated)}
        return Record(seed=seed, text=caption.text, verdict=verdict, clip=clip)

    yield from side_by_side(made, len(chosen), generator.device)


def looping(generator: Generator, prompts: Sequence[str]) -> Iterator[Record]:
    """Whether what is asked for as a loop leads from its end to its beginning: by a step no larger than its median one.
    Clip k has seed k; figure: the one step in units of the other, which counts as a tenth of a level at least.
    measures: likewise, the largest step: a loop begins where that shows least, so a jump is elsewhere, if anywhere."""

    def made(number: int) -> Record:
        clip = generator.generate(prompts[number], seed=number, loop=True)
        last_to_first, median = seam(clip)
        usual = max(median, 0.1)
        largest = {"largest_over_median_step": float(step_sizes(clip.frames).max(initial=0) / usual)}
        verdict = {"loop": loops(clip)}
        figure = last_to_first / usual
        return Record(seed=number, text=prompts[number], verdict=verdict, figure=figure, clip=clip, measures=largest)

    yield from side_by_side(made, len(prompts), generator.device)


def captioning(generator: Generator, *, count: int, first_seed: int = FIRST_SEED) -> Iterator[Record]:
    """Caption held-out clips of one and of two objects in turn. Each attribute that a full caption states must be said,
    and nothing else that is false."""

    def made(number: int) -> Record:
        scene = sample_scene(first_seed + number, actors=1 + number % 2, split="held-out")
        clip = render(scene)
        text = generator.caption(clip)
        return Record(seed=first_seed + number, text=text, verdict=caption_verdict(text, scene), clip=clip)

    yield from side_by_side(made, count, generator.device)


def reconstruction(
    tokenizer: VideoTokenizer,
    *,
    count: int,
    refine: int = 0,
    extractor: Extractor | None = None,
    first_seed: int = FIRST_SEED,
) -> Iterator[Record]:
    """PSNR, and the measures of `rebuilt`, of held-out clips of 17 frames of 64 x 64, as scenes come: one to three
    objects."""
    for number in range(count):
        clip = render(sample_scene(first_seed + number, split="held-out"))
        yield rebuilt(tokenizer, clip, seed=first_seed + number, refine=refine, extractor=extractor)


def reconstruction_of(
    tokenizer: VideoTokenizer,
    shards: TarShards,
    *,
    count: int,
    enlarge: int = 1,
    refine: int = 0,
    extractor: Extractor | None = None,
    trained_on: Sequence[Path] = (),
) -> Iterator[Record]:
    """Likewise of prepared clips, as they are: `count` of them, evenly spread, or all if there are fewer.

    enlarge, refine: as in `rebuilt`. trained_on: folders of prepared clips. Raises: ValueError if a clip of theirs, by
    the hash of its pixels, is among those to be measured; before anything is.
    """
    check_apart(shards.folder, trained_on)
    for number in np.unique(np.linspace(0, len(shards) - 1, count).round().astype(int)).tolist():
        stored = shards[number]
        yield rebuilt(
            tokenizer,
            stored.clip,
            seed=number,
            text=stored.source,
            enlarge=enlarge,
            refine=refine,
            extractor=extractor,
        )


def rebuilt(
    tokenizer: VideoTokenizer,
    clip: Clip,
    *,
    seed: int,
    text: str = "",
    enlarge: int = 1,
    refine: int = 0,
    extractor: Extractor | None = None,
) -> Record:
    """figure: PSNR in dB. measures: SSIM; flicker, in levels of 255; bits per pixel; and with an extractor its
    perceptual distance. enlarge: so many times as wide and high the clip goes through the tokenizer; all is measured
    at its own size. refine: in so many turns codes are looked for that decode to less error."""
    large = (enlarge * clip.width, enlarge * clip.height)
    made = through(tokenizer, clip.resize(*large), refine=refine).resize(clip.width, clip.height)
    measures = {
        "ssim": ssim(clip, made),
        "flicker": flicker(clip, made),
        "bits_per_pixel": enlarge**2 * tokenizer.bits_per_pixel(len(clip), large[1], large[0]),
    }
    if extractor is not None:
        measures["perceptual"] = extractor.distance(clip, made)
    return Record(seed=seed, text=text, verdict={}, figure=psnr(clip, made), clip=made, measures=measures)


def gravity(generator: Generator, *, count: int, first_seed: int = FIRST_SEED) -> Iterator[Record]:
    """Generate single objects that bounce and fit the acceleration of their flight (the figure, as a share of the
    world's). Right: within 15%. Scenes that no model has been trained on, but of combinations that it has: none of
    those that are held out bounces."""
    seeds = (
        seed
        for seed in range(first_seed, first_seed + 10_000 * count)
        if sample_scene(seed, actors=1).actors[0].motion == Motion.BOUNCES
    )
    chosen = list(islice(seeds, count))

    def made(number: int) -> Record:
        seed = chosen[number]
        scene = sample_scene(seed, actors=1)
        text = captions(scene, seed)[1].text
        clip = generator.generate(text, seed=number)
        fitted = fit_gravity(clip, scene)
        share = None if fitted is None else fitted / GRAVITY
        verdict = {"gravity": share is not None and abs(share - 1) <= 0.15}
        return Record(seed=seed, text=text, verdict=verdict, figure=share, clip=clip)

    yield from side_by_side(made, len(chosen), generator.device)


def summary(records: Sequence[Record]) -> dict[str, Any]:
    """count; clips_right: the share with everything right, and its 95% interval; attributes_right: the share of all
    attributes; by_attribute: the same for each kind, or each window; mean: of the figures; and of each measure."""
    kinds: dict[str, list[bool]] = defaultdict(list)
    for record in records:
        for path, right in record.verdict.items():
            kinds[_kind(path)].append(right)
    result: dict[str, Any] = {"count": len(records)}
    if kinds:
        share = float(np.mean([record.right for record in records]))
        result["clips_right"] = round(share, 4)
        result["clips_right_95%"] = [round(bound, 4) for bound in wilson(share, len(records))]
        result["attributes_right"] = round(float(np.mean([right for found in kinds.values() for right in found])), 4)
        result["by_attribute"] = {kind: round(float(np.mean(found)), 4) for kind, found in sorted(kinds.items())}
    if figures := [record.figure for record in records if record.figure is not None]:
        result["mean"] = round(float(np.mean(figures)), 4)
        result["median"] = round(float(np.median(figures)), 4)
    for name in records[0].measures if records else ():
        result[name] = round(float(np.mean([record.measures[name] for record in records])), 4)
    return result


def _kind(path: str) -> str:
    """What counts as one kind of attribute: all actors' colours, and of windows all that is judged in one."""
    if path.startswith("window"):
        return path.split(":")[0]
    return path.split(".")[-1] if path.startswith("actors") else path


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The interval in which a share lies with 95% confidence (Wilson 1927)."""
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def _told(count: int, actors: int, first_seed: int) -> Iterator[tuple[Scene, Caption]]:
    for number in range(count):
        scene = sample_scene(first_seed + number, actors=actors, split="held-out")
        texts = captions(scene, first_seed + number)
        yield scene, texts[number % len(texts)]


def _judged(clip: Clip, scene: Scene, caption: Caption, seed: int) -> Record:
    shown = judge(clip, scene).shown
    return Record(
        seed=seed, text=caption.text, verdict={path: shown[path] for path in sorted(caption.stated)}, clip=clip
    )


def through(tokenizer: VideoTokenizer, clip: Clip, *, refine: int = 0) -> Clip:
    """A clip as the tokenizer leaves it. refine: as `encode_stream` does."""
    codes = tokenizer.encode_clip(clip, refine=refine)
    return tokenizer.decode_clip(codes, fps=clip.fps, frames=len(clip.frames), height=clip.height, width=clip.width)
