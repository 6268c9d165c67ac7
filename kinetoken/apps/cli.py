"""The command line. Each command is a dataclass in a module of its own, imported when it is the one that is asked for,
so that help answers before torch has been found."""

import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "generate": "make a clip from a sentence",
    "loop": "make a clip lead from its end to its beginning",
    "caption": "say what a clip shows",
    "reconstruct": "send a video through the tokenizer and back, and measure what was lost",
    "render": "write clips of toybox, the built-in world, with captions and descriptions",
    "train": "train a tokenizer or a network, or go on training one",
    "evaluate": "measure a model: adherence, captions, reconstruction, gravity; or the judge itself",
    "doctor": "check that this machine can generate and learn",
}
HELP = f"""usage: kinetoken COMMAND …

Video from words, by treating video as language.

{chr(10).join(f"  {name:12} {what}" for name, what in COMMANDS.items())}

  kinetoken COMMAND --help     says what a command takes
  kinetoken --version

  kinetoken generate "a big red ball bounces" -o ball.mp4
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, 2 for a mistake in what was asked for, 130 after Ctrl-C."""
    name, *rest = sys.argv[1:] if arguments is None else arguments or ["--help"]
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

    command = import_module(f"kinetoken.apps.{name}").Command
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


if __name__ == "__main__":
    sys.exit(main())
