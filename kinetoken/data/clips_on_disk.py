"""Files of any kind become clips of one rate and one size, in tar shards.

    for record in prepare(DataSet(folder), shards, PrepareConfig(), workers=2): ...

Each file is read once, by a process of its own, which leaves finished clips in a spool folder; this process puts them
into the shards in the order of the files. So memory does not grow with the data, and the shards do not depend on how
many processes there were, nor on how often the work was interrupted.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from kinetoken.config import from_flat, to_flat
from kinetoken.data.clip_reading import PrepareConfig, Reading, Task
from kinetoken.data.filters import Reason, check_can_cut
from kinetoken.data.reading_pool import in_order
from kinetoken.data.sources import DataSet, Source
from kinetoken.data.tar_shards import Dropped, Record, ShardWriter, records, write_places

SETTINGS, SPOOL = "prepare.json", ".spool-"


def prepare(data: DataSet, folder: Path, config: PrepareConfig, *, workers: int) -> Iterator[Record | None]:
    """Write the shards of what is not in them yet, yielding for each source, in order, its record, or None if it was
    done before.

    workers: processes that read; with 0, this one does. Raises ValueError when the folder has shards of other settings,
    and as `DataSet` does.
    """
    if config.cuts:
        check_can_cut()
    _settle(folder, config)
    done = {(record.source, record.bytes) for record in records(folder)}
    seen = {clip.sha256 for record in records(folder) for clip in record.clips}
    with (
        TemporaryDirectory(prefix=SPOOL, dir=folder) as spool,
        ShardWriter(folder, config.clips_per_shard) as writer,
        closing(in_order(_tasks(data, done, Path(spool), config), workers)) as readings,
    ):
        for task, reading in readings:
            yield _stored(writer, task.source, reading, seen) if reading else None
    write_places(folder)


def settings(folder: Path) -> PrepareConfig:
    """What the shards were prepared with. Raises ValueError when there are none."""
    try:
        return from_flat(PrepareConfig, json.loads((folder / SETTINGS).read_text()))
    except OSError as error:
        raise ValueError(f"{folder} holds no shards ({error.strerror}): run kinetoken data prepare first") from None


def _settle(folder: Path, config: PrepareConfig) -> None:
    """Make the folder one of these settings, without what an earlier run may have left half done."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder for the shards")
    if not (folder / SETTINGS).exists():
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} holds other files: name a new folder for the shards")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SETTINGS).write_text(json.dumps(to_flat(config), indent=2) + "\n")
    before, now = to_flat(settings(folder)), to_flat(config)
    if changed := [f"{name} {before[name]}, not {now[name]}" for name in now if before[name] != now[name]]:
        raise ValueError(f"{folder} was prepared with {'; '.join(changed)}: name another folder, or delete this one")
    for left in folder.glob(f"{SPOOL}*"):
        shutil.rmtree(left, ignore_errors=True)


def _tasks(data: DataSet, done: set[tuple[str, int]], spool: Path, config: PrepareConfig) -> Iterator[Task]:
    """done: names and sizes of what has a record; what is listed twice is read once."""
    for number, source in enumerate(data):
        key = source.name, source.bytes
        yield Task(source, None if key in done else spool / str(number), config)
        done.add(key)


def _stored(writer: ShardWriter, source: Source, reading: Reading, seen: set[str]) -> Record:
    placed, dropped = [], list(reading.dropped)
    for found in reading.found:
        about = found.about
        if about["sha256"] in seen:
            seconds = round(about["frames"] / about["fps"], 3)
            dropped.append(Dropped(reason=Reason.DUPLICATE, second=about["second"], seconds=seconds))
        else:
            placed.append(writer.add(about, found.captions, found.path))
            seen.add(about["sha256"])
        found.path.unlink()
    record = Record(
        source=source.name,
        bytes=source.bytes,
        captions=source.captions,
        origin=source.origin,
        fps=reading.fps,
        height=reading.height,
        width=reading.width,
        seconds=reading.seconds,
        clips=tuple(placed),
        dropped=tuple(dropped),
    )
    writer.commit(record)
    return record
