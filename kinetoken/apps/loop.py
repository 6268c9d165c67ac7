"""kinetoken loop"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kinetoken.apps.options import Making

if TYPE_CHECKING:
    from kinetoken.clip import Clip


@dataclass(frozen=True, kw_only=True)
class Command(Making):
    """Make a clip loop: its end is made anew, on a circle of time, so that it leads to its beginning.

    kinetoken loop clip.mp4 -o loop.mp4
    """

    clip: Positional[Path]
    """A video or an animation. Its frames before the new end stay as they are."""
    prompt: Positional[str | None] = None
    """What is seen, if words shall guide the new end."""
    seconds: float | None = None
    """How much of the clip's end is made anew. If not given: half of it, or nothing if the clip loops already."""

    def execute(self) -> None:
        from kinetoken.clip import Clip
        from kinetoken.loops import loops

        (path,) = self.paths()
        clip = Clip.read(self.clip)
        if self.seconds is None and loops(clip):
            clip.save(path, scale=self.scale)
            size = {"width": clip.width, "height": clip.height, "fps": clip.fps}
            made = {"path": str(path), "prompt": self.prompt, "seed": self.seed, "frames": len(clip), **size}
            notes = [*seam_notes(clip), "it loops already: nothing was made anew"]
            self.tell(made | {"steps": 0, "seconds": 0.0, "sha256": None, "notes": notes})
            return
        seed = self.first_seed()
        stream = self.generator().stream_loop(clip, self.prompt, seed=seed, seconds=self.seconds)
        self.make(stream, path, prompt=self.prompt, seed=seed, notes=seam_notes)


def seam_notes(clip: "Clip") -> list[str]:
    from kinetoken.loops import seam

    last_to_first, median = seam(clip)
    return [f"the last frame differs from the first by {last_to_first:.2f} of 255, neighbours by {median:.2f} (median)"]
