"""Run a kernel's jobs on several threads. Kernels hold no lock of Python's, so threads are enough."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Below this many elementary operations waking a thread takes longer than it saves.
_WORTH_A_THREAD = 100_000
_PIECES = 4  # for each thread, so that one that is held up by other programs does less


class Workers:
    """Some threads, started when first needed. `run` may be called from one thread at a time."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def run(self, kernel: Callable[..., Any], jobs: int, work: int, *arguments: Any) -> None:
        """Call kernel(first, last, *arguments) so that every job of range(jobs) is done once.

        Args:
            kernel: a compiled function without Python's lock; jobs are independent.
            jobs: how many.
            work: about how many elementary operations all of them are.
            arguments: the rest of the kernel's arguments.
        """
        if self.threads == 1 or jobs < 2 or work < _WORTH_A_THREAD:
            kernel(0, jobs, *arguments)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="paring-spiking")
        pieces = min(jobs, self.threads * _PIECES)
        ends = [jobs * k // pieces for k in range(pieces + 1)]
        left = list(itertools.pairwise(ends))

        def work_off() -> None:
            while True:
                try:
                    first, last = left.pop()  # atomic
                except IndexError:
                    return
                kernel(first, last, *arguments)

        helpers = [self._pool.submit(work_off) for _ in range(self.threads - 1)]
        work_off()
        for helper in helpers:
            helper.result()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
