"""Processes that read files, and a result for each file, in order, whatever the file does to its process."""

import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from kinetoken.data.clip_reading import Reading, Task, read
from kinetoken.data.filters import Reason
from kinetoken.data.tar_shards import Dropped

_AHEAD = 4  # sources that each process may be ahead of the one that is awaited


def in_order(tasks: Iterable[Task], workers: int) -> Generator[tuple[Task, Reading | None], None, None]:
    """Every task and what came of it, or None if there was nothing to do, in order."""
    if not workers:
        yield from ((task, read(task) if task.spool else None) for task in tasks)
        return
    with _Pool(workers) as pool:
        waiting: deque[Task] = deque()
        for task in tasks:
            pool.start(task)
            waiting.append(task)
            if len(waiting) > workers * _AHEAD:
                yield pool.ended(waiting.popleft())
        while waiting:
            yield pool.ended(waiting.popleft())


class _Pool:
    """Processes that read. A file that kills its process is corrupt; its neighbours are read again. SIGTERM does what
    Ctrl-C does: who dies of it without a word leaves them behind, waiting for ever."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._running: dict[Task, Future[Reading]] = {}

    def __enter__(self) -> "_Pool":
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():  # signals are its affair
            self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        self._executor = self._processes(self._workers)
        return self

    def __exit__(self, *failure: Any) -> None:
        self._executor.shutdown(cancel_futures=True)
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def start(self, task: Task) -> None:
        if task.spool is not None:
            try:
                self._running[task] = self._executor.submit(read, task)
            except BrokenProcessPool:
                self._restart()
                self._running[task] = self._executor.submit(read, task)

    def ended(self, task: Task) -> tuple[Task, Reading | None]:
        if task.spool is None:
            return task, None
        future = self._running.pop(task)
        try:
            return task, future.result()
        except BrokenProcessPool:
            self._restart()
            return task, self._alone(task)

    def _restart(self) -> None:
        self._executor.shutdown()
        self._executor = self._processes(self._workers)
        for task, future in self._running.items():
            if not future.done() or future.exception() is not None:
                self._running[task] = self._executor.submit(read, task)

    def _alone(self, task: Task) -> Reading:
        """Whether it was this one that killed the process."""
        with self._processes(1) as executor:
            try:
                return executor.submit(read, task).result()
            except BrokenProcessPool:
                return Reading(dropped=[Dropped(reason=Reason.CORRUPT, detail="its decoder crashed")])

    @staticmethod
    def _processes(count: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of ours may hold
        ending = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends them without a word
        return ProcessPoolExecutor(count, mp_context=context, initializer=ending)
