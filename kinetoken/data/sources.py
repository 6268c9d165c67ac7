"""Which files a data set is made of, and what is said of each. Found one at a time, in an order that never changes.

A source is a video, an animation, a picture, or a folder of numbered pictures, which is one clip.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Literal

from kinetoken.data.caption_files import (
    caption_of_name,
    captions_by_file,
    captions_of_text_file,
    file_key,
    is_table,
    table_rows,
)

STILLS = frozenset({".png", ".jpg", ".jpeg", ".bmp"})
MEDIA = STILLS | {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".webp", ".apng"}
TABLES = ("captions.csv", "captions.jsonl", "captions.parquet")
_FRAME_NAME = re.compile(r"(?:frame)?[-_ ]?\d+", re.IGNORECASE)

Origin = Literal["table", "text", "name", "none"]
"""Where captions come from."""


@dataclass(frozen=True)
class Source:
    """name: the path within the data set, with forward slashes; captions: none, if nothing says what is seen."""

    path: Path
    name: str
    captions: tuple[str, ...] = ()
    origin: Origin = "none"

    def pictures(self) -> list[Path]:
        """Of a folder, its pictures in order of their numbers."""
        return sorted(
            _pictures(self.path), key=lambda path: ([int(n) for n in re.findall(r"\d+", path.stem)], path.name)
        )

    @cached_property
    def bytes(self) -> int:
        """0 if it is missing."""
        try:
            files = _pictures(self.path) if self.path.is_dir() else [self.path]
            return sum(file.stat().st_size for file in files)
        except (OSError, ValueError):
            return 0


@dataclass(frozen=True)
class DataSet:
    """where: a folder; one media file; or a list: a .txt with a path a line, or a table of file and caption. captions:
    a table for a folder's files; if None, its captions.csv, .jsonl or .parquet. names: whether a file's name may be its
    caption when nothing else is. skip: a folder within, where the shards go.

    Raises ValueError when there is no such place, the table cannot be read, or a folder has two tables.
    """

    where: Path
    captions: Path | None = None
    names: bool = True
    skip: Path | None = None

    def __post_init__(self) -> None:
        if not self.where.exists():
            raise ValueError(f"{self.where} does not exist: give a folder of clips, or a list of them")
        if not os.access(self.where, os.R_OK):
            raise ValueError(f"{self.where} is not readable: change its permissions")
        if self.where.is_file() and not (self._is_list or self.where.suffix.lower() in MEDIA):
            raise ValueError(f"{self.where} is neither a folder, a clip, nor a list (.txt, .csv, .jsonl, .parquet)")
        _ = self._table  # a table that cannot be read is told now

    def count(self) -> int:
        """How many sources there are."""
        return sum(1 for _ in self._places())

    def __iter__(self) -> Iterator[Source]:
        return (self._told(path, texts) for path, texts in self._places())

    def path_of(self, name: str) -> Path:
        """Where the source of this name is."""
        return self._root / name

    @property
    def _is_list(self) -> bool:
        return self.where.suffix.lower() == ".txt" or is_table(self.where)

    @property
    def _root(self) -> Path:
        return self.where if self.where.is_dir() else self.where.parent

    @cached_property
    def _table(self) -> Mapping[str, tuple[str, ...]]:
        path = self.captions or self._table_within
        return {} if path is None else captions_by_file(path)

    @property
    def _table_within(self) -> Path | None:
        found = [self._root / name for name in TABLES if (self._root / name).is_file()] if self.where.is_dir() else []
        if len(found) > 1:
            raise ValueError(f"{self.where} has {' and '.join(path.name for path in found)}: choose with --captions")
        return found[0] if found else None

    def _places(self) -> Iterator[tuple[Path, tuple[str, ...]]]:
        """Paths, and what the list itself says of them."""
        if self.where.is_dir():
            yield from ((path, ()) for path in self._walk(self.where))
        elif not self._is_list:
            yield self.where, ()
        elif is_table(self.where):
            for file, rows in groupby(table_rows(self.where), key=lambda row: row[0]):
                yield self._root / file, tuple(text for _, texts in rows for text in texts)
        else:
            with self.where.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
                yield from ((self._root / line.strip(), ()) for line in lines if line.strip())

    def _walk(self, folder: Path) -> Iterator[Path]:
        """Media files in order of their names; one folder's listing at a time, and no link to a folder is followed."""
        with os.scandir(folder) as entries:
            listed = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        for name, is_folder in listed:
            path = folder / name
            if name.startswith(".") or (self.skip is not None and path.resolve() == self.skip.resolve()):
                continue
            if is_folder and self._is_one_clip(path):
                yield path
            elif is_folder:
                yield from self._walk(path)
            elif path.suffix.lower() in MEDIA:
                yield path

    def _is_one_clip(self, folder: Path) -> bool:
        """A folder of pictures and nothing else that has a caption of its own, or whose pictures are named by numbers
        and have none."""
        try:
            names = [name for name in os.listdir(folder) if not name.startswith(".")]
        except OSError:
            return True  # whoever opens it will say why it cannot be read
        pictures = [Path(name) for name in names if Path(name).suffix.lower() in STILLS]
        if len(pictures) < 2 or any(Path(name).suffix.lower() in MEDIA - STILLS for name in names):
            return False
        if self._key(folder) in self._table or os.path.isfile(_text_beside(folder)):
            return True
        numbered = all(_FRAME_NAME.fullmatch(picture.stem) for picture in pictures)
        first = folder / pictures[0]
        return numbered and not os.path.isfile(_text_beside(first)) and self._key(first) not in self._table

    def _key(self, path: Path) -> str:
        return file_key(os.path.relpath(path, self._root))

    def _told(self, path: Path, texts: tuple[str, ...]) -> Source:
        name = os.path.relpath(path, self._root).replace(os.sep, "/")
        if listed := texts or self._table.get(self._key(path), ()):
            return Source(path, name, listed, "table")
        beside = _text_beside(path)
        if os.path.isfile(beside) and (written := captions_of_text_file(beside)):
            return Source(path, name, written, "text")
        if self.names and (read := caption_of_name(path.stem)):
            return Source(path, name, (read,), "name")
        return Source(path, name)


def _text_beside(path: Path) -> Path:
    return path.with_name(f"{path.name if path.is_dir() else path.stem}.txt")


def _pictures(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix.lower() in STILLS and not path.name.startswith(".")]
