"""Captions that people keep beside their clips: tables of `file, caption`, text files of the same name, file names."""

import csv
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Row = tuple[str, tuple[str, ...]]
"""A file as the table names it, and what it says of it."""


def table_rows(path: Path) -> Iterator[Row]:
    """Rows of a .csv, .jsonl or .parquet with `file` and `caption`, in order; a file may have several rows.

    A row of JSON may have a list of `captions` instead, of strings or of objects with `text`, which is what `kinetoken
    render` writes. Raises ValueError when the table cannot be read or lacks a column.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path} is no table of captions: give a {', '.join(_READERS)} with file and caption")
    try:
        yield from reader(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from error


def is_table(path: Path) -> bool:
    return path.suffix.lower() in _READERS


def captions_by_file(path: Path) -> dict[str, tuple[str, ...]]:
    """The whole table, by `file_key`."""
    captions: dict[str, tuple[str, ...]] = {}
    for file, texts in table_rows(path):
        key = file_key(file)
        captions[key] = captions.get(key, ()) + texts
    return captions


def file_key(name: str) -> str:
    """Names that mean one file have one key, whichever slashes and whichever composition of accents they are written
    with."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/").removeprefix("./"))


def captions_of_text_file(path: Path) -> tuple[str, ...]:
    """One caption a line; bytes that are no UTF-8 are replaced."""
    return _told(path.read_text(encoding="utf-8-sig", errors="replace").splitlines())


def caption_of_name(stem: str) -> str:
    """ "a_red-ball 03" says "a red ball"; a name of numbers alone says nothing."""
    words = re.sub(r"[\W_]+", " ", stem).strip()
    return re.sub(r"^(\d+ ?)+|( ?\b\d+)+$", "", words).strip()


def _told(texts: Iterable[str]) -> tuple[str, ...]:
    stripped = (" ".join(text.split()) for text in texts)
    return tuple(text for text in stripped if text)


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        reader = csv.DictReader(lines)
        _check_columns(path, reader.fieldnames or ())
        try:
            for row in reader:
                yield row["file"], _told([row["caption"] or ""])
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                texts = row["captions"] if "captions" in row else [row["caption"]]
                yield str(row["file"]), _told(text["text"] if isinstance(text, dict) else str(text) for text in texts)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f'{path}, line {number} is not like {{"file": "a.mp4", "caption": "…"}}') from error


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ValueError(f"{path} needs pyarrow: pip install 'kinetoken[data]', or give a .csv or .jsonl") from None
    try:
        with ParquetFile(path) as table:
            _check_columns(path, table.schema_arrow.names)
            for batch in table.iter_batches(columns=["file", "caption"]):
                for row in batch.to_pylist():
                    yield str(row["file"]), _told(_listed(row["caption"]))
    except ArrowException as error:
        raise ValueError(f"{path} is no readable Parquet file ({error})") from error


def _listed(value: Any) -> list[str]:
    return [str(text) for text in value] if isinstance(value, list) else [str(value or "")]


def _check_columns(path: Path, found: Iterable[str]) -> None:
    names = list(found)
    if not {"file", "caption"} <= set(names):
        raise ValueError(f"{path} has the columns {', '.join(names) or 'none'}; it needs file and caption")


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _csv_rows,
    ".jsonl": _json_rows,
    ".parquet": _parquet_rows,
}
