"""What became of a data set, on one page that needs no other file: counts, reasons, captions, clips, and what is lost.

The page is written from the index and the shards, so that it can be written again at any time.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from itertools import islice
from pathlib import Path
from string import Template

import numpy as np

from kinetoken.clip import MediaError, open_frames
from kinetoken.data.clip_reading import PrepareConfig
from kinetoken.data.clips_on_disk import settings
from kinetoken.data.filters import Reason
from kinetoken.data.report_pictures import animation, photo, pixels
from kinetoken.data.sources import DataSet
from kinetoken.data.tar_shards import Dropped, Record, StoredClip, TarShards, records, shard_path

REPORT = "report.html"
SHOWN_CLIPS = 24
SHOWN_LOSSES = 3
SHOWN_DROPPED = 12  # of each reason
LOSS_SECONDS = 30.0  # how far into an original it is worth reading for a picture
STRIP_FRAMES = 30
BARS = 12


@dataclass
class _Counts:
    """What one walk over the index finds. lengths: seconds of clips, rounded; told: words of captions."""

    files: int = 0
    clips: int = 0
    seconds_read: float = 0.0
    seconds_kept: float = 0.0
    reasons: Counter[Reason] = field(default_factory=Counter)
    examples: dict[Reason, list[tuple[str, Dropped]]] = field(default_factory=dict)
    lengths: Counter[str] = field(default_factory=Counter)
    originals: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    captions: int = 0
    told: Counter[int] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record, fps: float) -> None:
        self.files += 1
        self.seconds_read += record.seconds
        if record.fps:
            self.originals[f"{record.width}x{record.height}, {record.fps:.4g} fps"] += 1
        for part in record.dropped:
            self.reasons[part.reason] += 1
            examples = self.examples.setdefault(part.reason, [])
            examples += [(record.source, part)] * (len(examples) < SHOWN_DROPPED)
        for clip in record.clips:
            self.clips += 1
            self.origins[record.origin] += 1
            self.seconds_kept += clip.frames / fps if clip.frames > 1 else 0.0
            self.lengths["picture" if clip.frames == 1 else f"{clip.frames / fps:.0f} s"] += 1
        for text in record.captions if record.clips else ():
            words = re.findall(r"[\w'-]+", text.lower())
            self.captions += 1
            self.told[len(words)] += 1
            self.words.update(words)


def write_report(folder: Path, data: DataSet) -> Path:
    """Write report.html beside the shards. data: where the originals are, to be shown beside what is kept of them."""
    config, shards, counts = settings(folder), TarShards(folder), _Counts()
    for record in records(folder):
        counts.add(record, config.fps)
    size = sum(shard_path(folder, int(shard)).stat().st_size for shard in np.unique(shards.places[:, 0]))
    page = Template(files("kinetoken.data").joinpath("report.html").read_text(encoding="utf-8"))
    filled = page.substitute(
        facts=_facts(counts, config, size),
        losses="".join(islice(_losses(data, shards, config), SHOWN_LOSSES)) or "<p>No video can be shown.</p>",
        clips="".join(_card(shards[k]) for k in _evenly(len(shards), SHOWN_CLIPS)),
        dropped=_dropped(counts),
        captions=_captions(counts),
        lengths=_bars(sorted(counts.lengths.items(), key=lambda item: (len(item[0]), item[0]))[:BARS]),
        originals=_bars(counts.originals.most_common(BARS)),
    )
    (folder / REPORT).write_text(filled, encoding="utf-8", errors="replace")
    return folder / REPORT


def _evenly(length: int, count: int) -> list[int]:
    """At most `count` different numbers below `length`."""
    return sorted({length * k // count for k in range(count)}) if length else []


def _facts(counts: _Counts, config: PrepareConfig, size: int) -> str:
    facts = {
        "clips": f"{counts.clips:,}",
        "files": f"{counts.files:,}",
        "kept": _duration(counts.seconds_kept),
        "read": _duration(counts.seconds_read),
        "of every clip": f"{config.width}×{config.height}, {config.fps:g} fps",
        "in shards": f"{size / 1e6:,.1f} MB",
    }
    return "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in facts.items())


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


# What is lost


def _losses(data: DataSet, shards: TarShards, config: PrepareConfig) -> Iterator[str]:
    for number in _evenly(len(shards), 8 * SHOWN_LOSSES):
        stored, path = shards[number], None
        if len(stored.clip) > 1 and stored.second < LOSS_SECONDS:
            path = data.path_of(stored.source)
        if path is not None and path.is_file():
            try:
                yield _loss(path, stored, config)
            except MediaError:
                continue  # it has changed since; another will do


def _loss(path: Path, stored: StoredClip, config: PrepareConfig) -> str:
    """An original frame, with what is cropped dimmed, beside the one that is kept of it; and which frames are kept."""
    with open_frames(path) as stream:
        fps, width, height = stream.fps, stream.width, stream.height
        first = round(stored.second * fps)
        second = list(islice(stream, first, first + max(1, min(STRIP_FRAMES, round(fps)))))
    if not second:
        raise MediaError(f"{path} is shorter than it was")
    kept = {int(k * fps / config.fps + 0.5): k for k in range(len(stored.clip))}
    shown = max(number for number in kept if number < len(second) / 2 or number == 0)
    box, share = _kept_box(width, height, config)
    told = (
        f"<b>{width}×{height} at {fps:.4g} fps</b> becomes "
        f"<b>{config.width}×{config.height} at {config.fps:g} fps</b>: "
        f"{min(1.0, config.width * config.height / (width * height * share)):.1%} of the pixels in the frame, "
        f"{share:.0%} of the picture, {min(1.0, config.fps / fps):.0%} of the frames"
    )
    strip = "".join(
        f'<img src="{photo(frame, 44)}" class="{"kept" if number in kept else "left"}" alt="">'
        for number, frame in enumerate(second)
    )
    return (
        f'<figure><div class="pair"><div class="whole"><img src="{photo(second[shown], 240)}" alt="original">'
        f'<i style="{box}"></i></div><img class="pixels" src="{pixels(stored.clip.frames[kept[shown]])}" alt="kept">'
        f'</div><div class="strip">{strip}</div><figcaption>{told}<br>{escape(stored.source)}</figcaption></figure>'
    )


def _kept_box(width: int, height: int, config: PrepareConfig) -> tuple[str, float]:
    """Where the kept part of an original is, as CSS, and its share of the picture."""
    if config.fit == "pad":
        return "inset:0", 1.0
    across = min(1.0, config.width / config.height * height / width)
    down = min(1.0, config.height / config.width * width / height)
    return f"inset:{(1 - down) / 2:.2%} {(1 - across) / 2:.2%}", across * down


# Clips, reasons, captions


def _card(stored: StoredClip) -> str:
    text = stored.captions[0] if stored.captions else "no caption"
    more = f" <em>+{len(stored.captions) - 1}</em>" if len(stored.captions) > 1 else ""
    where = f"{stored.source}, {stored.second:g} s" if len(stored.clip) > 1 else stored.source
    picture = f'<img src="{animation(stored.clip)}" alt="">'
    return f"<figure>{picture}<figcaption>{escape(text)}{more}<small>{escape(where)}</small></figcaption></figure>"


def _dropped(counts: _Counts) -> str:
    if not counts.reasons:
        return "<p>Nothing.</p>"
    return _bars(counts.reasons.most_common()) + "".join(
        f"<details><summary>{reason}: {counts.reasons[reason]:,}</summary><ul>"
        + "".join(f"<li>{escape(source)} <small>{escape(_part(part))}</small></li>" for source, part in examples)
        + "</ul></details>"
        for reason, examples in counts.examples.items()
    )


def _part(part: Dropped) -> str:
    return part.detail or f"{part.second:g} to {part.second + (part.seconds or 0):g} s"


def _captions(counts: _Counts) -> str:
    if not counts.captions:
        return "<p>No clip has a caption: a tokenizer can be trained on these, a network cannot.</p>"
    mean = sum(length * count for length, count in counts.told.items()) / counts.captions
    named = {"table": "from a table", "text": "from a .txt", "name": "from the file's name", "none": "without"}
    chips = "".join(
        f"<span>{escape(word)} <small>{count:,}</small></span>" for word, count in counts.words.most_common(40)
    )
    return (
        f"<p>{counts.captions:,} captions of {len(counts.words):,} different words, {mean:.1f} words each, "
        f"{max(counts.told)} at most.</p>"
        + _bars([(f"clips {named[origin]}", count) for origin, count in counts.origins.most_common()])
        + f'<p class="chips">{chips}</p>'
    )


def _bars(rows: Sequence[tuple[str, int]]) -> str:
    most = max((count for _, count in rows), default=1)
    return "".join(
        f'<div class="bar"><span>{escape(name)}</span><i style="width:{60 * count / most:.1f}%"></i>{count:,}</div>'
        for name, count in rows
    )
