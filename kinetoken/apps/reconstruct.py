"""kinetoken reconstruct"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from kinetoken.apps.options import progress


@dataclass(frozen=True, kw_only=True)
class Command:
    """Send any video through the tokenizer and back, in bounded memory, and say what was lost.

    kinetoken reconstruct holiday.mp4 -o codes.mp4
    """

    clip: Positional[Path]
    """A video, an animation or an image, of any size and length."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Where to write what comes back. Not written if not given."""
    model: str = "toybox"
    """A bundled model (toybox or emoji), a folder that training wrote, or owner/name on the hub."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps …; the best there is if not given."""
    refine: int = 0
    """In so many turns look for codes that decode to less error. Slow: about 2 seconds a turn for 17 frames. Of models
    with mosaics, as the bundled ones are."""
    json: bool = False
    """Print the figures as a line of JSON."""

    def execute(self) -> None:
        from kinetoken.clip import check_writable, open_frames

        if self.refine < 0:
            raise ValueError(f"--refine must be at least 0, found {self.refine}")
        if self.output is not None:
            check_writable(self.output)
        with open_frames(self.clip):
            pass  # refuse what is no video before torch is imported
        from kinetoken.evaluation.video_file import reconstruct_file
        from kinetoken.generator import Generator

        tokenizer = Generator.from_pretrained(self.model, device=self.device).tokenizer
        for result in progress(reconstruct_file(tokenizer, self.clip, self.output, refine=self.refine), "frames"):
            last = result
        figures = {
            "frames": last.frames,
            "width": last.width,
            "height": last.height,
            "psnr": round(last.psnr, 2),
            "ssim": round(last.ssim, 4),
            "bits_per_pixel": round(tokenizer.bits_per_pixel(last.frames, last.height, last.width), 4),
        }
        if self.json:
            print(json.dumps({"path": str(self.output) if self.output else None, **figures}))
        else:
            print(
                f"{last.frames} frames of {last.width}x{last.height}: PSNR {last.psnr:.2f} dB, SSIM {last.ssim:.4f}, "
                f"{figures['bits_per_pixel']} bits per pixel"
            )
            if self.output and sys.stdout.isatty():
                print(self.output)
