"""Generator: a checkpoint, a prompt and a task become a stream of partial clips, then the clip."""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor, nn

from kinetoken.canvas import Canvas
from kinetoken.clip import Clip
from kinetoken.config import from_flat, to_flat
from kinetoken.draft import Draft, Work
from kinetoken.editing import Editing
from kinetoken.grid import GridShape
from kinetoken.long_video import Stretch, stretches, windows
from kinetoken.loops import LoopPlan, closed, cut, loops, there_and_back
from kinetoken.processes.masked import SamplingConfig, Step, fill_grid, fill_text
from kinetoken.processes.planning import spoken_of, with_shown
from kinetoken.side_by_side import side_by_side
from kinetoken.tasks import captioning, closing, completion, first_codes, imagining
from kinetoken.tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer
from kinetoken.training.checkpoint import load_weights, save_weights
from kinetoken.transformer import Transformer, TransformerConfig
from kinetoken.vocabulary import TextCodec, Vocabulary

BUNDLED = Path(__file__).parent / "weights"
MOST_PIXELS = 2**28  # of one generated clip: frames x height x width
FORMAT = "kinetoken-model"
LONGEST_WINDOW = 4  # times the trained length; see Generator.longest_frames
USUAL_WORDS = 24  # of a text that is unknown and not to be written
DOUBT = 3.0  # nats: words that speak of something else make what is to be seen less likely by five and more
CODEC_FILE = "text_codec.json"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A model and its defaults: frames, width, height and fps are what it was mostly trained on, loop_frames the length
    of its loops, if it has seen any."""

    tokenizer: TokenizerConfig
    network: TransformerConfig
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    frames: int = 17
    width: int = 64
    height: int = 64
    fps: float = 8.0
    loop_frames: int | None = None


@dataclass(frozen=True)
class PartialClip:
    """One step of a generation. `clip` decodes what is there so far, when it is asked for, and gives it to `finish`, if
    the task has something to do to it; `codes` are -1 where nothing is filled yet."""

    generator: "Generator"
    step: Step
    frames: int
    height: int
    width: int
    fps: float
    finish: Callable[[Clip], Clip] | None = None
    """What is done with the decoded clip: what is kept of a source is put back."""

    @property
    def done(self) -> int:
        return self.step.done

    @property
    def total(self) -> int:
        return self.step.total

    @property
    def text(self) -> str:
        """The prompt as the network reads it."""
        return self.generator.codec.decode(self.step.canvas.text[0].tolist())

    @property
    def codes(self) -> Int[Tensor, "time rows columns"]:
        grid, known = self.step.canvas.grid[0].cpu(), self.step.canvas.grid_known[0].cpu()
        return (grid - self.generator.config.network.vocabulary.text_end).masked_fill(~known, -1)

    @property
    def codes_sha256(self) -> str:
        """Of the codes as little-endian int32, in time, row, column order: equal hashes, equal clips."""
        return hashlib.sha256(self.codes.numpy().astype("<i4").tobytes()).hexdigest()

    @property
    def clip(self) -> Clip:
        """Unknown cells borrow the code of the nearest filled one."""
        codes = self.codes
        clip = self.generator.tokenizer.decode_clip(
            _nearest_known(codes, codes >= 0, self.generator.config.tokenizer.cell.square),
            fps=self.fps,
            frames=self.frames,
            height=self.height,
            width=self.width,
            loop=self.step.canvas.loop,
        )
        return clip if self.finish is None else self.finish(clip)


class Generator(Editing):
    """A tokenizer, a text codec and a network that belong together, on one device."""

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: VideoTokenizer,
        codec: TextCodec,
        network: Transformer,
        device: str = "cpu",
    ) -> None:
        self.config, self.codec = config, codec
        self.tokenizer, self.network = tokenizer.to(device).eval(), network.to(device).eval()
        self.device = torch.device(device)

    @classmethod
    def from_pretrained(cls, model: str | Path = "toybox", *, device: str | None = None) -> "Generator":
        """model: the name of a bundled model, a folder that `save` wrote, or owner/name on the hub (needs
        huggingface-hub). device: as torch names it; a GPU if there is one.

        Raises: ValueError for an unknown model or device, or a checkpoint that cannot be read.
        """
        folder = _find(model)
        flat, tensors = load_weights(folder, FORMAT)
        config = from_flat(ModelConfig, {key: value for key, value in flat.items() if key != "format"})
        tokenizer, network = VideoTokenizer(config.tokenizer), Transformer(config.network)
        _load(tokenizer, tensors, "tokenizer.")
        _load(network, tensors, "network.")
        try:
            codec = TextCodec.from_json((folder / CODEC_FILE).read_text())
        except OSError as error:
            raise ValueError(f"{folder} has no readable {CODEC_FILE}: {error.strerror}") from None
        for module in (tokenizer, network):
            _laid_out(module)
        return cls(config, tokenizer, codec, network, best_device(device))

    def save(self, folder: Path) -> None:
        """Write config.json, model.safetensors (fp16) and the text codec, to be read by `from_pretrained`."""
        config = {"format": FORMAT, **to_flat(self.config)}
        tensors = {f"tokenizer.{name}": tensor for name, tensor in self.tokenizer.state_dict().items()}
        tensors |= {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        save_weights(folder, config, tensors, dtype=torch.float16)
        (folder / CODEC_FILE).write_text(self.codec.to_json())

    def with_sampling(self, **changes: Any) -> "Generator":
        """The same model with other defaults: steps, guidance, guided, temperature, order or revision; None changes
        nothing."""
        config = replace(self.config, sampling=_sampling(self.config.sampling, **changes))
        return Generator(config, self.tokenizer, self.codec, self.network, str(self.device))

    @property
    def longest_frames(self) -> int:
        """The longest clip that is made in one window; longer ones are made by a window that moves.

        Relative positions carry a network somewhat beyond the lengths that it has seen, not to any length, and the
        price of a step grows with the square of the window.
        """
        return LONGEST_WINDOW * self.config.frames

    def generate(
        self, prompt: str, *, seed: int | None = None, frames: int | None = None, loop: bool = False, **options: Any
    ) -> Clip:
        """The clip that a sentence describes. Options as `stream`; more than `longest_frames` as `stream_long`, unless
        it is a loop."""
        if frames is not None and frames > self.longest_frames and not loop:
            parts = [stretch.clip for stretch in self.stream_long(prompt, seed=seed, frames=frames, **options)]
            return Clip(frames=np.concatenate([part.frames for part in parts]), fps=parts[0].fps)
        for step in self.stream(prompt, seed=seed, frames=frames, loop=loop, **options):
            last = step
        return last.clip

    def generate_each(self, prompts: Sequence[str], *, seeds: Sequence[int], **options: Any) -> Iterator[Clip]:
        """The clip of each prompt and its seed, in this order, each as `generate` makes it, several at once.

        Raises: ValueError if there are not as many seeds as prompts, and as `generate`.
        """
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts need as many seeds, found {len(seeds)}")

        def made(number: int) -> Clip:
            return self.generate(prompts[number], seed=seeds[number], **options)

        return side_by_side(made, len(prompts), self.device)

    def stream(
        self,
        prompt: str,
        *,
        seed: int | None = None,
        frames: int | None = None,
        size: tuple[int, int] | None = None,
        fps: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        revision: float | None = None,
        loop: bool = False,
    ) -> Iterator[PartialClip]:
        """Yield a partial clip after every step; the last is the whole clip.

        seed: drawn if None. size: (width, height). fps: how fast the clip plays; the frames stay the same. loop: the
        last frame leads to the first: time is a circle, for the network and for the tokenizer, and the whole clip
        begins where that shows least (loops.cut). Its layers have four frames each; of other numbers, the next larger
        is made, and up to three frames are left out evenly.
        Raises: ValueError, before any work, for an empty or too long prompt, or an impossible size.
        """
        config = self.config
        usual = config.loop_frames if loop and config.loop_frames else config.frames
        frames = usual if frames is None else frames
        width, height = size or (config.width, config.height)
        rate = config.fps if fps is None else fps
        sampling = _sampling(
            config.sampling, steps=steps, guidance=guidance, temperature=temperature, revision=revision
        )
        _check_size(frames, height, width)
        canvas = self._empty(prompt, frames, height, width, rate, loop=loop)
        seed = secrets.randbits(32) if seed is None else seed
        return (
            PartialClip(self, step, frames, height, width, rate, cut if loop and step.done == step.total else None)
            for step in fill_grid(self.network, canvas, seed, sampling)
        )

    def stream_long(
        self,
        prompt: str,
        *,
        frames: int,
        seed: int | None = None,
        size: tuple[int, int] | None = None,
        fps: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        revision: float | None = None,
    ) -> Iterator[Stretch]:
        """Yield the frames of a clip of any length as they are finished, in memory that does not grow with it.

        A window of the trained length moves along the clip; the greater half of it is past and known. So a clip begins
        with the clip of the trained length and the same seed, and a longer one begins with the shorter one. Options and
        errors as `stream`, steps being those of each window.
        """
        config = self.config
        width, height = size or (config.width, config.height)
        rate = config.fps if fps is None else fps
        sampling = _sampling(
            config.sampling, steps=steps, guidance=guidance, temperature=temperature, revision=revision
        )
        _check_size(min(frames, config.frames), height, width)
        text_end = config.network.vocabulary.text_end
        filled = windows(
            lambda canvas, seed: fill_grid(self.network, canvas, seed, sampling),
            self._empty(prompt, config.frames, height, width, rate),
            secrets.randbits(32) if seed is None else seed,
            lambda grid: self.tokenizer.last_frame(grid - text_end) + text_end,
        )
        return stretches(filled, self.tokenizer, text_end, frames=frames, height=height, width=width, fps=rate)

    def _empty(
        self, prompt: str | None, frames: int, height: int, width: int, fps: float, *, loop: bool = False
    ) -> Canvas:
        """A canvas of whole patches on which the text alone is known, or nothing if there is no prompt."""
        if not 0 < fps <= 1000:
            raise ValueError(f"fps must lie between 0 and 1000, found {fps}")
        shape = GridShape.of_clip(frames, height, width, self.config.tokenizer.cell, loop=loop)
        sizes = shape.rounded_up(self.config.network.patch).sizes
        unknown = torch.full(sizes, Vocabulary.MASK), torch.zeros(sizes, dtype=torch.bool)
        empty = completion(None if prompt is None else self._row(prompt), *unknown, self._usual_words)
        return replace(empty, loop=loop).to(self.device)

    def loop(
        self,
        clip: Clip,
        prompt: str | None = None,
        *,
        seed: int | None = None,
        seconds: float | None = None,
        **options: Any,
    ) -> Clip:
        """The clip with an end that leads to its beginning; the clip itself, if it loops already and no seconds are
        given. Options as `stream_loop`."""
        if seconds is None and loops(clip):
            return clip
        for step in self.stream_loop(clip, prompt, seed=seed, seconds=seconds, **options):
            last = step
        return last.clip

    def stream_loop(
        self,
        clip: Clip,
        prompt: str | None = None,
        *,
        seed: int | None = None,
        seconds: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        revision: float | None = None,
    ) -> Iterator[PartialClip]:
        """Make the last `seconds` of a clip anew (half of it if None), on a circle of time, so that it loops. All
        frames before come back bit for bit; length, size and fps stay. A clip of more than twice the model's pixels is
        worked on at the model's size, and what is made is enlarged.

        prompt: what is seen, if it shall guide what is made; else the text is unknown, too.
        Raises: ValueError, before any work, for a clip that is too short, impossible seconds or a wrong prompt.
        """
        plan = LoopPlan.of_clip(clip, self.config.tokenizer.cell, seconds)
        sampling = _sampling(
            self.config.sampling,
            steps=steps,
            guidance=1.0 if prompt is None else guidance,
            temperature=temperature,
            revision=revision,
        )
        _check_size(*clip.frames.shape[:3])
        working = _within(clip, self.config)
        size = len(working), working.height, working.width
        empty = self._empty(prompt, *size, clip.fps, loop=True)
        seed = secrets.randbits(32) if seed is None else seed
        codes = self.tokenizer.encode_clip(there_and_back(working, plan.kept), loop=True)
        first = self.tokenizer.decode_clip(
            codes, fps=clip.fps, frames=size[0], height=size[1], width=size[2], loop=True
        )
        shown = self._padded(codes)[None].to(self.device) + self.config.network.vocabulary.text_end
        past = plan.layers - plan.anew
        canvas = closing(empty, shown[:, :past])
        canvas = with_shown(self.network, canvas, closing(empty, shown), [*range(past), plan.layers - 1])
        return (
            PartialClip(self, step, *size, clip.fps, partial(closed, clip, kept=plan.kept, first=first))
            for step in fill_grid(self.network, canvas, seed, sampling)
        )

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
    ) -> Iterator[PartialClip]:
        """Make what a draft (tasks.py) does not keep, yielding a partial clip after every step: the one engine of all
        tasks that start from pictures. Kept pixels go to the tokenizer, whole cells of them are known to the network,
        and they come back from the draft bit for bit. prompt: None leaves the words unknown.

        Raises: ValueError, before any work, for an empty or too long prompt.
        """
        config = self.config
        sampling = _sampling(
            config.sampling, steps=steps, guidance=guidance, temperature=temperature, revision=revision
        )
        if 0 < draft.share < 1:  # codes all over the clip are known, as that order would have left them
            sampling = replace(sampling, order="halton")
        row = None if prompt is None else self._row(prompt)
        seed = secrets.randbits(32) if seed is None else seed
        work = Work.of(
            draft, width=config.width, height=config.height, context=config.frames, cell=config.tokenizer.cell
        )
        size = len(work.clip), work.clip.height, work.clip.width
        _check_size(*size)
        known = self._padded(torch.from_numpy(work.known))
        known |= first_codes(
            GridShape(time=known.shape[0], rows=known.shape[1], columns=known.shape[2]), draft.share, seed
        )

        def steps_of_work() -> Iterator[PartialClip]:
            grid = self._padded(self.tokenizer.encode_clip(work.clip).cpu())
            canvas = completion(row, grid + config.network.vocabulary.text_end, known, self._usual_words)
            done = [Step(canvas, 1, 1)] if known.all() else self.fill(canvas, seed=seed, sampling=sampling)
            for step in done:
                yield PartialClip(self, step, *size, draft.clip.fps, work.finished)

        return steps_of_work()

    def stream_imagine(self, *, seed: int | None = None, temperature: float | None = None) -> Iterator[PartialClip]:
        """Neither words nor grid are known: the words are written, then the grid is filled. A partial clip's `text` is
        what it shows."""
        config, seed = self.config, secrets.randbits(32) if seed is None else seed
        shape = GridShape.of_clip(config.frames, config.height, config.width, config.tokenizer.cell)
        canvas = imagining(shape.rounded_up(config.network.patch), config.network.words).to(self.device)
        for step in fill_text(self.network, canvas, seed, temperature=1.0):
            canvas = step.canvas
        said = _to_fours(int((canvas.text != Vocabulary.PAD).sum()))
        canvas = replace(canvas, text=canvas.text[:, :said], text_known=canvas.text_known[:, :said])
        sampling = _sampling(config.sampling, temperature=temperature)
        for step in self.fill(canvas, seed=seed, sampling=sampling):
            yield PartialClip(self, step, config.frames, config.height, config.width, config.fps)

    def speaks_of(self, prompt: str, picture: Clip) -> bool:
        """Whether a prompt may be about what a picture shows: unless it makes that less likely by more than DOUBT. True
        if nothing is read in it."""
        codes = self._padded(self.tokenizer.encode_clip(_within(picture, self.config)).cpu())
        grid = codes + self.config.network.vocabulary.text_end
        canvas = completion(self._row(prompt), grid, torch.ones_like(grid, dtype=torch.bool)).to(self.device)
        nats = spoken_of(self.network, canvas)
        return nats is None or nats > -DOUBT

    def caption(self, clip: Clip, *, seed: int = 0, temperature: float = 0.0) -> str:
        """What the network says of a clip: the same network as `generate`, with the grid known and the text not.

        The clip is brought near to the size that the model knows first.
        """
        for step in self.stream_caption(clip, seed=seed, temperature=temperature):
            last = step
        return self.codec.decode(last.canvas.text[0].tolist())

    def stream_caption(self, clip: Clip, *, seed: int = 0, temperature: float = 0.0) -> Iterator[Step]:
        """Yield after every word."""
        fitted = _fit(clip, self.config)
        codes = self.tokenizer.encode_clip(fitted)
        grid = self._padded(codes) + self.config.network.vocabulary.text_end
        canvas = captioning(grid.cpu(), self.config.network.words).to(self.device)
        return fill_text(self.network, canvas, seed, temperature=temperature)

    def fill(self, canvas: Canvas, *, seed: int = 0, sampling: SamplingConfig | None = None) -> Iterator[Step]:
        """Fill the unknown cells of a canvas of your own."""
        return fill_grid(self.network, canvas.to(self.device), seed, sampling or self.config.sampling)

    def _padded(self, codes: Shaped[Tensor, "time rows columns"]) -> Tensor:
        """The last squares of each axis repeated until the grid is made of whole patches."""
        square = self.config.tokenizer.cell.square
        shape = GridShape(time=codes.shape[0], rows=codes.shape[1], columns=codes.shape[2])
        indices = [
            torch.where((places := torch.arange(size)) < have, places, have - step + places % step)
            for size, have, step in zip(
                shape.rounded_up(self.config.network.patch).sizes, codes.shape, (1, square, square), strict=True
            )
        ]
        return codes[torch.meshgrid(*indices, indexing="ij")]

    @property
    def _usual_words(self) -> int:
        """How long a row of unknown text is."""
        return min(USUAL_WORDS, self.config.network.words)

    def _row(self, prompt: str) -> list[int]:
        """Ids of a prompt. Raises: ValueError for an empty or too long one."""
        return self.codec.row(prompt, self.config.network.words)[: _to_fours(len(self.codec.encode(prompt)))]


def _to_fours(words: int) -> int:
    """Rows of text were padded to fours in training."""
    return -(-words // 4) * 4


def _sampling(default: SamplingConfig, **changes: Any) -> SamplingConfig:
    return replace(default, **{name: value for name, value in changes.items() if value is not None})


def _check_size(frames: int, height: int, width: int) -> None:
    if min(frames, height, width) < 1 or frames * height * width > MOST_PIXELS:
        raise ValueError(
            f"cannot make {frames} frames of {width}x{height}: each must be at least 1, "
            f"and all together at most {MOST_PIXELS:,} pixels"
        )


def _fit(clip: Clip, config: ModelConfig) -> Clip:
    """The clip at the model's number of pixels (its aspect kept), fps and at most its length."""
    scale = (config.width * config.height / (clip.width * clip.height)) ** 0.5
    width, height = (max(4, round(side * scale / 16) * 16) for side in (clip.width, clip.height))
    count = max(1, min(config.frames, round(len(clip.frames) * config.fps / clip.fps)))
    times = np.minimum((np.arange(count) * clip.fps / config.fps).round().astype(int), len(clip.frames) - 1)
    fitted = Clip(frames=clip.frames[times], fps=config.fps)
    return fitted if (width, height) == (clip.width, clip.height) else fitted.resize(width, height)


def _within(clip: Clip, config: ModelConfig) -> Clip:
    """The clip; if it has more than twice the model's pixels, at the model's number of them (its aspect kept)."""
    scale = (config.width * config.height / (clip.width * clip.height)) ** 0.5
    return clip if scale > 0.7 else clip.resize(max(1, round(clip.width * scale)), max(1, round(clip.height * scale)))


def _nearest_known(
    codes: Int[Tensor, "time rows columns"], known: Bool[Tensor, "time rows columns"], square: int
) -> Int[Tensor, "time rows columns"]:
    """Unknown cells take the code of the nearest known one that has the same place within its square; 0 if none
    has."""
    result = codes.clone()
    for row, column in product(range(square), repeat=2):
        here = slice(None), slice(row, None, square), slice(column, None, square)
        have = known[here]
        if have.any() and not have.all():
            filled, empty = have.nonzero().float(), (~have).nonzero()
            nearest = torch.cat([torch.cdist(part.float(), filled).argmin(-1) for part in empty.split(1024)])
            result[here] = result[here].masked_scatter(~have, codes[here][have][nearest])
    return result.clamp_min(0)


def _find(model: str | Path) -> Path:
    bundled = sorted(path.parent.name for path in BUNDLED.glob("*/config.json"))
    if str(model) in bundled:
        return BUNDLED / str(model)
    if Path(model).is_dir():
        return Path(model)
    if str(model).count("/") == 1 and not str(model).startswith((".", "/")):
        return _from_hub(str(model))
    raise ValueError(f"unknown model {str(model)!r}: bundled are {', '.join(bundled) or 'none'}; or name a folder")


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ValueError(f"{name!r} is no folder here; to load it from the hub, pip install 'kinetoken[hub]'") from None
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.md"]))
    except Exception as error:  # the hub client's errors have no common base
        raise ValueError(f"{name!r} is no folder here, and the hub did not give it: {error}") from None


def best_device(name: str | None = None) -> str:
    """The device of that name, or the best there is.

    Raises: ValueError if it cannot be used.
    """
    if name is None:
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return name


def _laid_out(module: nn.Module) -> None:
    """Put weights in the order in which a processor's products and convolutions read them, which otherwise is made
    anew at every call: a fifteenth of a sampler's time."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            part.weight.data = part.weight.data.t().contiguous().t()
        elif isinstance(part, nn.Conv2d):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last)


def _load(module: nn.Module, tensors: dict[str, Tensor], prefix: str) -> None:
    mine = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if broken := [name for name, tensor in mine.items() if not tensor.isfinite().all()]:
        raise ValueError(f"the weights {broken[:3]} are not finite: get the model again")
    try:
        module.load_state_dict(mine)
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit their configuration: {' '.join(str(error).split())[:300]}") from None
