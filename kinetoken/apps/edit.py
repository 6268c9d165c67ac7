"""The commands that start from pictures: animate, extend, connect, inpaint, outpaint, remix, variations, recut,
storyboard; and imagine, which starts from nothing. Each reads its files, lays out a draft (kinetoken/tasks.py) before
the model is loaded, and has it finished."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from kinetoken.apps.options import Making, parsed_frames, parsed_size

if TYPE_CHECKING:
    from kinetoken.clip import Clip
    from kinetoken.draft import Draft
    from kinetoken.generator import Generator

USUAL_FPS, USUAL_FRAMES = 8.0, 17  # of what has no rate or length of its own

BOARD, CARD = ("length", "size", "card"), ("time", "prompt", "image", "clip")


@dataclass(frozen=True, kw_only=True)
class Edit(Making):
    """What edits a clip into another."""

    def execute(self) -> None:
        paths = self.paths(getattr(self, "count", 1))
        prompt = getattr(self, "prompt", None)
        if prompt is not None and not prompt.strip():
            raise ValueError("the prompt is empty: say what should be seen, or leave it out")
        draft = self.draft()
        generator, first = self.generator(), self.first_seed()
        notes = [*self.notes(), *_size_note(draft, generator)]
        for seed, path in enumerate(paths, start=first):
            self.make(
                generator.edit(draft, prompt, seed=seed), path, prompt=prompt, seed=seed, notes=lambda clip: notes
            )

    def draft(self) -> "Draft":
        raise NotImplementedError

    def notes(self) -> list[str]:
        """What the user should know of what was done to the sources."""
        return []


@dataclass(frozen=True, kw_only=True)
class Animate(Edit):
    """Make a picture move. It comes back as the first frame, pixel for pixel.

    kinetoken animate photo.png "a red ball bounces" -o ball.webp
    """

    picture: Positional[Path]
    """An image; of a video, its first frame."""
    prompt: Positional[str | None] = None
    """What should happen."""
    at: str = "0s"
    """When the picture is seen: 0.5s, or 4f (frames)."""
    pin: tuple[str, ...] = ()
    """More pictures and their times: --pin end.png@2s."""
    length: str = f"{USUAL_FRAMES}f"
    """How long the clip becomes: 3s, or 24f."""
    fps: float = USUAL_FPS
    """Frames per second."""
    size: str | None = None
    """WIDTHxHEIGHT; the picture's own size if not given."""
    fit: Literal["crop", "pad"] | None = None
    """What to do with pictures of another shape."""

    def draft(self) -> "Draft":
        from kinetoken.clip import Clip
        from kinetoken.tasks import animate, sized

        if not 0 < self.fps <= 1000:
            raise ValueError(f"fps must lie between 0 and 1000, found {self.fps}")
        placed = [(str(self.picture), self.at), *(_pin(text) for text in self.pin)]
        pictures = [(parsed_frames(when, self.fps), Clip.read(name, max_frames=1)) for name, when in placed]
        if self.size is not None:
            like = _blank(*parsed_size(self.size))
            pictures = [(frame, sized(picture, like, self.fit)) for frame, picture in pictures]
        return animate(pictures, frames=parsed_frames(self.length, self.fps), fps=self.fps, fit=self.fit)


@dataclass(frozen=True, kw_only=True)
class FromClip(Edit):
    """What starts from one clip."""

    clip: Positional[Path]
    """A video, an animation or an image."""
    prompt: Positional[str | None] = None
    """What should be seen; the words stay unknown if not given."""

    def draft(self) -> "Draft":
        from kinetoken.clip import Clip

        return self.lay_out(Clip.read(self.clip))

    def lay_out(self, clip: "Clip") -> "Draft":
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Extend(FromClip):
    """Make what comes after a clip, or came before it. Its own frames stay as they are.

    kinetoken extend ball.mp4 "the ball falls" --after 2s -o longer.webp
    """

    before: str = "0s"
    """How much to make before the clip: 1s, or 8f (frames)."""
    after: str = "0s"
    """How much to make after it."""

    def lay_out(self, clip: "Clip") -> "Draft":
        from kinetoken.tasks import extend

        return extend(clip, before=parsed_frames(self.before, clip.fps), after=parsed_frames(self.after, clip.fps))


@dataclass(frozen=True, kw_only=True)
class Connect(Edit):
    """Lead from one clip to the next, and from that one on. The first one's size and rate are the outcome's.

    kinetoken connect a.mp4 b.mp4 --gap 1s --prompt "the ball grows" -o both.webp
    """

    clips: Positional[tuple[Path, ...]]
    """Two videos or more."""
    prompt: str | None = None
    """What should be seen."""
    gap: str = "1s"
    """How much to make between two clips: 1s, or 8f (frames)."""
    fit: Literal["crop", "pad"] | None = None
    """What to do with clips of another shape than the first."""

    def draft(self) -> "Draft":
        from kinetoken.tasks import connect

        clips = self._read()
        return connect(clips, gap=parsed_frames(self.gap, clips[0].fps) if clips else 0, fit=self.fit)

    def notes(self) -> list[str]:
        first, *others = self._read()
        changed = {"crop": "cropped", "pad": "padded"}.get(self.fit or "", "resized")
        return [
            f"{path}: {clip.width}x{clip.height} at {clip.fps:g} fps is {changed} to {first.width}x{first.height} and "
            f"taken at {first.fps:g} fps, as {self.clips[0]} is"
            for path, clip in zip(self.clips[1:], others, strict=True)
            if (clip.width, clip.height, clip.fps) != (first.width, first.height, first.fps)
        ]

    def _read(self) -> "list[Clip]":
        from kinetoken.clip import Clip

        return [Clip.read(path) for path in self.clips]


@dataclass(frozen=True, kw_only=True)
class Inpaint(FromClip):
    """Make what is inside a mask anew. Pixels outside it stay as they are.

    kinetoken inpaint ball.mp4 "a blue star" --mask mask.png -o star.webp
    """

    mask: Path | None = None
    """White where something is to be made: an image for all frames, or a clip with a mask for each."""
    box: str | None = None
    """Instead of a mask: LEFT,TOP,WIDTH,HEIGHT in pixels."""

    def lay_out(self, clip: "Clip") -> "Draft":
        from kinetoken.clip import Clip
        from kinetoken.tasks import inpaint

        if (self.mask is None) == (self.box is None):
            raise ValueError("say what is to be made anew by --mask or by --box, one of them")
        if self.mask is not None:
            return inpaint(clip, Clip.read(self.mask).frames.mean(-1) >= 128)
        return inpaint(clip, _boxed(str(self.box), clip))


@dataclass(frozen=True, kw_only=True)
class Outpaint(FromClip):
    """Make what is around a clip. It stays as it is, in the middle.

    kinetoken outpaint ball.mp4 --size 96x96 -o wide.webp
    """

    size: str
    """WIDTHxHEIGHT in pixels of what comes out."""

    def lay_out(self, clip: "Clip") -> "Draft":
        from kinetoken.tasks import outpaint

        width, height = parsed_size(self.size)
        return outpaint(clip, width=width, height=height)


@dataclass(frozen=True, kw_only=True)
class Remix(FromClip):
    """Change a clip.

    kinetoken remix ball.mp4 "a blue ball bounces" --strength 0.5 -o blue.webp
    """

    strength: float = 0.5
    """0 is the clip itself, 1 a new one."""

    def lay_out(self, clip: "Clip") -> "Draft":
        from kinetoken.tasks import remix

        return remix(clip, strength=self.strength)


@dataclass(frozen=True, kw_only=True)
class Variations(Remix):
    """Make clips that resemble one: remixes of other seeds.

    kinetoken variations ball.mp4 --count 4 -o like.webp
    """

    strength: float = 0.85
    """0 is the clip itself, 1 a new one."""
    count: int = 4
    """How many."""


@dataclass(frozen=True, kw_only=True)
class Recut(FromClip):
    """Move a part of a clip in time, and make what is around it.

    kinetoken recut ball.mp4 "a ball falls" --keep 0.5s-1.2s --at 1s --length 3s -o cut.webp
    """

    keep: str
    """What is kept: 0.5s-1.2s, or 4f-10f (frames, the last not included)."""
    at: str = "0s"
    """When it begins in the new clip."""
    length: str
    """How long the new clip is."""

    def lay_out(self, clip: "Clip") -> "Draft":
        from kinetoken.tasks import recut

        start, dash, stop = self.keep.partition("-")
        if not dash:
            raise ValueError(f"--keep is two times, such as 0.5s-1.2s, found {self.keep!r}")
        kept = parsed_frames(start, clip.fps), parsed_frames(stop, clip.fps)
        at, frames = parsed_frames(self.at, clip.fps), parsed_frames(self.length, clip.fps)
        return recut(clip, keep=kept, at=at, frames=frames)


@dataclass(frozen=True, kw_only=True)
class Storyboard(Making):
    """Make a clip from cards. board.toml holds length (and size, if you like), and for each card a [[card]] with time,
    prompt, and perhaps an image or a clip that is seen from there.

    kinetoken storyboard board.toml -o story.webp
    """

    board: Positional[Path]
    """The cards."""
    fit: Literal["crop", "pad"] | None = None
    """What to do with pictures of another shape than the board."""

    def execute(self) -> None:
        (path,), told = self.paths(), _read_board(self.board)
        from kinetoken.tasks import check_board

        length = _field(told, "length", "the board")
        size = parsed_size(told["size"]) if "size" in told else None
        times = [parsed_frames(_field(card, "time", "a card"), USUAL_FPS) for card in told["card"]]
        frames = parsed_frames(length, USUAL_FPS)
        check_board([(frame, card.get("prompt", "")) for frame, card in zip(times, told["card"], strict=True)], frames)
        from kinetoken.editing import Card

        cards = [
            Card(frame=frame, prompt=card["prompt"], clip=self._pictures(card))
            for frame, card in zip(times, told["card"], strict=True)
        ]
        generator, seed = self.generator(), self.first_seed()
        stream = generator.stream_storyboard(cards, frames=frames, seed=seed, size=size, fit=self.fit)
        self.make(stream, path, prompt=" / ".join(card.prompt for card in cards), seed=seed)

    def _pictures(self, card: dict[str, Any]) -> "Clip | None":
        from kinetoken.clip import Clip

        if "image" in card:
            return Clip(frames=Clip.read(self.board.parent / card["image"], max_frames=1).frames, fps=USUAL_FPS)
        return Clip.read(self.board.parent / card["clip"]) if "clip" in card else None


@dataclass(frozen=True, kw_only=True)
class Imagine(Making):
    """Make a clip of nothing, and say what it shows.

    kinetoken imagine --seed 3 -o dream.mp4
    """

    def execute(self) -> None:
        (path,) = self.paths()
        generator, seed = self.generator(), self.first_seed()
        last = self.make(generator.stream_imagine(seed=seed), path, prompt=None, seed=seed)
        if not self.json:
            print(last.prompt)


def _size_note(draft: "Draft", generator: "Generator") -> list[str]:
    from kinetoken.draft import working_size

    clip, config = draft.clip, generator.config
    width, height = working_size(clip, config.width, config.height)
    if (width, height) == (clip.width, clip.height):
        return []
    return [
        f"worked on at {width}x{height}, the model's size; what is new is enlarged to {clip.width}x{clip.height}, and "
        "what is kept is the source's own pixels"
    ]


def _pin(text: str) -> tuple[str, str]:
    name, found, when = text.rpartition("@")
    if not found or not name:
        raise ValueError(f"--pin is a picture and a time, such as end.png@2s, found {text!r}")
    return name, when


def _blank(width: int, height: int) -> "Clip":
    import numpy as np

    from kinetoken.clip import Clip

    if min(width, height) < 1:
        raise ValueError(f"a size is at least 1x1, found {width}x{height}")
    return Clip(frames=np.zeros((1, height, width, 3), np.uint8), fps=USUAL_FPS)


def _boxed(text: str, clip: "Clip") -> Any:
    import numpy as np

    try:
        left, top, width, height = (int(number) for number in text.split(","))
    except ValueError:
        raise ValueError(f"--box is LEFT,TOP,WIDTH,HEIGHT in pixels, such as 8,8,16,16, found {text!r}") from None
    if min(left, top) < 0 or min(width, height) < 1 or left + width > clip.width or top + height > clip.height:
        raise ValueError(f"the box {text} does not lie inside the clip, which is {clip.width}x{clip.height}")
    hole = np.zeros((1, clip.height, clip.width), dtype=bool)
    hole[:, top : top + height, left : left + width] = True
    return hole


def _read_board(path: Path) -> dict[str, Any]:
    try:
        told = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}") from None
    cards = told.get("card")
    if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards):
        raise ValueError(f"{path} has no cards: write a [[card]] for each, with time and prompt")
    for table, known in [(told, BOARD), *((card, CARD) for card in cards)]:
        if unknown := sorted(set(table) - set(known)):
            raise ValueError(f"{path}: unknown {', '.join(unknown)}; known here are {', '.join(known)}")
    return told


def _field(table: dict[str, Any], name: str, what: str) -> str:
    if name not in table:
        raise ValueError(f'{what} has no {name}: give it one, such as {name} = "2s"')
    return str(table[name])
