"""Recipes for the video tokenizer. Each is a complete value: change it with flags, or write another.

kinetoken train tokenizer --recipe small --run runs/tokenizer
"""

from dataclasses import dataclass, field, replace

from kinetoken.data.toybox_clips import ClipShape
from kinetoken.grid import CellSize
from kinetoken.tokenizer.quantizer import QuantizerConfig
from kinetoken.tokenizer.video_tokenizer import TokenizerConfig
from kinetoken.training.loop import TrainingConfig

# Short clips: the tokenizer looks back by a few layers of cells only, so what it learns on 9 frames holds for 900.
# Windows where something happens, for most of the time; whole clips of every kind take turns, so that none is strange.
SHORT_CLIPS = (
    *(ClipShape(frames=9, crop=32),) * 3,
    ClipShape(frames=17),
    *(ClipShape(frames=9, crop=32),) * 3,
    ClipShape(frames=9, height=64, width=96),
    *(ClipShape(frames=9, crop=32),) * 2,
    ClipShape(frames=9, height=96, width=64),
    ClipShape(frames=1),
)


@dataclass(frozen=True, kw_only=True)
class TokenizerRecipe:
    """parts: of the tokenizer that learn, by how their names begin; all if none is named. deepens: a decoder to set out
    from gets the layers of this recipe's that it lacks."""

    training: TrainingConfig
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    batch_clips: int = 8
    shapes: tuple[ClipShape, ...] = SHORT_CLIPS
    actors: tuple[int, ...] = (3, 2, 1, 2)  # crowded scenes: background is learned soon, and teaches nothing after that
    tries: int = 3  # likewise, of what hardly moves
    square_weight: float = 8.0
    variation_weight: float = 0.05
    change_weight: float = 0.0
    coarse_weight: float = 0.0
    parts: tuple[str, ...] = ()
    deepens: bool = False


def debug() -> TokenizerRecipe:
    """Seconds on two cores: shows that everything runs, not that it learns."""
    return TokenizerRecipe(
        tokenizer=TokenizerConfig(channels=32, encoder_blocks=1, decoder_blocks=1),
        batch_clips=2,
        shapes=(ClipShape(frames=5, height=32, width=32), ClipShape(frames=1, height=32, width=32)),
        training=TrainingConfig(total_steps=20, warmup_steps=2, log_every=5, sample_every=20, data_workers=0),
    )


def small() -> TokenizerRecipe:
    """A toybox tokenizer: a quarter of an hour on two CPU cores. Of mosaics the decoder is trained and what it is told
    of motion; the rest is settled once the palette is chosen."""
    return TokenizerRecipe(
        tokenizer=TokenizerConfig(cell=CellSize(square=2), quantizer=QuantizerConfig(kind="mosaic"), frame_channels=32),
        batch_clips=4,
        training=TrainingConfig(
            total_steps=2000,
            learning_rate=6e-3,
            adam_learning_rate=2e-3,
            weight_decay=0.02,
            warmup_steps=50,
            decay=0.6,
            ema_decay=0.998,
            sample_every=1000,
            checkpoint_every_seconds=180.0,
        ),
    )


def decoding() -> TokenizerRecipe:
    """After `small`: the decoder alone, for as long as one likes, pictures at the ends of layers corrected, and how
    layers of cells follow one another. Codes stay what they are, and so do tokens and networks that were made of them.
    """
    return replace(
        small(),
        tokenizer=replace(small().tokenizer, picture_blocks=3),
        square_weight=16.0,
        change_weight=10.0,
        parts=("decoder",),
        deepens=True,
        training=replace(small().training, total_steps=8000, learning_rate=3e-3, adam_learning_rate=1e-3, decay=1.0),
    )


def noticing() -> TokenizerRecipe:
    """After `decoding`: what a mosaic notices of motion, now that there is a decoder to make the most of it; with that
    decoder, and more layers of it for what drawings do between the ends of layers. Codes change by a digit: tokens are
    to be made anew, and networks may be trained on."""
    return replace(
        decoding(),
        tokenizer=replace(decoding().tokenizer, frame_blocks=4, picture_blocks=6, sees_before=True),
        parts=("decoder", "quantizer.notice"),
        coarse_weight=16.0,
        training=replace(decoding().training, total_steps=3000, learning_rate=2e-3, adam_learning_rate=1e-3),
    )


def base() -> TokenizerRecipe:
    """For a GPU: wider and deeper, larger batches."""
    return TokenizerRecipe(
        tokenizer=TokenizerConfig(channels=128, encoder_blocks=4, decoder_blocks=8),
        batch_clips=64,
        training=TrainingConfig(
            total_steps=50_000,
            learning_rate=2e-3,
            adam_learning_rate=1e-3,
            weight_decay=0.02,
            warmup_steps=500,
            decay=0.5,
            sample_every=1000,
            data_workers=8,
        ),
    )
