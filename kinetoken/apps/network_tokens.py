"""What a network is trained on: tokens of toybox, made once, or of clips of one's own."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from kinetoken.data.clip_tokens import LOOPS, token_shards, tokens_card
from kinetoken.data.token_shards import TokenShard
from kinetoken.data.toybox_tokens import plan_toybox, tokenize_toybox
from kinetoken.recipes.network import ClipShare, NetworkRecipe
from kinetoken.tokenizer.video_tokenizer import VideoTokenizer
from kinetoken.vocabulary import TextCodec

PROMPTS = (
    "a big red ball bounces while a small blue square spins",
    "a green star grows",
    "a yellow heart moves left on a navy background",
    "a striped purple ring spins quickly on a grey background with a floor",
)


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """turns: the shard that each step of a round reads; prompts: of sample sheets; shape: frames, width, height and
    fps."""

    shards: list[TokenShard]
    turns: list[int]
    prompts: Sequence[str]
    shape: dict[str, Any]


def toybox_tokens(
    recipe: NetworkRecipe, tokenizer: VideoTokenizer, folder: Path, on_tokenized: Callable[[int, int], None]
) -> Tokens:
    """Toybox's, made in `folder` unless they are there. on_tokenized(done, total) is told how many clips are."""
    shards = _shards(tokenizer, folder, recipe.data, on_tokenized)
    plans = _plans(tokenizer, folder, recipe)
    excerpts = [
        replace(shards[each.share], layers=each.layers, side=each.side, silent=each.silent) for each in recipe.excerpts
    ]
    turns = [share.turns for share in recipe.data] + [excerpt.turns for excerpt in recipe.excerpts]
    turns += [recipe.plan_turns for _ in plans]
    first = recipe.data[0].shape
    shape = {"frames": first.frames, "width": first.width, "height": first.height}
    if loops := [share.shape.frames for share in recipe.data if share.shape.loop]:
        shape["loop_frames"] = loops[0]
    return Tokens(shards=shards + excerpts + plans, turns=_evenly(turns), prompts=PROMPTS, shape=shape)


def own_tokens(recipe: NetworkRecipe, folder: Path, codec: TextCodec, words: int) -> Tokens:
    """The recipe's turns for whole clips, and its excerpts where they fit, of every shard of clips; its turns for
    loops; one turn for every shard of pictures."""
    shards, card = token_shards(folder), tokens_card(folder)
    whole = sum(share.turns for share in recipe.data)
    turns = [recipe.loop_turns if shard.loop else whole if shard.codes.shape[1] > 1 else 1 for shard in shards]
    excerpts, excerpt_turns = [], []
    for shard in shards:
        _, time, rows, columns = shard.codes.shape
        for excerpt in recipe.excerpts if time > 1 and not shard.loop else ():
            if excerpt.layers <= time and (excerpt.side or 1) <= min(rows, columns):
                excerpts.append(replace(shard, layers=excerpt.layers, side=excerpt.side))
                excerpt_turns.append(excerpt.turns)
    told = shards[0].captions
    prompts = [min(told[k], key=len) for k in sorted({len(told) * k // len(PROMPTS) for k in range(len(PROMPTS))})]
    shape = {name: getattr(card.config, name) for name in ("frames", "width", "height")} | {"fps": card.fps}
    if any(shard.loop for shard in shards):
        shape["loop_frames"] = card.config.loops
    return Tokens(
        shards=shards + excerpts,
        turns=_evenly(turns + excerpt_turns),
        prompts=[_shortened(prompt, codec, words) for prompt in prompts],
        shape=shape,
    )


def _shortened(prompt: str, codec: TextCodec, words: int) -> str:
    ids = codec.encode(prompt)
    return prompt if len(ids) <= words else codec.decode(ids[: words // 2])


def _shards(
    tokenizer: VideoTokenizer, folder: Path, data: Sequence[ClipShare], on_tokenized: Callable[[int, int], None]
) -> list[TokenShard]:
    total, first_seed, shards = sum(share.clips for share in data), 0, []
    for share in data:
        shape = share.shape
        objects = "" if share.actors is None else f"-of-{share.actors}"
        size = f"{LOOPS if shape.loop else ''}{shape.frames}x{shape.height}x{shape.width}"
        beyond = f"-beyond-{shape.beyond}" if shape.beyond else ""
        shard = folder / f"{size}{beyond}{objects}-from-{first_seed}-{share.clips}"
        _once(shard, partial(_tokenize, tokenizer, shard, share, first_seed, total, on_tokenized))
        shards.append(TokenShard(shard, loop=shape.loop))
        first_seed += share.clips
    return shards


def _tokenize(
    tokenizer: VideoTokenizer,
    shard: Path,
    share: ClipShare,
    first_seed: int,
    total: int,
    on_tokenized: Callable[[int, int], None],
) -> None:
    for done in tokenize_toybox(
        tokenizer, shard, shape=share.shape, clips=share.clips, first_seed=first_seed, actors=share.actors
    ):
        on_tokenized(first_seed + done, total)


def _plans(tokenizer: VideoTokenizer, folder: Path, recipe: NetworkRecipe) -> list[TokenShard]:
    """Scenes after those that are rendered."""
    if not recipe.plans:
        return []
    first, shape = sum(share.clips for share in recipe.data), recipe.data[0].shape
    shard = folder / f"layouts-{shape.frames}x{shape.height}x{shape.width}-from-{first}-{recipe.plans}"
    _once(shard, lambda: plan_toybox(shard, tokenizer.config.cell, shape=shape, scenes=recipe.plans, first_seed=first))
    return [TokenShard(shard)]


def _once(shard: Path, make: Callable[[], None]) -> None:
    """Under torchrun, the first process makes a shard for all."""
    if int(os.environ.get("RANK", "0")) > 0:
        while not shard.exists():
            time.sleep(1.0)
    elif not shard.exists():
        make()


def _evenly(counts: Sequence[int]) -> list[int]:
    """A round of sum(counts) steps in which index i comes counts[i] times, evenly spread."""
    places = [((k + 0.5) / count, index) for index, count in enumerate(counts) for k in range(count)]
    return [index for _, index in sorted(places)]
