"""kinetoken render"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from kinetoken.apps.options import parsed_size, progress


@dataclass(frozen=True, kw_only=True)
class Command:
    """Write clips of toybox, the built-in world: for each a clip, its captions and its description.

    kinetoken render samples --count 8
    """

    folder: Positional[Path]
    """Where to write; made if it is not there."""
    count: int = 8
    """How many clips."""
    seed: int = 0
    """The first scene; clip k is scene seed + k."""
    actors: int | None = None
    """1, 2 or 3 objects; as they come if not given."""
    split: Literal["train", "held-out"] = "train"
    """held-out: combinations of shape, colour and motion that no model has been trained on."""
    frames: int = 17
    """Frames of each clip."""
    size: str = "64x64"
    """WIDTHxHEIGHT in pixels."""
    fps: float = 8.0
    """Frames per second."""
    format: Literal["mp4", "webm", "gif", "webp", "png"] = "mp4"
    """png is a contact sheet."""
    scale: int = 1
    """Enlarge what is written by a whole number."""

    def execute(self) -> None:
        from kinetoken.data.toybox import captions, render, sample_scene, scene_to_dict

        if self.count < 1:
            raise ValueError(f"--count must be at least 1, found {self.count}")
        width, height = parsed_size(self.size)
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"{self.folder} is a file: name a folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "scenes.jsonl").open("w") as records:
            for number in progress(range(self.count), "clips", total=self.count):
                seed = self.seed + number
                scene = sample_scene(seed, actors=self.actors, split=self.split)
                path = self.folder / f"{seed:06d}.{self.format}"
                clip = render(scene, frames=self.frames, width=width, height=height, fps=self.fps)
                clip.save(path, scale=self.scale)
                texts = [{**asdict(caption), "stated": sorted(caption.stated)} for caption in captions(scene, seed)]
                record = {"file": path.name, "seed": seed, "captions": texts, "scene": scene_to_dict(scene)}
                records.write(json.dumps(record) + "\n")
        print(self.folder / "scenes.jsonl")
