"""Recipes for the network. Each is a complete value: change it with flags, or write another.

kinetoken train network --recipe small --tokenizer runs/tokenizer --run runs/network
"""

from dataclasses import dataclass, field, replace

from kinetoken.data.toybox_clips import ClipShape
from kinetoken.processes.masked import SamplingConfig
from kinetoken.processes.masking import MaskingConfig
from kinetoken.training.loop import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class ClipShare:
    """How many clips of a shape are tokenized, and how many of each round of training steps they get. actors: how many
    objects they show; as scenes come if None."""

    shape: ClipShape
    clips: int
    turns: int
    actors: int | None = None


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A part of each clip of a share, as a clip of its own: its beginning of so many layers of cells (one is an image),
    and of that all, or a window of side x side cells where something is. silent: without captions, which are most of
    the price of small windows: a layout says how to paint them."""

    layers: int
    turns: int
    side: int | None = None
    share: int = 0
    silent: bool = False


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe:
    """excerpts: they cost a part of a whole clip and teach colours, shapes and motions as well. plans: scenes of which
    only words and layouts are seen, in so many turns. loop_turns: of shards of loops. depth: the size dial of the
    transformer. text_ids: of the byte-level BPE. words: longest row of text. batch_clips: of the first share; of other
    shapes as many as make no more codes. sampling: what the model samples by until it is told otherwise. parts: of the
    network that learn, by how their names begin; all if none is named."""

    training: TrainingConfig
    data: tuple[ClipShare, ...]
    excerpts: tuple[Excerpt, ...] = ()
    plans: int = 0
    plan_turns: int = 0
    loop_turns: int = 1
    depth: int = 4
    text_ids: int = 512
    words: int = 48
    batch_clips: int = 32
    captioning: float = 0.25  # of batches of whole clips
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    parts: tuple[str, ...] = ()
    reading: bool = False


def debug() -> NetworkRecipe:
    """Seconds on two cores: shows that everything runs, not that it learns."""
    return NetworkRecipe(
        depth=2,
        text_ids=300,
        batch_clips=2,
        data=(
            ClipShare(shape=ClipShape(frames=5, height=32, width=32), clips=8, turns=3),
            ClipShare(shape=ClipShape(frames=1, height=32, width=32), clips=8, turns=1),
            ClipShare(shape=ClipShape(frames=8, height=32, width=32, loop=True), clips=8, turns=1),
        ),
        plans=8,
        plan_turns=1,
        training=TrainingConfig(total_steps=20, warmup_steps=2, log_every=5, sample_every=20, data_workers=0),
    )


TOYBOX = (
    ClipShare(shape=ClipShape(frames=17), clips=14_000, turns=4, actors=1),
    ClipShare(shape=ClipShape(frames=17), clips=6_000, turns=3),
    ClipShare(shape=ClipShape(frames=1), clips=30_000, turns=2, actors=1),
    ClipShare(shape=ClipShape(frames=33), clips=300, turns=1),
    ClipShare(shape=ClipShape(frames=17, height=64, width=96), clips=300, turns=1),
    ClipShare(shape=ClipShape(frames=17, height=96, width=64), clips=300, turns=1),
    ClipShare(shape=ClipShape(frames=24, loop=True), clips=3_000, turns=2),
    ClipShare(shape=ClipShape(frames=17, height=96, width=96, beyond=16), clips=800, turns=0),
)
"""The first share's shape is the model's. The last shows what lies around a scene, for `outpaint`; without words, for a
sentence asks for the scene's own frame."""
AROUND = len(TOYBOX) - 1
TOYBOX_SAMPLING = SamplingConfig(
    steps=14, first=3.0, exponent=4.0, guidance=1.0, temperature=0.25, layout_temperature=0.3, revision=0.1
)
"""Where a layout says what is to be painted, twice as many steps do no better (docs/journal.md); with 10 there are
specks. Guidance would cost as much again, and gain nothing."""


def pictures() -> NetworkRecipe:
    """Shapes, colours and grounds, before anything moves: half an hour on two CPU cores. Then kinetoken train network
    --recipe small --from RUN/model."""
    turns = (0, 0, 2, 0, 0, 0, 0, 0)
    return NetworkRecipe(
        data=tuple(replace(share, turns=count) for share, count in zip(TOYBOX, turns, strict=True)),
        excerpts=(
            Excerpt(layers=1, turns=1),
            Excerpt(layers=1, turns=1, share=1),
            Excerpt(layers=1, side=8, turns=4, share=2, silent=True),
            Excerpt(layers=1, side=8, turns=2, share=1, silent=True),
            Excerpt(layers=1, turns=1, share=AROUND, silent=True),
        ),
        plans=100_000,
        plan_turns=4,
        batch_clips=16,
        captioning=0.0,
        sampling=TOYBOX_SAMPLING,
        training=replace(small().training, total_steps=500, decay=0.25),
    )


def small() -> NetworkRecipe:
    """A toybox model, after `pictures`: an hour and a half on two CPU cores. The bundled one came by earlier forms of
    both (its card)."""
    return NetworkRecipe(
        data=TOYBOX,
        excerpts=(
            Excerpt(layers=1, turns=1),
            Excerpt(layers=1, turns=1, share=1),
            Excerpt(layers=1, side=8, turns=2, silent=True),
            Excerpt(layers=2, turns=3),
            Excerpt(layers=2, turns=1, share=1),
            Excerpt(layers=3, turns=1),
            Excerpt(layers=4, turns=1, share=1),
            Excerpt(layers=2, side=8, turns=2, silent=True),
            Excerpt(layers=5, side=8, turns=5, silent=True),
            Excerpt(layers=5, side=8, turns=3, share=1, silent=True),
            Excerpt(layers=5, turns=6, share=AROUND, silent=True),
        ),
        plans=100_000,
        plan_turns=14,
        batch_clips=16,
        sampling=TOYBOX_SAMPLING,
        training=TrainingConfig(
            total_steps=3000,
            learning_rate=5e-3,
            adam_learning_rate=1.6e-3,
            weight_decay=0.05,
            warmup_steps=100,
            decay=0.6,
            ema_decay=0.998,
            sample_every=1000,
            checkpoint_every_seconds=240.0,
        ),
    )


def painting() -> NetworkRecipe:
    """After `small`: how things are drawn, mostly from windows, which are full of edges. What takes the whole network
    hours takes the part that does it minutes (docs/journal.md)."""
    turns = (2, 0, 0, 0, 0, 0, 1, 0)
    return replace(
        small(),
        parts=("things_on_grid", "code_", "digit_out"),
        data=tuple(replace(share, turns=count) for share, count in zip(TOYBOX, turns, strict=True)),
        excerpts=(
            Excerpt(layers=5, side=8, turns=4, silent=True),
            Excerpt(layers=5, side=8, turns=3, share=1, silent=True),
            Excerpt(layers=5, turns=1, share=AROUND, silent=True),
        ),
        plan_turns=0,
        captioning=0.0,
        training=replace(small().training, total_steps=800, learning_rate=4e-3, adam_learning_rate=1.3e-3),
    )


def planning() -> NetworkRecipe:
    """After `painting`: how layouts are written, by their head alone, mostly from scenes that nobody has rendered."""
    turns = (1, 1, 0, 0, 0, 0, 1, 0)
    return replace(
        small(),
        parts=("things_out",),
        data=tuple(replace(share, turns=count) for share, count in zip(TOYBOX, turns, strict=True)),
        excerpts=(Excerpt(layers=1, turns=1),),  # or nothing is to be seen on single frames
        plan_turns=15,
        captioning=0.0,
        training=replace(small().training, total_steps=2000, learning_rate=3e-3, adam_learning_rate=1.5e-3),
    )


def reading() -> NetworkRecipe:
    """How layouts are read from grids, by a part that needs no other: half an hour on one CPU core."""
    turns = (2, 4, 1, 1, 1, 1, 1, 0)
    return replace(
        small(),
        parts=("reader",),
        reading=True,
        data=tuple(replace(share, turns=count) for share, count in zip(TOYBOX, turns, strict=True)),
        excerpts=(Excerpt(layers=1, turns=1, share=1),),
        plans=0,
        plan_turns=0,
        captioning=0.0,
        training=replace(small().training, total_steps=3000, learning_rate=4e-3, adam_learning_rate=1.5e-3, decay=0.8),
    )


def telling() -> NetworkRecipe:
    """After `small`: how layouts are put into words."""
    turns = (1, 1, 0, 0, 0, 0, 0, 0)
    return replace(
        small(),
        parts=("telling.", "word_out"),
        data=tuple(replace(share, turns=count) for share, count in zip(TOYBOX, turns, strict=True)),
        excerpts=(),
        plan_turns=2,
        captioning=1.0,
        training=replace(small().training, total_steps=1000, learning_rate=4e-3, adam_learning_rate=1.5e-3, decay=0.8),
    )


ANIMATIONS_SAMPLING = replace(TOYBOX_SAMPLING, guidance=2.0, revision=0.0)


def drawings() -> NetworkRecipe:
    """Single frames of clips of one's own: what names look like, for a fifth of a clip's price. Then kinetoken train
    network --recipe animations --from RUN/model. Words are whole: names are many, and each comes in few clips. Batches
    are small: to learn names by heart takes many steps."""
    return NetworkRecipe(
        data=(ClipShare(shape=ClipShape(frames=17), clips=0, turns=0),),
        excerpts=(Excerpt(layers=1, turns=1),),
        loop_turns=0,
        text_ids=2048,
        words=32,
        batch_clips=8,
        captioning=0.0,
        sampling=ANIMATIONS_SAMPLING,
        training=replace(small().training, total_steps=2000, sample_every=500),
    )


def animations() -> NetworkRecipe:
    """Clips of one's own, after `drawings`, at half its rate and coming down from the first step on."""
    return replace(
        drawings(),
        data=(ClipShare(shape=ClipShape(frames=17), clips=0, turns=3),),
        excerpts=(Excerpt(layers=1, turns=2), Excerpt(layers=2, turns=1), Excerpt(layers=3, turns=1)),
        loop_turns=6,
        captioning=0.1,
        training=replace(
            small().training,
            total_steps=6000,
            learning_rate=2.5e-3,
            adam_learning_rate=8e-4,
            decay=1.0,
            sample_every=500,
        ),
    )


def base() -> NetworkRecipe:
    """For a GPU or several, under torchrun."""
    return NetworkRecipe(
        depth=12,
        batch_clips=256,
        excerpts=small().excerpts,
        plans=16 * small().plans,
        plan_turns=small().plan_turns,
        sampling=small().sampling,
        data=tuple(replace(share, clips=16 * share.clips) for share in small().data),
        training=TrainingConfig(
            total_steps=100_000,
            learning_rate=1e-3,
            adam_learning_rate=1e-3,
            weight_decay=0.05,
            warmup_steps=1000,
            decay=0.4,
            sample_every=2000,
            data_workers=8,
        ),
    )
