"""kinetoken generate"""

from dataclasses import dataclass

from tyro.conf import Positional

from kinetoken.apps.options import Making, parsed_size


@dataclass(frozen=True, kw_only=True)
class Command(Making):
    """Make a clip from a sentence, with a trained model, here.

    kinetoken generate "a big red ball bounces while a small blue square spins" -o ball.mp4 --seed 7
    """

    prompt: Positional[str]
    """What should be seen."""
    frames: int | None = None
    """How many frames; 1 makes an image. The model's own length if not given."""
    size: str | None = None
    """WIDTHxHEIGHT in pixels, such as 96x64. The model's own size if not given."""
    fps: float | None = None
    """Frames per second at which the clip plays: faster is shorter, with the same frames."""
    count: int = 1
    """How many clips."""

    def execute(self) -> None:
        if not self.prompt.strip():
            raise ValueError("the prompt is empty: say what should be seen, such as 'a red ball bounces'")
        paths = self.paths(self.count)
        size = None if self.size is None else parsed_size(self.size)
        generator, first = self.generator(), self.first_seed()
        for seed, path in enumerate(paths, start=first):
            stream = generator.stream(self.prompt, seed=seed, frames=self.frames, size=size, fps=self.fps)
            self.make(stream, path, prompt=self.prompt, seed=seed)
