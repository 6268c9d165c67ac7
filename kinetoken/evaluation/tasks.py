"""What every job promises, measured on held-out scenes of toybox, each with its own seed.

kept: the pixels that a draft keeps come back bit for bit; a broken promise is an error, at once. exact: frames and size
are what was asked for. seam: where kept frames meet new ones, the mean difference of the two frames is at most the 95th
percentile of the source's own; where kept pixels meet new ones within a frame, likewise of its pixels' gradients.
moves: new frames differ from each other. prompt: every attribute that the caption states is judged right. The figure is
the seam's difference as a share of that percentile; for remix and variations it is the correlation of layouts with the
source.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kinetoken import tasks
from kinetoken.clip import Clip
from kinetoken.data.toybox import Scene, captions, render, sample_scene
from kinetoken.draft import Draft
from kinetoken.editing import Card
from kinetoken.evaluation.generation import FIRST_SEED, Record, summary
from kinetoken.evaluation.judge import judge
from kinetoken.generator import Generator

SHOWN_WHOLE = ("generate", "animate", "extend", "prepend", "connect", "inpaint", "recut")  # judged by the prompt
STILL = 0.25  # levels of 255: the mean difference of frames that look the same


def _part(clip: Clip, start: int, stop: int) -> Clip:
    return Clip(frames=clip.frames[start:stop], fps=clip.fps)


def _middle(clip: Clip) -> np.ndarray:
    hole = np.zeros((1, clip.height, clip.width), dtype=bool)
    hole[:, clip.height // 3 : 2 * clip.height // 3, clip.width // 3 : 2 * clip.width // 3] = True
    return hole


DRAFTS: dict[str, Callable[[Clip], Draft]] = {
    "generate": lambda clip: tasks.remix(clip, strength=1.0),
    "animate": lambda clip: tasks.animate([(0, clip)], frames=len(clip), fps=clip.fps),
    "extend": lambda clip: tasks.extend(_part(clip, 0, 9), after=len(clip) - 9),
    "prepend": lambda clip: tasks.extend(_part(clip, 9, len(clip)), before=9),
    "connect": lambda clip: tasks.connect(
        [_part(clip, 0, 5), _part(clip, len(clip) - 4, len(clip))], gap=len(clip) - 9
    ),
    "inpaint": lambda clip: tasks.inpaint(clip, _middle(clip)),
    "outpaint": lambda clip: tasks.outpaint(clip, width=clip.width * 3 // 2, height=clip.height * 3 // 2),
    "recut": lambda clip: tasks.recut(clip, keep=(4, 10), at=4, frames=len(clip)),
    "remix 0.25": lambda clip: tasks.remix(clip, strength=0.25),
    "remix 0.5": lambda clip: tasks.remix(clip, strength=0.5),
    "remix 0.75": lambda clip: tasks.remix(clip, strength=0.75),
    "variations": lambda clip: tasks.remix(clip, strength=0.85),
}
JOBS = (*DRAFTS, "sizes", "storyboard")


def every_job(generator: Generator, *, count: int, first_seed: int = FIRST_SEED) -> Iterator[Record]:
    """`count` records of each job, one job after another. A record's verdict and figure have its job in front.

    Raises: ValueError if a promise that has no tolerance is broken.
    """
    for job in JOBS:
        for number in range(count):
            scene = sample_scene(first_seed + number, actors=1, split="held-out")
            match job:
                case "sizes":
                    record = _sizes(generator, scene, number)
                case "storyboard":
                    record = _storyboard(generator, scene, number)
                case _:
                    record = _edited(generator, job, scene, number)
            if not all(record.verdict.get(promise, True) for promise in ("kept", "exact")):
                raise ValueError(f"{job} broke its promise with scene {first_seed + number}: {record.verdict}")
            yield record


def summary_by_job(records: Sequence[Record]) -> dict[str, Any]:
    """`summary` of each job."""
    jobs = list(dict.fromkeys(_job(record) for record in records))
    return {job: summary([record for record in records if _job(record) == job]) for job in jobs}


def _job(record: Record) -> str:
    return record.text.partition(": ")[0]


def _edited(generator: Generator, job: str, scene: Scene, seed: int) -> Record:
    clip, caption = render(scene), captions(scene, seed)[1]
    draft = DRAFTS[job](clip)
    made = generator.finish(draft, caption.text, seed=seed)
    verdict = {
        "kept": bool((made.frames[draft.kept] == draft.clip.frames[draft.kept]).all()),
        "exact": made.frames.shape == draft.clip.frames.shape,
    }
    figure = layout_correlation(clip, made) if draft.share else seam(made, draft.kept, clip)
    if figure is not None and not draft.share:
        verdict["seam"] = figure <= 1
    if job == "animate":
        verdict["moves"] = float(_steps(made)[1:].mean()) > STILL
    if job in SHOWN_WHOLE:
        shown = judge(made, scene).shown
        verdict["prompt"] = all(shown[path] for path in caption.stated)
    return Record(seed=seed, text=f"{job}: {caption.text}", verdict=verdict, figure=figure, clip=made)


def _sizes(generator: Generator, scene: Scene, seed: int) -> Record:
    """Any size and length; every fourth is an image."""
    rng = np.random.default_rng(seed)
    frames = 1 if seed % 4 == 0 else int(rng.integers(2, 26))
    width, height = (int(side) for side in rng.integers(1, 97, 2))
    text = captions(scene, seed)[1].text
    made = generator.generate(text, seed=seed, frames=frames, size=(width, height))
    return Record(seed=seed, text=f"sizes: {text}", verdict={"exact": made.frames.shape == (frames, height, width, 3)})


def _storyboard(generator: Generator, scene: Scene, seed: int) -> Record:
    """Two cards, each judged in its stretch."""
    scenes = [scene, sample_scene(FIRST_SEED + 2**20 + seed, actors=1, split="held-out")]
    told = [captions(each, seed)[1] for each in scenes]
    frames = generator.config.frames
    cards = [Card(frame=number * frames, prompt=caption.text) for number, caption in enumerate(told)]
    made = generator.storyboard(cards, frames=2 * frames, seed=seed)
    verdict = {"exact": len(made) == 2 * frames}
    for number, (each, caption) in enumerate(zip(scenes, told, strict=True)):
        shown = judge(_part(made, number * frames, (number + 1) * frames), each).shown
        verdict[f"card {number + 1}"] = all(shown[path] for path in caption.stated)
    return Record(seed=seed, text=f"storyboard: {' / '.join(c.text for c in told)}", verdict=verdict, clip=made)


def seam(made: Clip, kept: np.ndarray, source: Clip) -> float | None:
    """The worst difference across a seam, as a share of the 95th percentile of the source's own (at least STILL, so
    that a still source asks for no less than what the eye can see). None without a seam."""
    whole = np.asarray(kept.all((1, 2)))
    if (seams := whole[1:] != whole[:-1]).any():
        return float(_steps(made)[seams].max() / max(STILL, np.percentile(_steps(source), 95)))
    across = [_gradients(made.frames, axis)[np.diff(kept, axis=axis)] for axis in (1, 2)]
    if not sum(map(len, across)):
        return None
    own = np.concatenate([_gradients(source.frames, axis).ravel() for axis in (1, 2)])
    return float(np.concatenate(across).mean() / max(STILL, np.percentile(own, 95)))


def layout_correlation(one: Clip, other: Clip) -> float:
    """Of the brightness of blocks of 8 x 8 pixels, in all frames."""
    first, second = _blocks(one).ravel(), _blocks(other).ravel()
    if min(float(first.std()), float(second.std())) < 1e-6:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _blocks(clip: Clip) -> np.ndarray:
    grey = clip.frames[:, : clip.height // 8 * 8, : clip.width // 8 * 8].mean(-1)
    return grey.reshape(len(clip), clip.height // 8, 8, clip.width // 8, 8).mean((2, 4))


def _steps(clip: Clip) -> np.ndarray:
    """Mean absolute difference of each frame from the one before."""
    return np.abs(np.diff(clip.frames.astype(np.int16), axis=0)).mean((1, 2, 3))


def _gradients(frames: np.ndarray, axis: int) -> np.ndarray:
    return np.abs(np.diff(frames.astype(np.int16), axis=axis)).mean(-1)
