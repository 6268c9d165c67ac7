"""What every job promises, measured on held-out scenes of toybox, each with its own seed.

Promises: kept, the pixels that a draft keeps come back bit for bit, and exact, frames and size are what was asked for;
a broken one is an error, at once. seam: where kept frames meet new ones, the mean difference of the two frames is at
most the 95th percentile of the source's own (not where a single picture is kept, which has no pace); where kept pixels
meet new ones within a frame, their mean difference is at most the 95th percentile of the source's gradients, or the
mean of what was at the join before, or of what is within BESIDE pixels of it where nothing was. moves: new frames
differ from each other, unless all is to stand still. monotonic: the stronger remixes are, the less their layouts are
like the source's.

Of a loop (loop: from words; close: of a clip), seam: the step from its last frame to its first is at most the median
step. Of a long clip: every step with which a window begins is at most the 95th percentile of all its steps.

And prompt: every attribute that the caption states is judged right; picture: those that one frame can show, of an image
or a loop, and of the first frame of a clip, which an image should equal; words: all that a caption says is right. The
figure is the seam's difference as a share of what is allowed; for remix and variations it is the correlation of layouts
with the source.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kinetoken import tasks
from kinetoken.clip import Clip
from kinetoken.data.toybox import Camera, Caption, Motion, Scene, captions, render, sample_scene
from kinetoken.draft import Draft
from kinetoken.editing import Card
from kinetoken.evaluation.captions import caption_verdict
from kinetoken.evaluation.generation import FIRST_SEED, Record, summary
from kinetoken.evaluation.judge import judge
from kinetoken.generator import Generator
from kinetoken.joins import STILL, gradients, step_sizes, widened
from kinetoken.loops import LoopPlan, loops
from kinetoken.side_by_side import side_by_side

SHOWN_WHOLE = ("generate", "animate", "extend", "prepend", "connect", "inpaint", "recut")  # judged by the prompt
PROMISES = ("kept", "exact", "seam", "moves")


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
JOBS = ("image", *DRAFTS, "loop", "close", "long", "sizes", "storyboard", "caption")
PICTURED = ("shape", "colour", "texture", "size", "background", "background.floor")
BESIDE = 3  # pixels: what lies so near to a join is what may be across it
LONG = 3  # times the model's length


def every_job(generator: Generator, *, count: int, first_seed: int = FIRST_SEED) -> Iterator[Record]:
    """`count` records of each job, one job after another. A record's verdict and figure have its job in front.

    Raises: ValueError if a promise that has no tolerance is broken.
    """

    def made(place: int) -> Record:
        job, number = JOBS[place // count], place % count
        record = _made(generator, job, sample_scene(first_seed + number, actors=1, split="held-out"), number)
        if not all(record.verdict.get(promise, True) for promise in ("kept", "exact")):
            raise ValueError(f"{job} broke its promise with scene {first_seed + number}: {record.verdict}")
        return record

    yield from side_by_side(made, count * len(JOBS), generator.device)


def _made(generator: Generator, job: str, scene: Scene, seed: int) -> Record:
    match job:
        case "image" | "loop":
            return _told(generator, job, scene, seed)
        case "close":
            return _closed(generator, scene, seed)
        case "long":
            return _long(generator, scene, seed)
        case "caption":
            return _captioned(generator, scene, seed)
        case "sizes":
            return _sizes(generator, scene, seed)
        case "storyboard":
            return _storyboard(generator, scene, seed)
    return _edited(generator, job, scene, seed)


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
    stands = (scene.actors[0].motion, scene.camera) == (Motion.STILL, Camera.STILL)
    if job == "animate":
        verdict["moves"] = stands or float(step_sizes(made.frames)[1:].mean()) > STILL
    elif figure is not None and not draft.share:
        verdict["seam"] = figure <= 1
    if job in SHOWN_WHOLE:
        shown = judge(made, scene).shown
        verdict["prompt"] = all(shown[path] for path in caption.stated)
    if job == "generate":
        verdict["picture"] = _pictured(_part(made, 0, 1), scene, caption)
    return Record(seed=seed, text=f"{job}: {caption.text}", verdict=verdict, figure=figure, clip=made)


def _told(generator: Generator, job: str, scene: Scene, seed: int) -> Record:
    """An image or a loop, from words."""
    caption, config = captions(scene, seed)[1], generator.config
    loop = job == "loop"
    made = generator.generate(caption.text, seed=seed, frames=None if loop else 1, loop=loop)
    frames = (config.loop_frames or config.frames) if loop else 1
    verdict = {"exact": made.frames.shape == (frames, config.height, config.width, 3)}
    verdict["picture"] = _pictured(made, scene, caption)
    if loop:
        verdict["seam"] = loops(made)
    return Record(seed=seed, text=f"{job}: {caption.text}", verdict=verdict, clip=made)


def _pictured(clip: Clip, scene: Scene, caption: Caption) -> bool:
    shown = judge(clip, scene).shown
    return all(shown[path] for path in caption.stated if path.removeprefix("actors.0.") in PICTURED)


def _closed(generator: Generator, scene: Scene, seed: int) -> Record:
    """A clip that becomes a loop."""
    clip, caption = render(scene), captions(scene, seed)[1]
    kept = LoopPlan.of_clip(clip, generator.config.tokenizer.cell, None).kept
    made = generator.loop(clip, caption.text, seed=seed)
    verdict = {
        "kept": bool((made.frames[:kept] == clip.frames[:kept]).all()),
        "exact": made.frames.shape == clip.frames.shape,
        "seam": loops(made),
    }
    verdict["picture"] = _pictured(made, scene, caption)
    return Record(seed=seed, text=f"close: {caption.text}", verdict=verdict, clip=made)


def _long(generator: Generator, scene: Scene, seed: int) -> Record:
    caption, config = captions(scene, seed)[1], generator.config
    frames = LONG * config.frames
    parts = [part.clip for part in generator.stream_long(caption.text, frames=frames, seed=seed)]
    made = Clip(frames=np.concatenate([part.frames for part in parts]), fps=config.fps)
    steps = step_sizes(made.frames)
    joins = steps[np.cumsum([len(part) for part in parts[:-1]]) - 1]
    figure = float(joins.max() / max(STILL, np.percentile(steps, 95)))
    verdict = {"exact": len(made) == frames, "seam": figure <= 1}
    return Record(seed=seed, text=f"long: {caption.text}", verdict=verdict, figure=figure, clip=made)


def _captioned(generator: Generator, scene: Scene, seed: int) -> Record:
    clip = render(scene)
    text = generator.caption(clip)
    verdict = {"words": all(caption_verdict(text, scene).values())}
    return Record(seed=seed, text=f"caption: {text}", verdict=verdict, clip=clip)


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


def broken_promises(records: Sequence[Record]) -> list[str]:
    """What to tell of every promise that some clip broke: "extend: seam, 3 of 100"."""
    told = []
    figures: dict[str, list[float]] = {}
    for job in dict.fromkeys(_job(record) for record in records):
        own = [record for record in records if _job(record) == job]
        figures[job] = [record.figure for record in own if record.figure is not None]
        for promise in PROMISES:
            kept = [record.verdict[promise] for record in own if promise in record.verdict]
            if not all(kept):
                told.append(f"{job}: {promise}, {kept.count(False)} of {len(kept)}")
    remixes = [float(np.mean(found)) for job, found in figures.items() if job.startswith("remix") and found]
    if sorted(remixes, reverse=True) != remixes:
        told.append("remix: monotonic, " + " then ".join(f"{mean:.2f}" for mean in remixes))
    return told


def seam(made: Clip, kept: np.ndarray, source: Clip) -> float | None:
    """The worst difference across a seam, as a share of what is allowed (at least STILL: a still source asks for no
    less than what the eye can see). None without a seam."""
    whole = np.asarray(kept.all((1, 2)))
    if (seams := whole[1:] != whole[:-1]).any():
        return float(step_sizes(made.frames)[seams].max() / max(STILL, np.percentile(step_sizes(source.frames), 95)))
    across, allowed = [], []
    for axis in (1, 2):
        join, steps = np.diff(kept, axis=axis), gradients(made.frames, axis)
        across.append(steps[join])
        if made.frames.shape == source.frames.shape:
            allowed.append(gradients(source.frames, axis)[join])
        else:  # what was there is not known
            both = np.take(kept, range(1, kept.shape[axis]), axis) & np.take(kept, range(kept.shape[axis] - 1), axis)
            allowed.append(steps[widened(join, axis, BESIDE) & both])
    if not sum(map(len, across)):
        return None
    own = np.concatenate([gradients(source.frames, axis).ravel() for axis in (1, 2)])
    most = max(STILL, float(np.percentile(own, 95)), float(np.concatenate(allowed).mean()))
    return float(np.concatenate(across).mean() / most)


def layout_correlation(one: Clip, other: Clip) -> float:
    """Of the brightness of blocks of 8 x 8 pixels, in all frames."""
    first, second = _blocks(one).ravel(), _blocks(other).ravel()
    if min(float(first.std()), float(second.std())) < 1e-6:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _blocks(clip: Clip) -> np.ndarray:
    grey = clip.frames[:, : clip.height // 8 * 8, : clip.width // 8 * 8].mean(-1)
    return grey.reshape(len(clip), clip.height // 8, 8, clip.width // 8, 8).mean((2, 4))
