"""The command line. Each command is a dataclass, in a module of its own but for those that edit, imported when it is
the one that is asked for, so that help answers before torch has been found."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

COMMANDS = {
    "generate": "make a clip from a sentence",
    "animate": "make a picture move, or several",
    "extend": "make what comes after a clip, or came before it",
    "connect": "lead from one clip to the next",
    "inpaint": "make what is inside a mask anew",
    "outpaint": "make what is around a clip",
    "remix": "change a clip, as much as you like",
    "variations": "make clips that resemble one",
    "recut": "move a part of a clip in time, and make the rest",
    "storyboard": "make a clip from cards: times, prompts, pictures",
    "imagine": "make a clip of nothing, and say what it shows",
    "loop": "make a clip lead from its end to its beginning",
    "caption": "say what a clip shows",
    "reconstruct": "send a video through the tokenizer and back, and measure what was lost",
    "render": "write clips of toybox, the built-in world, with captions and descriptions",
    "data": "make shards and tokens of your own clips, to train on",
    "train": "train a tokenizer or a network, or go on training one",
    "combine": "put what runs have learned at the same time into one model",
    "evaluate": "measure a model: adherence, tasks, captions, reconstruction, generation, gravity; or the judge itself",
    "doctor": "check that this machine can generate and learn",
}
EDITS = ("animate", "extend", "connect", "inpaint", "outpaint", "remix", "variations", "recut", "storyboard", "imagine")
HELP = f"""usage: kinetoken COMMAND …

Video from words, by treating video as language.

{chr(10).join(f"  {name:12} {what}" for name, what in COMMANDS.items())}

  kinetoken COMMAND --help     says what a command takes
  kinetoken --version

  kinetoken generate "a big red ball bounces" -o ball.mp4
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, 2 for a mistake in what was asked for, 130 after Ctrl-C."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(HELP, end="")
        return 0
    if name == "--version":
        from kinetoken import __version__

        print(f"kinetoken {__version__}")
        return 0
    if name not in COMMANDS:
        return _refuse(f"unknown command {name!r}: choose one of {', '.join(COMMANDS)}")
    import tyro

    module = import_module(f"kinetoken.apps.{'edit' if name in EDITS else name}")
    command = getattr(module, name.capitalize() if name in EDITS else "Command")
    try:
        tyro.cli(command, prog=f"kinetoken {name}", args=rest).execute()
    except ValueError as error:
        return _refuse(f"{name}: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stdout = None  # the reader has gone: nothing is left to flush
    return 0


def _refuse(message: str) -> int:
    print(f"kinetoken {message}" if ": " in message else message, file=sys.stderr)
    return 2


def run() -> None:
    """`main` as a process of its own, which ends at once: taking torch apart in good order would take up to a second,
    and the system takes back memory anyway. Everything is on disk and every worker gone when a command returns."""
    code = main()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.flush()
    os._exit(code)
