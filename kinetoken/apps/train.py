"""What `kinetoken train` does: a recipe becomes an objective, batches and a run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from torch import nn
from tyro.conf import Positional

from kinetoken.apps.network_tokens import own_tokens, toybox_tokens
from kinetoken.apps.sheets import save_sheet
from kinetoken.clip import Clip
from kinetoken.config import from_flat, to_flat
from kinetoken.data.clip_batches import PreparedClips
from kinetoken.data.clip_tokens import TOKENIZER, token_shards, tokens_card
from kinetoken.data.tar_shards import TarShards
from kinetoken.data.token_shards import ShardBatches
from kinetoken.data.toybox_clips import VALIDATION_SEEDS, ClipShape, ToyboxClips
from kinetoken.data.toybox_layout import LOOKS, THINGS
from kinetoken.data.toybox_tokens import toybox_codec
from kinetoken.generator import CODEC_FILE, Generator, ModelConfig
from kinetoken.grid import CellSize, GridShape
from kinetoken.processes.masked import MaskedObjective
from kinetoken.processes.masking import CanvasBatch
from kinetoken.processes.planning import ReadingObjective
from kinetoken.recipes.network import NetworkRecipe
from kinetoken.recipes.tokenizer import TokenizerRecipe
from kinetoken.tokenizer.growing import deepened, doubled
from kinetoken.tokenizer.losses import ClipBatch, ReconstructionObjective, collapse_warning
from kinetoken.tokenizer.mosaic import Mosaic
from kinetoken.tokenizer.quantizer import Kind, QuantizerConfig
from kinetoken.tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer
from kinetoken.training.batches import Batches
from kinetoken.training.checkpoint import load_weights, save_weights
from kinetoken.training.loop import TrainingResult, train
from kinetoken.transformer import Transformer, TransformerConfig
from kinetoken.vocabulary import TextCodec

TOKENIZER_FORMAT = "kinetoken-tokenizer"
PALETTE_BATCHES = 120  # of clips, from which a mosaic's palette is chosen
LOOKED_AT = 256  # clips by which a new network is told what the codes look like


def train_tokenizer(
    recipe: TokenizerRecipe,
    run: Path,
    *,
    data: Path | None = None,
    start: Path | str | None = None,
    double: bool = False,
    seconds: float | None = None,
) -> TrainingResult:
    """Train, then write the averaged weights to run/model. data: shards of prepared clips, instead of toybox. start: a
    tokenizer to set out from (`load_tokenizer`), instead of random weights; its shape counts, not the recipe's, unless
    the recipe deepens it. double: its codes
    shall stand for twice the size, and clips are twice as large. Raises: ValueError if the recipe is for parts of a
    tokenizer, and there is none to set out from."""
    _refuse_parts_of_nothing(recipe.parts, start)
    torch.manual_seed(recipe.training.seed)
    begun = None if start is None else _begun_tokenizer(recipe, start, double)
    batches, shown = _tokenizer_batches(recipe, data, (recipe.tokenizer if begun is None else begun.config).cell)
    tokenizer = _fresh_tokenizer(recipe, batches) if begun is None else begun
    _train_only(tokenizer, recipe.parts)

    def flops(batch: ClipBatch) -> float:
        clips, length, height, width, _ = batch.frames.shape
        return 3 * clips * tokenizer.flops(GridShape.of_clip(length, height, width, tokenizer.config.cell))

    result = train(
        ReconstructionObjective(
            tokenizer,
            square_weight=recipe.square_weight,
            variation_weight=recipe.variation_weight,
            change_weight=recipe.change_weight,
            coarse_weight=recipe.coarse_weight,
        ),
        batches,
        recipe.training,
        run,
        clips_per_step=lambda batch: len(batch.frames),
        flops_per_step=flops,
        on_sample=lambda _, step, folder: _show_reconstructions(tokenizer, shown, folder / f"step-{step:06d}.png"),
        on_line=lambda line: collapse_warning(line, tokenizer.config.quantizer.codes),
        stop_after_seconds=seconds,
    )
    if result.leads:
        with result.average.swapped_in():
            save_tokenizer(tokenizer, run / "model")
    return result


def _refuse_parts_of_nothing(parts: tuple[str, ...], start: Path | str | None) -> None:
    if parts and start is None:
        raise ValueError(f"this recipe trains parts of what there is ({', '.join(parts)}): say of which by --from")


def _train_only(module: nn.Module, parts: tuple[str, ...]) -> None:
    """All of it, if no parts are named."""
    for name, weight in module.named_parameters():
        weight.requires_grad_(not parts or name.startswith(parts))


def _show_reconstructions(tokenizer: VideoTokenizer, shown: Batches, path: Path) -> None:
    """A sheet of clips, each before what was made of it."""
    source = shown.batch(0, 0, 1).frames
    codes = tokenizer.encode(source.to(tokenizer.device).float() / 127.5 - 1)
    _, frames, height, width, _ = source.shape
    pairs = []
    for clip, grid in zip(source, codes, strict=True):
        rebuilt = tokenizer.decode_clip(grid, fps=8.0, frames=frames, height=height, width=width)
        pairs += [Clip(frames=clip.numpy(), fps=8.0), rebuilt]
    save_sheet(pairs, path)


def _begun_tokenizer(recipe: TokenizerRecipe, start: Path | str, double: bool) -> VideoTokenizer:
    begun = load_tokenizer(start).train()
    begun = doubled(begun) if double else begun
    return deepened(begun, recipe.tokenizer) if recipe.deepens else begun


def _fresh_tokenizer(recipe: TokenizerRecipe, batches: Batches) -> VideoTokenizer:
    tokenizer = VideoTokenizer(recipe.tokenizer)
    tokenizer.settle(batches.batch(step, 0, 1).frames.float() / 127.5 - 1 for step in range(PALETTE_BATCHES))
    return tokenizer


def _tokenizer_batches(recipe: TokenizerRecipe, data: Path | None, cell: CellSize) -> tuple[Batches, Batches]:
    """What is trained on, and what sample sheets show: clips that have as many cells, however large cells are."""
    seed = recipe.training.seed
    shapes, times = recipe.shapes, cell.height // CellSize().height
    if times > 1:
        shapes = tuple(shape.enlarged(times) for shape in shapes)
    if data is not None:
        shown = ClipShape(frames=min(9, max(shape.frames for shape in shapes))).enlarged(max(1, times))
        return (
            PreparedClips(TarShards(data), batch_clips=recipe.batch_clips, shapes=shapes, seed=seed),
            PreparedClips(TarShards(data), batch_clips=6, shapes=(shown,), seed=seed),
        )
    return (
        ToyboxClips(batch_clips=recipe.batch_clips, shapes=shapes, actors=recipe.actors, tries=recipe.tries, seed=seed),
        ToyboxClips(
            batch_clips=6, shapes=(ClipShape(frames=9).enlarged(max(1, times)),), seed=VALIDATION_SEEDS // 2**32
        ),
    )


def train_network(
    recipe: NetworkRecipe,
    tokenizer_folder: Path,
    run: Path,
    *,
    data: Path | None = None,
    start: str | None = None,
    tokens_folder: Path | None = None,
    seconds: float | None = None,
    on_tokenized: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingResult:
    """Tokenize toybox into tokens_folder, or run/tokens, unless that is done, train, then write the whole model to
    run/model.

    data: tokens of prepared clips, instead of toybox; the tokenizer must be the one that made them.
    start: a model to set out from, instead of random weights; its network's shape and words count, not the recipe's. Of
    one that speaks other codes, no more is taken than what it knows of words and what it does with patches.
    on_tokenized(done, total) is told how many clips are tokenized. Raises: ValueError if the recipe is for parts of a
    network, and there is none to set out from.
    """
    _refuse_parts_of_nothing(recipe.parts, start)
    tokenizer = load_tokenizer(tokenizer_folder)
    torch.manual_seed(recipe.training.seed)
    begun = None if start is None else Generator.from_pretrained(start, device="cpu")
    speaks = begun is not None and _speaks(begun, tokenizer)
    network, codec = (
        _fresh_network(recipe, tokenizer, data) if begun is None else _begun_network(begun, tokenizer, data)
    )
    if data is None:
        tokens = toybox_tokens(recipe, tokenizer, tokens_folder or run / "tokens", on_tokenized)
    else:
        tokens = own_tokens(recipe, data, codec, network.config.words)
    if not speaks and not isinstance(tokenizer.quantizer, Mosaic):  # a mosaic's digits say what codes look like
        some = tokens.shards[0].codes[:LOOKED_AT].astype(np.int64)
        network.begin_by_looks(tokenizer.looks(torch.from_numpy(some)))
    _train_only(network, recipe.parts)
    shape = {"loop_frames": begun.config.loop_frames if begun is not None else None} | tokens.shape
    config = ModelConfig(tokenizer=tokenizer.config, network=network.config, sampling=recipe.sampling, **shape)

    def sheet(objective: nn.Module, step: int, folder: Path) -> None:
        generator = Generator(config, tokenizer, codec, network, str(next(network.parameters()).device))
        clips = [generator.generate(prompt, seed=seed) for prompt in tokens.prompts for seed in range(2)]
        save_sheet(clips, folder / f"step-{step:06d}.png")

    result = train(
        ReadingObjective(network) if recipe.reading else MaskedObjective(network, recipe.masking),
        ShardBatches(
            tokens.shards,
            turns=tokens.turns,
            codec=codec,
            network=network.config,
            batch_clips=recipe.batch_clips,
            captioning=recipe.captioning,
            seed=recipe.training.seed,
        ),
        recipe.training,
        run,
        clips_per_step=lambda batch: len(batch.grid),
        flops_per_step=_flops(network, recipe),
        on_sample=sheet,
        stop_after_seconds=seconds,
    )
    if result.leads:
        with result.average.swapped_in():
            Generator(config, tokenizer, codec, network).save(run / "model")
    return result


def _flops(network: Transformer, recipe: NetworkRecipe) -> Callable[[CanvasBatch], float] | None:
    """Of a training step, forward and backward. None for parts but the reader: how far back they reach is not
    counted."""

    def of_step(batch: CanvasBatch) -> float:
        clips, time, rows, columns = batch.grid.shape
        shape = GridShape(time=time, rows=rows, columns=columns)
        if recipe.reading:
            return 3 * clips * network.reader.flops(shape)
        return 3 * clips * network.flops(batch.text.shape[1], shape, shape.cells // 2)

    return of_step if recipe.reading or not recipe.parts else None


def _fresh_network(
    recipe: NetworkRecipe, tokenizer: VideoTokenizer, data: Path | None
) -> tuple[Transformer, TextCodec]:
    if data is None:
        codec = toybox_codec(recipe.text_ids)
    else:
        told = (text for shard in token_shards(data) for texts in shard.captions for text in texts)
        codec = TextCodec.train(told, recipe.text_ids)
    quantizer = tokenizer.config.quantizer
    config = TransformerConfig(
        text_codes=codec.size,
        **_codes_of(quantizer),
        depth=recipe.depth,
        words=recipe.words,
        things=THINGS,
        **(_of_toybox(quantizer) if data is None else {}),
    )
    return Transformer(config), codec


def _of_toybox(quantizer: QuantizerConfig) -> dict[str, Any]:
    """What a network's config says where toybox is learned: its layouts, and what has been measured of it alone."""
    return {"looks": LOOKS, "squeeze": 2, "sight_width": 128, "digit_first": quantizer.is_mosaic}


def _codes_of(quantizer: QuantizerConfig) -> dict[str, Any]:
    """What a network's config says of its codes."""
    return {
        "visual_codes": quantizer.codes,
        "levels": quantizer.digits,
        "squares": quantizer.is_mosaic,
    }


def _speaks(model: Generator, tokenizer: VideoTokenizer) -> bool:
    """Whether a model's codes are of the tokenizer's kind. That they mean the same is not looked into."""
    network, quantizer = model.config.network, tokenizer.config.quantizer
    return (network.visual_codes, network.levels) == (quantizer.codes, quantizer.digits)


def _begun_network(begun: Generator, tokenizer: VideoTokenizer, data: Path | None) -> tuple[Transformer, TextCodec]:
    """Of own clips nobody tells a layout; toybox's are known, and a network that had none begins to learn of them, or
    others."""
    looks = LOOKS if data is None else ()
    if not _speaks(begun, tokenizer):
        network = Transformer(replace(begun.config.network, **_codes_of(tokenizer.config.quantizer), looks=looks))
        network.begin_by_words(begun.network)
    elif (begun.config.network.looks, begun.config.network.slots) == (looks, THINGS if looks else 0):
        network = begun.network.train()
    else:
        network = Transformer(replace(begun.config.network, looks=looks, things=THINGS))
        fresh, learned = network.state_dict(), begun.network.state_dict()
        fitting = {name for name in learned if name in fresh and fresh[name].shape == learned[name].shape}
        network.load_state_dict(fresh | {name: learned[name] for name in fitting})
    return network, begun.codec


def save_tokenizer(tokenizer: VideoTokenizer, folder: Path) -> None:
    save_weights(folder, {"format": TOKENIZER_FORMAT, **to_flat(tokenizer.config)}, tokenizer.state_dict())


def model_folder(folder: Path) -> Path:
    """A model's or tokenizer's own folder, or where a run writes its model."""
    return folder if (folder / "config.json").exists() else folder / "model"


def load_tokenizer(source: Path | str) -> VideoTokenizer:
    """Of a run, of its `model`, or of a whole model, a bundled one's name will do. Raises: ValueError if there is no
    tokenizer."""
    folder = model_folder(Path(source))
    if (folder / CODEC_FILE).exists():
        return Generator.from_pretrained(folder, device="cpu").tokenizer
    if not Path(source).exists():
        return Generator.from_pretrained(source, device="cpu").tokenizer
    flat, tensors = load_weights(folder, TOKENIZER_FORMAT)
    tokenizer = VideoTokenizer(from_flat(TokenizerConfig, {k: v for k, v in flat.items() if k != "format"}))
    tokenizer.load_state_dict(tensors)
    return tokenizer.eval()


@dataclass(frozen=True, kw_only=True)
class Command:
    """Train a video tokenizer or a network by a recipe; go on where it stopped if the run is there already.

    kinetoken train tokenizer --recipe small --run runs/tokenizer
    kinetoken train network --recipe small --tokenizer runs/tokenizer --run runs/network
    kinetoken generate "a red ball bounces" --model runs/network/model
    kinetoken train network --data tokens/ --from toybox --run runs/mine

    Ctrl-C saves and stops; the same command goes on. Metrics are in RUN/metrics.jsonl, pictures in RUN/samples, weights
    in RUN/model. Under torchrun the work is shared.
    """

    what: Positional[Literal["tokenizer", "network"]]
    """Which of the two."""
    run: Path
    """The folder of the run; made if it is not there."""
    start: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Set out from these weights instead of random ones: a model's folder or a bundled name, for a tokenizer a run's
    folder, too. Their shape counts, not the recipe's, but that decoding adds what a decoder lacks. Of a model that
    speaks other codes than the tokenizer what it knows of words is taken, and its tables of codes begin anew."""
    recipe: Literal[
        "debug",
        "decoding",
        "noticing",
        "pictures",
        "small",
        "painting",
        "planning",
        "reading",
        "telling",
        "drawings",
        "animations",
        "base",
    ] = "small"
    """debug: seconds, to see that all runs. small: a laptop. base: a GPU or several. For a toybox network, too, before
    small, pictures: single frames; and after it, for parts alone, painting: how things are drawn; planning: how layouts
    are written; reading: how they are found in a grid; telling: how they are put into words. For a network of your own
    clips, drawings: single frames, and after it animations. For a tokenizer, decoding: its decoder alone, codes as they
    are; and after it noticing: with it what codes of mosaics tell of motion."""
    quantizer: Kind | None = None
    """Of a new tokenizer: mosaic is for flat colours, soft-mosaic for drawings with shading, and a network learns them
    soonest; fsq learns its codes, for everything else. If not given, the recipe's for toybox and fsq for --data."""
    data: Path | None = None
    """Your own clips instead of toybox: for a tokenizer what kinetoken data prepare wrote, for a network what kinetoken
    data tokenize wrote."""
    tokenizer: Path | None = None
    """For a network: the run of its tokenizer, or a model's folder or bundled name, whose tokenizer is taken. With
    --data it is known."""
    tokens: Path | None = None
    """For a network: where the tokens of toybox are, or shall be made; RUN/tokens if not given."""
    steps: int | None = None
    """Steps in all, instead of the recipe's. A run that is finished goes on if this is more than it has done."""
    rate: float = 1.0
    """What the recipe's learning rates are multiplied by: a third or so to go on from weights that know a lot."""
    batch_clips: int | None = None
    """Clips for each step, instead of the recipe's."""
    depth: int | None = None
    """Of a network: the size dial, instead of the recipe's."""
    minutes: float | None = None
    """Save and stop after this long."""
    device: str | None = None
    """cpu, cuda, …; the best there is if not given."""
    double: bool = False
    """Of a mosaic tokenizer set out from: its codes shall stand for twice the width and height. Networks of them stay
    what they are and make clips of twice the size."""
    tensorboard: bool = False
    """Write metrics for TensorBoard, too."""

    def execute(self) -> None:
        seconds = None if self.minutes is None else 60 * self.minutes
        recipes = import_module(f"kinetoken.recipes.{self.what}")
        if not hasattr(recipes, self.recipe):
            raise ValueError(f"a {self.what} has no recipe {self.recipe}")
        recipe = self._changed(getattr(recipes, self.recipe)())
        if self.what == "tokenizer":
            result = train_tokenizer(
                recipe, self.run, data=self.data, start=self.start, double=self.double, seconds=seconds
            )
        else:
            result = train_network(
                recipe,
                self._network_tokenizer(),
                self.run,
                data=self.data,
                start=self.start,
                tokens_folder=self.tokens,
                seconds=seconds,
                on_tokenized=_tell_tokenized,
            )
        if result.leads:
            state = "finished" if result.finished else "saved; the same command goes on"
            print(f"{self.run}: step {result.step}, {state}; weights in {self.run / 'model'}")

    def _network_tokenizer(self) -> Path:
        if self.data is not None and self.tokens is not None:
            raise ValueError("--data brings tokens of its own: leave --tokens, which are toybox's, out")
        if self.data is not None and self.tokenizer is None:
            tokens_card(self.data)
            return self.data / TOKENIZER
        if self.tokenizer is None:
            raise ValueError("a network speaks a tokenizer's codes: name its run with --tokenizer, or tokens by --data")
        if self.data is not None:
            raise ValueError("--data brings the tokenizer that made its tokens: leave --tokenizer out")
        return self.tokenizer

    def _changed(self, recipe: Any) -> Any:
        if not self.rate > 0:
            raise ValueError(f"--rate must be more than 0, found {self.rate:g}")
        training = {"total_steps": self.steps, "device": self.device}
        changes: dict[str, Any] = {
            "training": replace(
                recipe.training,
                learning_rate=self.rate * recipe.training.learning_rate,
                adam_learning_rate=self.rate * recipe.training.adam_learning_rate,
                tensorboard=self.tensorboard,
                **{name: value for name, value in training.items() if value is not None},
            )
        }
        if self.batch_clips is not None:
            if self.batch_clips < 1:
                raise ValueError(f"--batch-clips must be at least 1, found {self.batch_clips}")
            changes["batch_clips"] = self.batch_clips
        fresh = self.what == "tokenizer" and self.start is None
        if self.double and (fresh or self.what == "network"):
            raise ValueError("--double is for a tokenizer to set out from: say which one by --from")
        if self.quantizer is not None and not fresh:
            raise ValueError("--quantizer is for a new tokenizer")
        kind: Kind | None = self.quantizer or (None if self.data is None else "fsq")
        if fresh and kind is not None and kind != recipe.tokenizer.quantizer.kind:
            quantizer = QuantizerConfig(kind=kind)
            cell = replace(recipe.tokenizer.cell, square=2 if quantizer.is_mosaic else 1)
            width = TokenizerConfig.frame_channels  # toybox's mosaics need less, which was measured of them alone
            changes["tokenizer"] = replace(recipe.tokenizer, cell=cell, quantizer=quantizer, frame_channels=width)
        if self.depth is not None:
            if self.what == "tokenizer":
                raise ValueError("--depth is a network's dial; a tokenizer has none")
            if self.start is not None:
                raise ValueError("--depth is said by the weights of --from")
            changes["depth"] = self.depth
        return replace(recipe, **changes)


def _tell_tokenized(done: int, total: int) -> None:
    if done % 1000 == 0 or done == total:
        print(f"tokenized {done:,} of {total:,} clips", flush=True)
