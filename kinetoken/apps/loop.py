"""kinetoken loop"""

import json
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from kinetoken.apps.options import progress

if TYPE_CHECKING:
    from kinetoken.clip import Clip


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
    """How much of the clip's end is made anew. If not given: a quarter of it, or nothing if the clip loops already."""
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
    """Print a line of JSON: path, seed, frames, width, height, fps, kept (frames of the clip's own), steps, sha256 of
    the codes, seam and median_step (mean differences of pixels, of the last frame from the first and of neighbours),
    seconds."""

    def execute(self) -> None:
        from kinetoken.clip import Clip, check_writable

        check_writable(self.output)
        clip = Clip.read(self.clip)

        from kinetoken.loops import loops, seam

        start, seed = time.perf_counter(), secrets.randbits(31) if self.seed is None else self.seed
        if self.seconds is None and loops(clip):
            loop, how = clip, {"kept": len(clip), "steps": 0}
        else:
            loop, how = self._made(clip, seed)
        loop.save(self.output)
        seconds, (last_to_first, median) = time.perf_counter() - start, seam(loop)
        if self.json:
            size = {"frames": len(loop), "width": loop.width, "height": loop.height, "fps": loop.fps}
            steps = {"seam": round(last_to_first, 3), "median_step": round(median, 3)}
            record = {"path": str(self.output), "seed": seed} | size | how | steps | {"seconds": round(seconds, 3)}
            print(json.dumps(record), flush=True)
        elif sys.stdout.isatty():
            print(
                f"{self.output}: {how['kept']} of {len(loop)} frames kept, seed {seed}; "
                f"the last frame is {last_to_first:.2f} from the first, neighbours are {median:.2f} apart"
            )

    def _made(self, clip: "Clip", seed: int) -> "tuple[Clip, dict[str, Any]]":
        from kinetoken.generator import Generator
        from kinetoken.loops import LoopPlan

        generator = Generator.from_pretrained(self.model, device=self.device)
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
        kept = LoopPlan.of_clip(clip, generator.config.tokenizer.cell, self.seconds).kept
        return last.clip, {"kept": kept, "steps": last.total, "sha256": last.codes_sha256}
