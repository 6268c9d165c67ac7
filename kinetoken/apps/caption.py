"""kinetoken caption"""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from kinetoken.apps.options import progress


@dataclass(frozen=True, kw_only=True)
class Command:
    """Say what a clip shows, by the network that generates: here the grid is known and the words are not.

    kinetoken caption ball.mp4
    """

    clip: Positional[Path]
    """A video, an animation or an image."""
    model: str = "toybox"
    """A bundled model (toybox or emoji), a folder that training wrote, or owner/name on the hub."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps …; the best there is if not given."""
    seed: int = 0
    """Matters only with a temperature."""
    temperature: float = 0.0
    """How adventurous the words are: 0 always takes the likeliest."""

    def execute(self) -> None:
        from kinetoken.clip import Clip

        clip = Clip.read(self.clip)
        from kinetoken.generator import Generator

        generator = Generator.from_pretrained(self.model, device=self.device)
        stream = generator.stream_caption(clip, seed=self.seed, temperature=self.temperature)
        for step in progress(stream, "caption"):
            last = step
        print(generator.codec.decode(last.canvas.text[0].tolist()))
