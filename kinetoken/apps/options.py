"""What several commands share: reading options, and progress on a terminal."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def parsed_size(text: str) -> tuple[int, int]:
    """(width, height) of "96x64".

    Raises: ValueError for anything else.
    """
    if not (found := re.fullmatch(r"(\d{1,6})[x×X](\d{1,6})", text.strip())):
        raise ValueError(f"a size is WIDTHxHEIGHT in pixels, such as 96x64, found {text!r}")
    return int(found[1]), int(found[2])


def progress(
    items: Iterable[Item],
    name: str,
    *,
    total: int | Callable[[Item], int] | None = None,
    done: Callable[[Item], int] | None = None,
) -> Iterator[Item]:
    """Pass items on, with a bar for them on a terminal; in silence where the output is piped. total: their number, or a
    function of the first item that says it. done: what an item says of how much is done, if items are not equal."""
    if not (sys.stderr.isatty() and sys.stdout.isatty()):
        yield from items
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total if isinstance(total, int) else None)
        for item in items:
            if callable(total):
                bar.update(task, total=total(item))
            if done is None:
                bar.advance(task)
            else:
                bar.update(task, completed=done(item))
            yield item
