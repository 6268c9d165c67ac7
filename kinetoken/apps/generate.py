"""kinetoken generate"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from kinetoken.apps.options import Making, followed, parsed_size, progress

if TYPE_CHECKING:
    from kinetoken.generator import Generator, PartialClip


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

        def stream(seed: int) -> "Iterator[PartialClip]":
            return generator.stream(self.prompt, seed=seed, loop=self.loop, **options)

        if len(paths) > 1 and self.preview is None and not is_long:
            self._make_several(generator, paths, first, stream)
            return
        for seed, path in enumerate(paths, start=first):
            if is_long:
                self._make_long(generator, path, seed, options)
            else:
                self.make(stream(seed), path, prompt=self.prompt, seed=seed)

    def _make_several(
        self, generator: "Generator", paths: list[Path], first: int, stream: "Callable[[int], Iterator[PartialClip]]"
    ) -> None:
        """Side by side."""
        from kinetoken.side_by_side import side_by_side

        stream(first)  # what is wrong with it is wrong with all
        several = side_by_side(
            lambda number: followed(stream(first + number), self.prompt, first + number), len(paths), generator.device
        )
        for path, made in zip(paths, progress(several, "clips", total=len(paths)), strict=True):
            self.write(made, path)

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
