"""The stages of `kinetoken generate` in a process that has just begun. Prints the moment (seconds since 1970) at the
end of every stage, as JSON.

python -m benchmarks.sections.cold_stages CLIP PROMPT
"""

import time

moments = [time.time()]  # before anything else is imported

import json  # noqa: E402
import sys  # noqa: E402
from importlib import import_module  # noqa: E402
from pathlib import Path  # noqa: E402


def main(clip: str, prompt: str) -> None:
    import_module("kinetoken.apps.generate")  # what the command imports at once
    from kinetoken.generator import Generator

    moments.append(time.time())
    generator = Generator.from_pretrained()
    moments.append(time.time())
    stream = generator.stream(prompt, seed=7)
    moments.append(time.time())
    for step in stream:
        last = step
    moments.append(time.time())
    frames = last.clip
    moments.append(time.time())
    frames.save(Path(clip))
    moments.append(time.time())
    print(json.dumps(moments))


if __name__ == "__main__":
    main(*sys.argv[1:])
