"""Where jobs run: processes of this machine. `ray_pool.py` is the same over a cluster."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

from .apart import end_all, run_apart
from .jobs import Job, Outcome, outcome_from


class Pool(Protocol):
    """Runs jobs, some at once."""

    slots: int

    @property
    def busy(self) -> int:
        """Jobs handed in and not handed back."""
        ...

    def submit(self, number: int, job: Job, timeout_s: float) -> None:
        """Hand in a job."""
        ...

    def wait(self) -> tuple[int, Outcome]:
        """The next job that ends, by its number."""
        ...

    def close(self) -> None:
        """End what still runs."""
        ...


class LocalPool:
    """Each job in a process of its own, `slots` of them at once. Measurements take turns: see `locks.py`."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self._threads = ThreadPoolExecutor(slots)
        self._running: dict[Future[dict[str, Any]], int] = {}

    @property
    def busy(self) -> int:
        """Jobs handed in and not handed back."""
        return len(self._running)

    def submit(self, number: int, job: Job, timeout_s: float) -> None:
        """Hand in a job."""
        self._running[self._threads.submit(run_apart, job.as_dict(), timeout_s)] = number

    def wait(self) -> tuple[int, Outcome]:
        """The next job that ends, by its number."""
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        first = next(iter(done))
        return self._running.pop(first), outcome_from(first.result())

    def close(self) -> None:
        """End what still runs."""
        end_all()
        self._threads.shutdown(wait=True, cancel_futures=True)
