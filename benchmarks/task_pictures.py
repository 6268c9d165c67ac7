"""The README's picture of toybox, and those of docs/tasks.md: for every job what is known (the rest is grey), and below
it what the model made.

python benchmarks/task_pictures.py

The first seed of each, whatever comes out.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kinetoken import Generator
from kinetoken.apps.network_tokens import PROMPTS
from kinetoken.apps.sheets import save_sheet
from kinetoken.clip import Clip
from kinetoken.data.toybox import captions, render, sample_scene
from kinetoken.draft import Draft
from kinetoken.editing import Card
from kinetoken.evaluation.generation import FIRST_SEED
from kinetoken.evaluation.tasks import DRAFTS

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
SCENE, SEED, GREY = FIRST_SEED + 25, 0, 128


def main() -> None:
    generator = Generator.from_pretrained("toybox")
    prompts = [prompt for prompt in PROMPTS for _ in range(2)]
    save_sheet(list(generator.generate_each(prompts, seeds=[0, 1] * len(PROMPTS))), FOLDER / "first-seeds.png")
    for job, clips in pictures(generator):
        path = FOLDER / f"tasks-{job}.png"
        save_sheet(clips, path, frames=9, across=1, scale=1)
        print(path, flush=True)


def pictures(generator: Generator) -> Iterator[tuple[str, list[Clip]]]:
    """(job, the clips that its picture shows)."""
    scene = sample_scene(SCENE, actors=1, split="held-out")
    source, prompt = render(scene), captions(scene, 1)[1].text
    for job in ("animate", "extend", "prepend", "connect", "inpaint", "outpaint", "recut"):
        draft = DRAFTS[job](source)
        yield job, [_known(draft), generator.finish(draft, prompt, seed=SEED)]
    strengths = [generator.remix(source, prompt, strength=share, seed=SEED) for share in (0.25, 0.5, 0.75)]
    yield "remix", [source, *strengths]
    yield "variations", [source, *generator.variations(source, prompt, count=3, seed=SEED)]
    yield "loop", [source, generator.loop(source, prompt, seed=SEED)]
    cards = [Card(frame=0, prompt=prompt), Card(frame=17, prompt="a big green star on a grey background")]
    yield "storyboard", [generator.storyboard(cards, frames=34, seed=SEED)]
    yield "imagine", [generator.imagine(seed=seed)[1] for seed in (0, 1)]
    images = [generator.generate(prompt, seed=seed, frames=1) for seed in range(9)]
    yield "image", [Clip(frames=np.concatenate([image.frames for image in images]), fps=source.fps)]


def _known(draft: Draft) -> Clip:
    return Clip(frames=np.where(draft.kept[..., None], draft.clip.frames, GREY).astype(np.uint8), fps=draft.clip.fps)


if __name__ == "__main__":
    main()
