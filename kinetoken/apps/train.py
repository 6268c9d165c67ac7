"""What `kinetoken train` does: a recipe becomes an objective, batches and a run."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from kinetoken.clip import Clip
from kinetoken.config import from_flat, to_flat
from kinetoken.data.token_shards import ShardBatches, TokenShard
from kinetoken.data.toybox_clips import VALIDATION_SEEDS, ToyboxClips
from kinetoken.data.toybox_tokens import tokenize_toybox, toybox_codec
from kinetoken.generator import Generator, ModelConfig
from kinetoken.grid import GridShape
from kinetoken.processes.masked import CanvasBatch, MaskedObjective
from kinetoken.recipes.network import ClipShare, NetworkRecipe
from kinetoken.recipes.tokenizer import TokenizerRecipe
from kinetoken.tokenizer.losses import ClipBatch, ReconstructionObjective
from kinetoken.tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer
from kinetoken.training.checkpoint import load_weights, save_weights
from kinetoken.training.loop import TrainingResult, train
from kinetoken.transformer import Transformer, TransformerConfig

TOKENIZER_FORMAT = "kinetoken-tokenizer"
PROMPTS = (
    "a big red ball bounces while a small blue square spins",
    "a green star grows",
    "a yellow heart moves left on a navy background",
    "a striped purple ring spins quickly on a grey background with a floor",
)


def train_tokenizer(recipe: TokenizerRecipe, run: Path, *, seconds: float | None = None) -> TrainingResult:
    """Train, then write the averaged weights to run/model."""
    torch.manual_seed(recipe.training.seed)
    tokenizer = VideoTokenizer(recipe.tokenizer)
    weights = sum(parameter.numel() for parameter in tokenizer.parameters())

    def flops(batch: ClipBatch) -> float:
        clips, *sizes, _ = batch.frames.shape
        return 6.0 * weights * clips * GridShape.of_clip(*sizes, recipe.tokenizer.cell).cells

    def sheet(objective: nn.Module, step: int, folder: Path) -> None:
        source = ToyboxClips(batch_clips=6, shapes=recipe.shapes[:1], seed=VALIDATION_SEEDS // 2**32).batch(0).frames
        codes = tokenizer.encode(source.to(tokenizer.device).float() / 127.5 - 1)
        _, frames, height, width, _ = source.shape
        pairs = []
        for clip, grid in zip(source, codes, strict=True):
            rebuilt = tokenizer.decode_clip(grid, fps=8, frames=frames, height=height, width=width)
            pairs += [Clip(frames=clip.numpy(), fps=8), rebuilt]
        _save_sheet(pairs, folder / f"step-{step:06d}.png")

    result = train(
        ReconstructionObjective(tokenizer, square_weight=recipe.square_weight),
        ToyboxClips(batch_clips=recipe.batch_clips, shapes=recipe.shapes, seed=recipe.training.seed),
        recipe.training,
        run,
        clips_per_step=recipe.batch_clips,
        flops_per_step=flops,
        on_sample=sheet,
        stop_after_seconds=seconds,
    )
    with result.average.swapped_in():
        save_tokenizer(tokenizer, run / "model")
    return result


def train_network(
    recipe: NetworkRecipe,
    tokenizer_folder: Path,
    run: Path,
    *,
    seconds: float | None = None,
    on_tokenized: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingResult:
    """Tokenize toybox into run/tokens unless that is done, train, then write the whole model to run/model.

    on_tokenized(done, total) is told how many clips are tokenized.
    """
    tokenizer = load_tokenizer(tokenizer_folder)
    codec = toybox_codec(recipe.text_ids)
    shards = _shards(tokenizer, run / "tokens", recipe.data, on_tokenized)
    torch.manual_seed(recipe.training.seed)
    network = Transformer(
        TransformerConfig(
            text_codes=codec.size,
            visual_codes=tokenizer.config.quantizer.codes,
            depth=recipe.depth,
            words=recipe.words,
        )
    )
    first = recipe.data[0].shape
    config = ModelConfig(
        tokenizer=tokenizer.config,
        network=network.config,
        frames=first.frames,
        width=first.width,
        height=first.height,
    )

    def flops(batch: CanvasBatch) -> float:
        shape = GridShape(time=batch.grid.shape[1], rows=batch.grid.shape[2], columns=batch.grid.shape[3])
        return 3 * len(batch.grid) * network.flops(batch.text.shape[1], shape, shape.cells // 2)

    def sheet(objective: nn.Module, step: int, folder: Path) -> None:
        generator = Generator(config, tokenizer, codec, network, str(next(network.parameters()).device))
        _save_sheet(
            [generator.generate(prompt, seed=seed) for prompt in PROMPTS for seed in range(2)],
            folder / f"step-{step:06d}.png",
        )

    result = train(
        MaskedObjective(network, recipe.masking),
        ShardBatches(
            shards,
            turns=_turns([share.turns for share in recipe.data]),
            codec=codec,
            vocabulary=network.config.vocabulary,
            batch_clips=recipe.batch_clips,
            words=recipe.words,
            seed=recipe.training.seed,
        ),
        recipe.training,
        run,
        clips_per_step=recipe.batch_clips,
        flops_per_step=flops,
        on_sample=sheet,
        stop_after_seconds=seconds,
    )
    with result.average.swapped_in():
        Generator(config, tokenizer, codec, network).save(run / "model")
    return result


def save_tokenizer(tokenizer: VideoTokenizer, folder: Path) -> None:
    save_weights(folder, {"format": TOKENIZER_FORMAT, **to_flat(tokenizer.config)}, tokenizer.state_dict())


def load_tokenizer(folder: Path) -> VideoTokenizer:
    """Raises: ValueError if the folder holds no tokenizer."""
    flat, tensors = load_weights(folder if (folder / "config.json").exists() else folder / "model", TOKENIZER_FORMAT)
    tokenizer = VideoTokenizer(from_flat(TokenizerConfig, {k: v for k, v in flat.items() if k != "format"}))
    tokenizer.load_state_dict(tensors)
    return tokenizer.eval()


def _shards(
    tokenizer: VideoTokenizer, folder: Path, data: Sequence[ClipShare], on_tokenized: Callable[[int, int], None]
) -> list[TokenShard]:
    total, before, first_seed = sum(share.clips for share in data), 0, 0
    shards = []
    for share in data:
        shape = share.shape
        shard = folder / f"{shape.frames}x{shape.height}x{shape.width}-from-{first_seed}-{share.clips}"
        if not shard.exists():
            for done in tokenize_toybox(tokenizer, shard, shape=shape, clips=share.clips, first_seed=first_seed):
                on_tokenized(before + done, total)
        shards.append(TokenShard(shard))
        before += share.clips
        first_seed += share.clips
    return shards


def _turns(counts: Sequence[int]) -> list[int]:
    """A round of sum(counts) steps in which index i comes counts[i] times, evenly spread."""
    places = [((k + 0.5) / count, index) for index, count in enumerate(counts) for k in range(count)]
    return [index for _, index in sorted(places)]


def _save_sheet(clips: Sequence[Clip], path: Path, *, columns: int = 6, scale: int = 2) -> None:
    """A row of frames for each clip, evenly spaced in time, two clips beside each other."""
    rows = []
    for clip in clips:
        times = np.linspace(0, len(clip.frames) - 1, columns).round().astype(int)
        rows.append(np.concatenate([np.pad(frame, ((1, 1), (1, 1), (0, 0))) for frame in clip.frames[times]], axis=1))
    pairs = [np.concatenate(rows[i : i + 2], axis=1) for i in range(0, len(rows) - len(rows) % 2, 2)]
    Image.fromarray(np.concatenate(pairs).repeat(scale, 0).repeat(scale, 1)).save(path)
