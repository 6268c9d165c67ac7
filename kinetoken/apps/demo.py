"""What `make demo` does: a few sentences become clips, by the bundled models."""

import sys
from pathlib import Path

from kinetoken.apps.cli import main

FOLDER = Path("demo")
PROMPTS = {
    "ball": ("toybox", "a big red ball bounces on a navy background with a floor"),
    "star": ("toybox", "a green star grows on a black background"),
    "two": ("toybox", "a small blue square spins while a pink ring moves right on a grey background"),
    "crying": ("emoji", "crying face on a blue background"),
    "thumb": ("emoji", "thumbs up on a purple background"),
}


def demo() -> int:
    FOLDER.mkdir(exist_ok=True)
    for name, (model, prompt) in PROMPTS.items():
        for ending, scale in (("mp4", 4), ("png", 2)):
            path = FOLDER / f"{name}.{ending}"
            if code := main(
                ["generate", prompt, "--model", model, "-o", str(path), "--seed", "1", "--scale", str(scale)]
            ):
                return code
        print(f"{FOLDER / name}.mp4 and .png: {prompt}", flush=True)
    print(f"the clips are in {FOLDER.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(demo())
