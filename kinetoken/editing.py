"""Editing: the tasks that start from pictures, as methods of a generator. Each lays out a draft and has it finished."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, UInt8

from kinetoken import tasks
from kinetoken.clip import Clip
from kinetoken.draft import Draft
from kinetoken.tasks import Fit

if TYPE_CHECKING:
    from kinetoken.generator import ModelConfig, PartialClip


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a storyboard says from a frame on; and pictures that are kept from there, if it has any."""

    frame: int
    prompt: str
    clip: Clip | None = None


def _after(past: UInt8[np.ndarray, "_ height width 3"], finish: Callable[[Clip], Clip] | None, made: Clip) -> Clip:
    """What was made, finished, with what was before it."""
    whole = made if finish is None else finish(made)
    return Clip(frames=np.concatenate((past, whole.frames)), fps=whole.fps)


class Editing:
    """Options of every method, by keyword: seed, steps, guidance, temperature, revision. Lengths and places are frames.
    A mistake is a ValueError before any work."""

    config: "ModelConfig"

    def edit(
        self,
        draft: Draft,
        prompt: str | None = None,
        *,
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        revision: float | None = None,
    ) -> "Iterator[PartialClip]":
        raise NotImplementedError

    def stream_imagine(self, *, seed: int | None, temperature: float | None = None) -> "Iterator[PartialClip]":
        raise NotImplementedError

    def speaks_of(self, prompt: str, picture: Clip) -> bool:
        raise NotImplementedError

    def finish(self, draft: Draft, prompt: str | None = None, **options: Any) -> Clip:
        """The last of `edit`."""
        for step in self.edit(draft, prompt, **options):
            last = step
        return last.clip

    def animate(
        self,
        pictures: Clip | Sequence[tuple[int, Clip]],
        prompt: str | None = None,
        *,
        frames: int | None = None,
        fps: float | None = None,
        fit: Fit | None = None,
        **options: Any,
    ) -> Clip:
        """A clip that begins with a picture, or holds pictures at given frames."""
        placed = [(0, pictures)] if isinstance(pictures, Clip) else pictures
        frames, fps = frames or self.config.frames, fps or self.config.fps
        return self.finish(tasks.animate(placed, frames=frames, fps=fps, fit=fit), prompt, **options)

    def extend(self, clip: Clip, prompt: str | None = None, *, before: int = 0, after: int = 0, **options: Any) -> Clip:
        """The clip, and what came before or comes after."""
        return self.finish(tasks.extend(clip, before=before, after=after), prompt, **options)

    def connect(
        self, clips: Sequence[Clip], prompt: str | None = None, *, gap: int = 8, fit: Fit | None = None, **options: Any
    ) -> Clip:
        """Clips one after another, and what leads from each to the next."""
        return self.finish(tasks.connect(clips, gap=gap, fit=fit), prompt, **options)

    def inpaint(
        self, clip: Clip, hole: Bool[np.ndarray, "_ height width"], prompt: str | None = None, **options: Any
    ) -> Clip:
        """The clip with something else in the hole."""
        return self.finish(tasks.inpaint(clip, hole), prompt, **options)

    def outpaint(self, clip: Clip, prompt: str | None = None, *, size: tuple[int, int], **options: Any) -> Clip:
        """The clip and what is around it. size: (width, height)."""
        return self.finish(tasks.outpaint(clip, width=size[0], height=size[1]), prompt, **options)

    def remix(self, clip: Clip, prompt: str | None = None, *, strength: float = 0.5, **options: Any) -> Clip:
        """The clip, changed: strength 0 is the clip itself, 1 a new one."""
        return self.finish(tasks.remix(clip, strength=strength), prompt, **options)

    def variations(
        self,
        clip: Clip,
        prompt: str | None = None,
        *,
        count: int = 4,
        strength: float = 0.85,
        seed: int = 0,
        **options: Any,
    ) -> list[Clip]:
        """Clips that share a few codes with this one. Number k has the seed seed + k."""
        draft = tasks.remix(clip, strength=strength)
        return [self.finish(draft, prompt, seed=seed + number, **options) for number in range(count)]

    def recut(
        self, clip: Clip, prompt: str | None = None, *, keep: tuple[int, int], at: int, frames: int, **options: Any
    ) -> Clip:
        """A part of the clip at another time of a new one."""
        return self.finish(tasks.recut(clip, keep=keep, at=at, frames=frames), prompt, **options)

    def storyboard(self, cards: Sequence[Card], *, frames: int, **options: Any) -> Clip:
        """A clip in stretches, each with its card's words. Options also size and fit."""
        for step in self.stream_storyboard(cards, frames=frames, **options):
            last = step
        return last.clip

    def stream_storyboard(
        self,
        cards: Sequence[Card],
        *,
        frames: int,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        fit: Fit | None = None,
        **options: Any,
    ) -> "Iterator[PartialClip]":
        """A canvas has one row of text, so the stretches are made one after another, each with its card's words; what
        was made before, and what cards pin, also the next one's, is kept. A card that speaks of something else than is
        to be seen when it comes begins anew, with a cut. Partial clips grow from stretch to stretch.

        Raises: ValueError for cards out of order, past the end, without words, or that run into each other.
        """
        tasks.check_board([(card.frame, card.prompt) for card in cards], frames)
        width, height = size or (self.config.width, self.config.height)
        blank = Clip(frames=np.full((frames, height, width, 3), 128, np.uint8), fps=self.config.fps)
        pieces = [(card.frame, tasks.brought_to(card.clip, blank, fit)) for card in cards if card.clip is not None]
        board = Draft.of_frames(blank, np.zeros(frames, dtype=bool))
        if pieces:
            board = tasks.pinned(pieces, frames=frames, fps=blank.fps, fit=fit)
        return self._stretches(board, cards, seed, options)

    def _stretches(
        self, board: Draft, cards: Sequence[Card], seed: int, options: dict[str, Any]
    ) -> "Iterator[PartialClip]":
        stops = [card.frame for card in cards[1:]] + [len(board.clip)]
        for card, stop, following in zip(cards, stops, [*cards[1:], None], strict=True):
            seen = stop + (len(following.clip) if following is not None and following.clip is not None else 0)
            start = card.frame if self._begins_anew(card, board) else 0
            past = board.clip.frames[:start]
            for step in self.edit(board.between(start, min(seen, len(board.clip))), card.prompt, seed=seed, **options):
                step = replace(step, finish=partial(_after, past, step.finish))
                yield step
            board = board.with_made(step.clip.frames[:stop])

    def _begins_anew(self, card: Card, board: Draft) -> bool:
        if card.frame == 0 or card.clip is not None:
            return False
        seen = Clip(frames=board.clip.frames[card.frame - 1 : card.frame], fps=board.clip.fps)
        return not self.speaks_of(card.prompt, seen)

    def imagine(self, *, seed: int | None = None, temperature: float | None = None) -> tuple[str, Clip]:
        """Words, and a clip of them, out of nothing."""
        for step in self.stream_imagine(seed=seed, temperature=temperature):
            last = step
        return last.text, last.clip
