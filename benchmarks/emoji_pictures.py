"""The README's sheet of emoji: twelve names that the bundled model was trained on, twelve pairs of gesture and skin
tone that it was not, each the first seed, whatever comes out.

python -m benchmarks.emoji_pictures EMOJI          # where kinetoken data emoji has put them
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from kinetoken import Generator
from kinetoken.clip import Clip

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "emoji.png"
COLOURS = "white", "blue", "green", "orange", "pink", "purple"
EACH, ACROSS, FRAMES, SIDE, LABEL, LETTERS = 12, 4, 3, 128, 14, 62


def main() -> None:
    generator = Generator.from_pretrained("emoji")
    names = prompts(Path(sys.argv[1]))
    clips = [generator.generate(prompt, seed=0) for prompt in names]
    tiles = [_tile(prompt, clip) for prompt, clip in zip(names, clips, strict=True)]
    rows = [np.concatenate(tiles[k : k + ACROSS], axis=1) for k in range(0, len(tiles), ACROSS)]
    PICTURE.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(rows)).quantize(256, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    print(PICTURE, *names, sep="\n")


def prompts(folder: Path) -> list[str]:
    """Evenly spread over the lists, on grounds that take turns."""
    seen = [row["caption"] for row in _rows(folder / "captions.csv")][::2]  # a name, then the name with tags
    new = [row["caption"] for row in _rows(folder / "held-out.csv") if row["why"] == "tone"][::2]
    chosen = [some[len(some) * k // EACH] for some in (seen, new) for k in range(EACH)]
    return [_before(name, COLOURS[k % len(COLOURS)]) for k, name in enumerate(chosen)]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        yield from csv.DictReader(lines)


def _before(name: str, colour: str) -> str:
    return f"{name} on {'an' if colour[0] in 'aeiou' else 'a'} {colour} background"


def _tile(prompt: str, clip: Clip) -> np.ndarray:
    shown = np.linspace(0, len(clip) - 1, FRAMES).round().astype(int)
    tile = Image.new("RGB", (FRAMES * SIDE + 4, SIDE + LABEL), "white")
    for k, frame in enumerate(clip.frames[shown]):
        tile.paste(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BICUBIC), (k * SIDE, LABEL))
    ImageDraw.Draw(tile).text((2, 1), prompt.replace(" background", "")[:LETTERS], fill="black")
    return np.asarray(tile)


if __name__ == "__main__":
    main()
