"""kinetoken loop"""

import json
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from kinetoken.apps.options import progress


@dataclass(frozen=True, kw_only=True)
class Command:
    """Make a clip loop: its end is made anew, on a circle of time, so that it leads to its beginning.

    kinetoken loop clip.mp4 -o loop.mp4
    """

    clip: Positional[Path]
    """A video or an animation. Its frames before the new end stay as they are."""
    prompt: Annotated[str | None, arg(aliases=["-p"])] = None
    """What is seen, if words shall guide the new end."""
    output: Annotated[Path, arg(aliases=["-o"])] = Path("loop.mp4")
    """The file to write: .mp4, .webm, .gif or .webp."""
    seconds: float | None = None
    """How much of the clip's end is made anew; a quarter of it if not given."""
    seed: int | None = None
    """The same seed gives the same loop. Drawn, and said, if not given."""
    steps: int | None = None
    """How many times the network runs: more is slower and often better."""
    guidance: float | None = None
    """How much the words count, if there are any: 1 is as in training."""
    temperature: float | None = None
    """How adventurous the choices are: 0 always takes the likeliest."""
    revision: float | None = None
    """The share of its own choices that are taken back before each step, to be made again now that more is known."""
    model: str = "toybox"
    """A bundled model, a folder that training wrote, or owner/name on the hub."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps …; the best there is if not given."""
    json: bool = False
    """Print a line of JSON: path, seed, frames, width, height, fps, kept (frames of the clip's own), steps, seconds,
    seam and median_step (mean differences of pixels, of the last frame from the first and of neighbours), sha256 of the
    codes."""

    def execute(self) -> None:
        from kinetoken.clip import Clip, check_writable

        check_writable(self.output)
        clip = Clip.read(self.clip)

        from kinetoken.generator import Generator
        from kinetoken.loops import LoopPlan, seam

        start = time.perf_counter()
        generator = Generator.from_pretrained(self.model, device=self.device)
        seed = secrets.randbits(31) if self.seed is None else self.seed
        stream = generator.stream_loop(
            clip,
            self.prompt,
            seed=seed,
            seconds=self.seconds,
            steps=self.steps,
            guidance=self.guidance,
            temperature=self.temperature,
            revision=self.revision,
        )
        for step in progress(stream, str(self.output), total=lambda step: step.total):
            last = step
        loop = last.clip
        loop.save(self.output)
        last_to_first, median = seam(loop)
        kept = LoopPlan.of_clip(clip, generator.config.tokenizer.cell, self.seconds).kept
        if self.json:
            record = {
                "path": str(self.output),
                "seed": seed,
                "frames": len(loop),
                "width": loop.width,
                "height": loop.height,
                "fps": loop.fps,
                "kept": kept,
                "steps": last.total,
                "seconds": round(time.perf_counter() - start, 3),
                "seam": round(last_to_first, 3),
                "median_step": round(median, 3),
                "sha256": last.codes_sha256,
            }
            print(json.dumps(record), flush=True)
        elif sys.stdout.isatty():
            steps = f"the last frame is {last_to_first:.2f} from the first, neighbours are {median:.2f} apart"
            print(f"{self.output}: {kept} of {len(loop)} frames kept, seed {seed}; {steps}")
