"""kinetoken generate"""

import hashlib
import json
import secrets
import sys
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from kinetoken.apps.options import parsed_size, progress


@dataclass(frozen=True, kw_only=True)
class Command:
    """Make a clip from a sentence, with a trained model, here.

    kinetoken generate "a big red ball bounces while a small blue square spins" -o ball.mp4 --seed 7
    """

    prompt: Positional[str]
    """What should be seen."""
    output: Annotated[Path, arg(aliases=["-o"])] = Path("clip.mp4")
    """The file to write: .mp4, .webm, .gif, .webp, or .png (the image when one frame is asked for, else a contact
    sheet). With --count, a number is added to the name."""
    seed: int | None = None
    """The same seed gives the same clip. Drawn, and said, if not given; clip k of --count takes seed + k."""
    frames: int | None = None
    """How many frames; 1 makes an image. The model's own length if not given. More than four times that are made by a
    window that moves, and written as they are finished."""
    size: str | None = None
    """WIDTHxHEIGHT in pixels, such as 96x64. The model's own size if not given."""
    fps: float | None = None
    """Frames per second at which the clip plays: faster is shorter, with the same frames."""
    steps: int | None = None
    """How many times the network runs over the grid: more is slower and often better."""
    guidance: float | None = None
    """How much the words count: 1 is as in training."""
    temperature: float | None = None
    """How adventurous the choices are: 0 always takes the likeliest."""
    revision: float | None = None
    """The share of its own choices that are taken back before each step, to be made again now that more is known."""
    loop: bool = False
    """Time is a circle: the last frame leads to the first."""
    count: int = 1
    """How many clips."""
    scale: int = 1
    """Enlarge what is written by a whole number."""
    model: str = "toybox"
    """A bundled model, a folder that training wrote, or owner/name on the hub."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps …; the best there is if not given."""
    json: bool = False
    """Print a line of JSON for each clip: path, prompt, seed, frames, width, height, fps, steps, seconds, sha256 of the
    codes."""

    def execute(self) -> None:
        from kinetoken.clip import check_writable

        if self.count < 1 or self.scale < 1:
            raise ValueError(f"--count and --scale must be at least 1, found {self.count} and {self.scale}")
        if not self.prompt.strip():
            raise ValueError("the prompt is empty: say what should be seen, such as 'a red ball bounces'")
        paths = [self._path(number) for number in range(self.count)]
        for path in paths:
            check_writable(path)
        size = None if self.size is None else parsed_size(self.size)

        from kinetoken.generator import Generator

        generator = Generator.from_pretrained(self.model, device=self.device)
        seed = secrets.randbits(31) if self.seed is None else self.seed
        for number, path in enumerate(paths):
            self._make(generator, path, seed + number, size)

    def _path(self, number: int) -> Path:
        if self.count == 1:
            return self.output
        return self.output.with_stem(f"{self.output.stem}-{number + 1:0{len(str(self.count))}}")

    def _make(self, generator: Any, path: Path, seed: int, size: tuple[int, int] | None) -> None:
        start = time.perf_counter()
        options = {
            "seed": seed,
            "frames": self.frames,
            "size": size,
            "fps": self.fps,
            "steps": self.steps,
            "guidance": self.guidance,
            "temperature": self.temperature,
            "revision": self.revision,
        }
        if self.frames is not None and self.frames > generator.longest_frames and not self.loop:
            made = self._write_long(generator, path, options)
        else:
            made = self._write(generator, path, options)
        seconds = time.perf_counter() - start
        if self.json:
            ends = {"seconds": round(seconds, 3), "sha256": made.pop("sha256")}
            print(json.dumps({"path": str(path), "prompt": self.prompt, "seed": seed} | made | ends), flush=True)
        elif sys.stdout.isatty():
            shape = f"{made['frames']} frames of {made['width']}x{made['height']}, {made['fps']:g} fps"
            print(f"{path}: {shape}, seed {seed}, {made['steps']} steps, {seconds:.1f} s")

    def _write(self, generator: Any, path: Path, options: dict[str, Any]) -> dict[str, Any]:
        stream = generator.stream(self.prompt, loop=self.loop, **options)
        for step in progress(stream, str(path), total=lambda step: step.total):
            last = step
        clip = last.clip
        clip.save(path, scale=self.scale)
        return _described(clip, len(clip), last.total, last.codes_sha256)

    def _write_long(self, generator: Any, path: Path, options: dict[str, Any]) -> dict[str, Any]:
        """Every stretch goes to the encoder as it is finished."""
        from kinetoken.clip import ClipWriter

        stretches = iter(generator.stream_long(self.prompt, **options))
        first = next(stretches)
        size = {"fps": first.clip.fps, "width": first.clip.width, "height": first.clip.height}
        codes = hashlib.sha256()
        with ClipWriter(path, **size, scale=self.scale) as writer:
            bar = {"total": lambda stretch: stretch.total, "done": lambda stretch: stretch.done}
            for stretch in progress(chain([first], stretches), str(path), **bar):
                writer.write(stretch.clip.frames)
                codes.update(stretch.codes.numpy().astype("<i4").tobytes())
        return _described(first.clip, stretch.done, stretch.steps, codes.hexdigest())


def _described(clip: Any, frames: int, steps: int, sha256: str) -> dict[str, Any]:
    size = {"width": clip.width, "height": clip.height, "fps": clip.fps}
    return {"frames": frames, **size, "steps": steps, "sha256": sha256}
