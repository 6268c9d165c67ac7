"""kinetoken data: your own clips, from files to tokens."""

import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg, subcommand

from kinetoken.apps.options import parsed_frames, parsed_size, progress

if TYPE_CHECKING:
    from kinetoken.data.clip_reading import PrepareConfig
    from kinetoken.tokenizer.video_tokenizer import VideoTokenizer

CELLS = 16  # of what is tokenized, across and down


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Files of any kind become clips of one rate and one size, in WebDataset's tar shards, with a report.

    kinetoken data prepare holidays/ -o shards/
    kinetoken data prepare clips.csv -o shards/ --fps 12 --size 96x64

    mp4, mov, mkv, webm, avi, gif, webp, png, jpeg, bmp, and folders of numbered pictures, which are one clip each. What
    is seen in them comes from a table (file, caption), or a .txt of the same name with a caption a line, or the file's
    name. Ctrl-C stops; the same command goes on, and does nothing when all is done.
    """

    where: Positional[Path]
    """A folder, with all that is in it; or a list: .csv, .jsonl or .parquet with file and caption, or .txt with a path
    a line."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """The folder of the shards; made if it is not there."""
    captions: Path | None = None
    """A table of a folder's captions; if not given, its captions.csv, captions.jsonl or captions.parquet."""
    names: bool = True
    """Whether a file's name is its caption where nothing else is."""
    fps: float = 8.0
    """Frames per second of every clip: the bundled model's, if not given."""
    size: str = "80x80"
    """WIDTHxHEIGHT of every clip: somewhat more than a model sees, so that tokenize has windows to choose from."""
    fit: Literal["crop", "pad"] = "crop"
    """What becomes of other shapes: cropped to the middle, or padded with black."""
    cuts: bool = True
    """Split where the scene changes (needs PySceneDetect: pip install 'kinetoken[data]')."""
    shortest: str = "17f"
    """Drop shorter clips: 17f (frames) or 2s. Pictures stay."""
    longest: str = "10s"
    """Cut longer scenes into pieces."""
    picture_fps: float | None = None
    """Frames per second of folders of pictures; as --fps if not given, so that none is left out."""
    backdrops: int = 0
    """Make so many clips of what is transparent, each before another plain colour, which its captions say; with 0 it
    is laid over white."""
    format: Literal["webp", "mp4"] = "webp"
    """webp keeps every pixel; mp4 takes about a tenth of the room."""
    workers: int | None = None
    """Processes that read; one for each core if not given, 0 for none but this."""

    def execute(self) -> None:
        from kinetoken.data.clips_on_disk import prepare
        from kinetoken.data.report import REPORT, write_report
        from kinetoken.data.sources import DataSet
        from kinetoken.data.tar_shards import PLACES

        workers = os.cpu_count() or 1 if self.workers is None else self.workers
        if workers < 0:
            raise ValueError(f"--workers must be at least 0, found {workers}")
        config, data = self._config(), DataSet(self.where, captions=self.captions, names=self.names, skip=self.output)
        total = data.count()
        if not total:
            raise ValueError(f"{self.where} holds no clips: give mp4, mov, mkv, webm, avi, gif, webp or pictures")
        fresh, finished = 0, (self.output / PLACES).exists()
        for record in progress(prepare(data, self.output, config, workers=workers), "files", total=total):
            fresh += record is not None
        if fresh or not finished or not (self.output / REPORT).exists():
            write_report(self.output, data)
        self._tell(fresh, total)

    def _config(self) -> "PrepareConfig":
        from kinetoken.data.clip_reading import PrepareConfig

        width, height = parsed_size(self.size)
        return PrepareConfig(
            fps=self.fps,
            width=width,
            height=height,
            fit=self.fit,
            cuts=self.cuts,
            shortest=parsed_frames(self.shortest, self.fps),
            longest=parsed_frames(self.longest, self.fps),
            format=self.format,
            picture_fps=self.picture_fps,
            backdrops=self.backdrops,
        )

    def _tell(self, fresh: int, total: int) -> None:
        from kinetoken.data.report import REPORT
        from kinetoken.data.tar_shards import records

        clips, reasons = 0, Counter[str]()
        for record in records(self.output):
            clips += len(record.clips)
            reasons.update(part.reason for part in record.dropped)
        told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common()) or "none"
        print(f"{total:,} files, {fresh:,} of them new: {clips:,} clips; dropped: {told}")
        print(self.output / REPORT)


@dataclass(frozen=True, kw_only=True)
class Tokenize:
    """Prepared clips become tokens, once: several stretches of time and windows of the picture of each.

    kinetoken data tokenize shards/ -o tokens/
    kinetoken train network --data tokens/ --recipe small --run runs/mine

    Ctrl-C stops; the same command goes on after the last whole shard.
    """

    shards: Positional[Path]
    """What kinetoken data prepare wrote."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """The folder of the tokens; made if it is not there."""
    tokenizer: str = "toybox"
    """Whose codes: a bundled model, or the run or folder of a tokenizer."""
    frames: int = 17
    """Frames of what is tokenized. Pictures are tokenized as one."""
    size: str | None = None
    """WIDTHxHEIGHT of what is tokenized; 16 by 16 of the tokenizer's cells if not given, which is what bundled models
    see: 64x64 for toybox, 128x128 for emoji."""
    offsets: int = 4
    """Stretches of each clip, at most, evenly spaced."""
    crops: int = 2
    """Windows of each stretch: the whole picture, and others within it if it is larger than --size."""
    loops: int = 0
    """Frames of the loops that a network shall learn: clips that lead from their end to their beginning and are about
    as long are laid on circles of time, too. 0 for none."""
    seed: int = 0
    """Of the windows."""
    device: str | None = None
    """cpu, cuda, …; the best there is if not given."""

    def execute(self) -> None:
        from kinetoken.apps.train import save_tokenizer
        from kinetoken.data.clip_tokens import TOKENIZER, TokensConfig, tokenize_clips
        from kinetoken.data.clips_on_disk import settings
        from kinetoken.data.tar_shards import TarShards

        size = None if self.size is None else parsed_size(self.size)  # a mistake is told before weights are read
        tokenizer = self._loaded()
        cell = tokenizer.config.cell
        width, height = size or (CELLS * cell.width, CELLS * cell.height)
        config = TokensConfig(
            frames=self.frames,
            width=width,
            height=height,
            offsets=self.offsets,
            crops=self.crops,
            loops=self.loops,
            seed=self.seed,
        )
        shards, fps = TarShards(self.shards), settings(self.shards).fps
        steps = tokenize_clips(tokenizer, shards, self.output, config, fps=fps)
        for step in progress(steps, "windows", total=lambda step: step.total, done=lambda step: step.done):
            last = step
        save_tokenizer(tokenizer, self.output / TOKENIZER)
        if last.skipped:
            note = f"{last.skipped:,} of {len(shards):,} clips left out: no caption, or under {self.frames} frames"
            print(note, file=sys.stderr)
        print(f"{self.output}: {last.total:,} windows of {len(shards) - last.skipped:,} clips")

    def _loaded(self) -> "VideoTokenizer":
        from kinetoken.apps.train import load_tokenizer
        from kinetoken.generator import best_device

        return load_tokenizer(self.tokenizer).to(best_device(self.device))


@dataclass(frozen=True, kw_only=True)
class EmojiSet:
    """Microsoft's animated Fluent emoji, brought by npm: some 2,100 animations with names, 256x256, most of them loops.

    kinetoken data emoji -o emoji/
    kinetoken data prepare emoji/captions.csv -o shards/ --size 64x64 --fps 8 --no-cuts --backdrops 3

    captions.csv lists what may be trained on, held-out.csv what may not: one emoji in twenty, and one skin tone in five
    of each of the others. It says first what it will download. Ctrl-C stops; the same command goes on, and does nothing
    when all is there. The animations are under the MIT License (Microsoft, packed by LobeHub), and so are the names
    (emojibase).
    """

    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """The folder for them; kinetoken/emoji in the user's cache if not given."""

    def execute(self) -> None:
        from kinetoken.data.emoji import CAPTIONS, HELD_OUT, bring, missing, write_tables

        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = self.output or cache / "kinetoken" / "emoji"
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file: name a folder for the emoji")
        if wanted := missing(folder):
            size = sum(package.size for package in wanted) / 1e6
            names = ", ".join(package.spec for package in wanted)
            print(f"downloading {size:,.0f} MB (MIT License) into {folder}: {names}", file=sys.stderr, flush=True)
            for _ in progress(bring(folder), "packages", total=len(wanted)):
                pass
        split = write_tables(folder)
        tones = sum(why == "tone" for _, why in split.held_out)
        print(
            f"{len(split.trained):,} animations to train on ({folder / CAPTIONS}); held out ({folder / HELD_OUT}): "
            f"{len(split.held_out) - tones:,} by name, {tones:,} by skin tone; "
            f"left out: {split.stills:,} that stand still, {split.nameless:,} without a name"
        )


@dataclass(frozen=True, kw_only=True)
class Command:
    """Your own clips: prepare makes shards of files, tokenize makes tokens of shards, and then

    kinetoken train tokenizer --data shards/ --run runs/tokenizer
    kinetoken train network --data tokens/ --run runs/mine --from toybox

    emoji brings a captioned set to try it on.
    """

    what: OmitArgPrefixes[
        Annotated[Prepare, subcommand("prepare")]
        | Annotated[Tokenize, subcommand("tokenize")]
        | Annotated[EmojiSet, subcommand("emoji")]
    ]

    def execute(self) -> None:
        self.what.execute()
