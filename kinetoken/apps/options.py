"""What several commands share: options of whatever makes clips, reading sizes and times, progress on a terminal."""

import json
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

from tyro.conf import arg

if TYPE_CHECKING:
    from kinetoken.clip import Clip
    from kinetoken.generator import Generator, PartialClip

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Making:
    """The options of every command that makes clips, and the way from partial clips to a file."""

    output: Annotated[Path, arg(aliases=["-o"])] = Path("clip.mp4")
    """The file to write: .mp4, .webm, .gif, .webp (which loses nothing), or .png (the image when there is one frame,
    else a contact sheet). Where several clips are made, a number is added to the name."""
    seed: int | None = None
    """The same seed gives the same clip. Drawn, and said, if not given; clip k of several takes seed + k."""
    steps: int | None = None
    """How many times the network runs over a grid of which nothing is known, and in proportion where a part is: more is
    slower and often better."""
    guidance: float | None = None
    """How much the words count: 1 is as in training."""
    temperature: float | None = None
    """How adventurous the choices are: 0 always takes the likeliest."""
    revision: float | None = None
    """The share of its own choices that are taken back before each step, to be made again now that more is known."""
    scale: int = 1
    """Enlarge what is written by a whole number."""
    preview: Path | None = None
    """Show the clip after every step, as a contact sheet: a .png that is written again and again, or a folder."""
    model: str = "toybox"
    """A bundled model (toybox or emoji), a folder that training wrote, or owner/name on the hub."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps …; the best there is if not given."""
    json: bool = False
    """Print a line of JSON for each clip: path, prompt, seed, frames, width, height, fps, steps, seconds, sha256 of the
    codes, notes."""

    def paths(self, count: int = 1) -> list[Path]:
        """Where the clips go, if they can be written there."""
        from kinetoken.clip import check_writable

        if count < 1 or self.scale < 1:
            raise ValueError(f"--count and --scale must be at least 1, found {count} and {self.scale}")
        if self.preview is not None and self.preview.suffix:
            if self.preview.suffix.lower() != ".png":
                raise ValueError(f"--preview is a .png or a folder, found {self.preview}")
            check_writable(self.preview)
        stem, digits = self.output.stem, len(str(count))
        numbered = [self.output.with_stem(f"{stem}-{number:0{digits}}") for number in range(1, count + 1)]
        return [check_writable(path) for path in (numbered if count > 1 else [self.output])]

    def generator(self) -> "Generator":
        from kinetoken.generator import Generator

        generator = Generator.from_pretrained(self.model, device=self.device)
        return generator.with_sampling(
            steps=self.steps, guidance=self.guidance, temperature=self.temperature, revision=self.revision
        )

    def first_seed(self) -> int:
        return secrets.randbits(31) if self.seed is None else self.seed

    def make(
        self,
        stream: "Iterable[PartialClip]",
        path: Path,
        *,
        prompt: str | None,
        seed: int,
        notes: "Callable[[Clip], Sequence[str]]" = lambda clip: (),
    ) -> "Made":
        """Follow a stream to its end, write the clip and say what it is. notes: what else there is to say of it."""
        made = followed(self._seen(stream, path), prompt, seed)
        self.write(made, path, notes(made.clip))
        return made

    def write(self, made: "Made", path: Path, notes: "Sequence[str]" = ()) -> None:
        """Write a clip and say what it is."""
        start = time.perf_counter()
        made.clip.save(path, scale=self.scale)
        record = {
            "path": str(path),
            "prompt": made.prompt,
            "seed": made.seed,
            "frames": len(made.clip.frames),
            "width": made.clip.width,
            "height": made.clip.height,
            "fps": made.clip.fps,
            "steps": made.steps,
            "seconds": round(made.seconds + time.perf_counter() - start, 3),
            "sha256": made.sha256,
            "notes": list(notes),
        }
        self.tell(record)

    def _seen(self, stream: "Iterable[PartialClip]", path: Path) -> "Iterator[PartialClip]":
        """A stream with a bar, and as much of a preview as is asked for."""
        for number, step in enumerate(progress(stream, str(path), total=lambda step: step.total), start=1):
            self._show(step, path, number)
            yield step

    def _show(self, step: "PartialClip", path: Path, number: int) -> None:
        if self.preview is None:
            return
        if self.preview.suffix:
            step.clip.save(self.preview)
        else:
            self.preview.mkdir(parents=True, exist_ok=True)
            step.clip.save(self.preview / f"{path.stem}-{number:03}.png")

    def tell(self, record: dict[str, Any]) -> None:
        """A line of JSON; or, on a terminal, a line to read, after its notes."""
        if self.json:
            print(json.dumps(record), flush=True)
            return
        for note in record["notes"]:
            print(note, file=sys.stderr)
        if sys.stdout.isatty():
            shape = "{frames} frames of {width}x{height}, {fps:g} fps".format(**record)
            print("{path}: {}, seed {seed}, {steps} steps, {seconds:.1f} s".format(shape, **record))


class Made(NamedTuple):
    """A clip, and what there is to say of how it was made."""

    clip: "Clip"
    prompt: str
    seed: int
    steps: int
    seconds: float
    sha256: str


def followed(stream: "Iterable[PartialClip]", prompt: str | None, seed: int) -> Made:
    """What a stream ends with. prompt: None is the one that the stream has written."""
    start = time.perf_counter()
    for step in stream:
        last = step
    clip, text = last.clip, last.text if prompt is None else prompt
    return Made(clip, text, seed, last.total, time.perf_counter() - start, last.codes_sha256)


def parsed_frames(text: str, fps: float) -> int:
    """Frames of a time: "2s" or "2" (seconds), or "12f" (frames).

    Raises: ValueError for anything else.
    """
    if not (found := re.fullmatch(r"(\d+)f|(\d{1,6}(?:\.\d+)?)s?", text.strip())):
        raise ValueError(f"a time is seconds, such as 2s or 0.5s, or frames, such as 12f; found {text!r}")
    return int(found[1]) if found[1] else round(float(found[2]) * fps)


def parsed_size(text: str) -> tuple[int, int]:
    """(width, height) of "96x64".

    Raises: ValueError for anything else.
    """
    if not (found := re.fullmatch(r"(\d{1,6})[x×X](\d{1,6})", text.strip())):
        raise ValueError(f"a size is WIDTHxHEIGHT in pixels, such as 96x64, found {text!r}")
    return int(found[1]), int(found[2])


def progress(
    items: Iterable[Item],
    name: str,
    *,
    total: int | Callable[[Item], int] | None = None,
    done: Callable[[Item], int] | None = None,
) -> Iterator[Item]:
    """Pass items on, with a bar for them on a terminal; in silence where the output is piped. total: their number, or a
    function of the first item that says it. done: what an item says of how much is done, if items are not equal."""
    if not (sys.stderr.isatty() and sys.stdout.isatty()):
        yield from items
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total if isinstance(total, int) else None)
        for item in items:
            if callable(total):
                bar.update(task, total=total(item))
            if done is None:
                bar.advance(task)
            else:
                bar.update(task, completed=done(item))
            yield item
