"""kinetoken generate"""

import hashlib
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from kinetoken.apps.options import Making, parsed_size, progress

if TYPE_CHECKING:
    from kinetoken.generator import Generator


@dataclass(frozen=True, kw_only=True)
class Command(Making):
    """Make a clip from a sentence, with a trained model, here.

    kinetoken generate "a big red ball bounces while a small blue square spins" -o ball.mp4 --seed 7
    """

    prompt: Positional[str]
    """What should be seen."""
    frames: int | None = None
    """How many frames; 1 makes an image. The model's own length if not given. More than four times that are made by a
    window that moves, and written as they are finished."""
    size: str | None = None
    """WIDTHxHEIGHT in pixels, such as 96x64. The model's own size if not given."""
    fps: float | None = None
    """Frames per second at which the clip plays: faster is shorter, with the same frames."""
    loop: bool = False
    """Time is a circle: the last frame leads to the first."""
    count: int = 1
    """How many clips."""

    def execute(self) -> None:
        if not self.prompt.strip():
            raise ValueError("the prompt is empty: say what should be seen, such as 'a red ball bounces'")
        paths = self.paths(self.count)
        options: dict[str, Any] = {
            "frames": self.frames,
            "size": None if self.size is None else parsed_size(self.size),
            "fps": self.fps,
        }
        generator, first = self.generator(), self.first_seed()
        is_long = self.frames is not None and self.frames > generator.longest_frames and not self.loop
        for seed, path in enumerate(paths, start=first):
            if is_long:
                self._make_long(generator, path, seed, options)
            else:
                stream = generator.stream(self.prompt, seed=seed, loop=self.loop, **options)
                self.make(stream, path, prompt=self.prompt, seed=seed)

    def _make_long(self, generator: "Generator", path: Path, seed: int, options: dict[str, Any]) -> None:
        """Every stretch goes to the encoder as it is finished."""
        from kinetoken.clip import ClipWriter

        start = time.perf_counter()
        stretches = iter(generator.stream_long(self.prompt, seed=seed, **options))
        first = next(stretches)
        size: dict[str, Any] = {"width": first.clip.width, "height": first.clip.height, "fps": first.clip.fps}
        codes = hashlib.sha256()
        with ClipWriter(path, **size, scale=self.scale) as writer:
            bar = {"total": lambda stretch: stretch.total, "done": lambda stretch: stretch.done}
            for stretch in progress(chain([first], stretches), str(path), **bar):
                writer.write(stretch.clip.frames)
                codes.update(stretch.codes.numpy().astype("<i4").tobytes())
        made = {"path": str(path), "prompt": self.prompt, "seed": seed, "frames": stretch.done, **size}
        seconds = round(time.perf_counter() - start, 3)
        self.tell(made | {"steps": stretch.steps, "seconds": seconds, "sha256": codes.hexdigest(), "notes": []})
