"""The system under load: instances of a model, each with an engine and a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import paring_runtimes
from paring_profiles import latency
from paring_profiles.load import pinning
from paring_profiles.load.result import LoadSettings
from paring_profiles.load.samples import Samples
from paring_runtimes import Session


class Instance(Protocol):
    """What answers queries, one call at a time."""

    def call(self, first: int, count: int) -> None:
        """Answer `count` samples, from the run's sample number `first` on."""
        ...


@dataclass(frozen=True)
class Opened:
    """An open session and its samples."""

    session: Session
    samples: Samples

    def call(self, first: int, count: int) -> None:
        """Put a batch together and run it."""
        self.session.run(self.samples.feeds(first, count))


class System:
    """Instances, each of which works in one thread for all its life.

    Attributes:
        stopped: set when a worker failed, or when a run shall end; workers look at it between calls.
    """

    def __init__(self, instances: Sequence[Instance], threads: Sequence[ThreadPoolExecutor]) -> None:
        self.instances, self._threads = list(instances), list(threads)
        self.stopped = threading.Event()

    def work(self, part: Callable[[int, Instance], None], failed: Callable[[], None] = lambda: None) -> None:
        """Do one part with each instance, all at once, in its thread; then raise what went wrong.

        Args:
            part: takes the worker's number and its instance.
            failed: called in a thread that goes wrong, to let others go that wait for it.
        """
        self.stopped.clear()

        def guarded(number: int, instance: Instance) -> None:
            try:
                part(number, instance)
            except BaseException:
                self.stopped.set()
                failed()
                raise

        futures = [
            thread.submit(guarded, number, instance)
            for number, (thread, instance) in enumerate(zip(self._threads, self.instances, strict=True))
        ]
        try:
            wait(futures)
        finally:  # an interrupt ends the workers too
            self.stopped.set()
        errors = [error for future in futures if (error := future.exception()) is not None]
        raised = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
        for error in raised or errors:
            raise error


@contextmanager
def worker_threads(count: int) -> Iterator[list[ThreadPoolExecutor]]:
    """So many threads to work in."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix=f"paring-worker-{number}"))
            for number in range(count)
        ]


@dataclass(frozen=True)
class Ready:
    """An open, warm system.

    Attributes:
        settled: whether every instance's latency settled.
        linger_s: how long an engine's threads stay busy after a call.
        call_s: time of a call with the most samples, of the fastest worker.
    """

    system: System
    engine: str
    providers: tuple[str, ...]
    warmup_runs: int
    settled: bool
    linger_s: float
    call_s: float


@contextmanager
def opened(
    path: Path, engine: str | None, settings: LoadSettings, batch: int, places: Sequence[Sequence[int]]
) -> Iterator[Ready]:
    """Open an artifact once for each worker, one after another, and warm them up.

    A worker opens its own session, so that threads that its engine starts inherit the CPUs of `places`; those
    that placed themselves elsewhere are put there after the warm-up.
    """
    with ExitStack() as stack, worker_threads(settings.workers) as workers:
        instances: list[Opened] = []
        warmups: list[latency.Warmup] = []
        fastest = float("inf")
        samples: Samples | None = None
        for thread, cpus in zip(workers, places, strict=True):
            known = pinning.threads()
            if cpus:
                thread.submit(pinning.pin, [0], cpus).result()
            session = thread.submit(
                paring_runtimes.load, path, engine=engine, threads=settings.threads
            ).result()
            stack.enter_context(session)
            samples = samples or Samples(session.inputs, settings, batch, path)
            own = Opened(session, samples)
            warmup, call_s = thread.submit(_warm_up, own, batch, settings.max_seconds / 4).result()
            warmups.append(warmup)
            fastest = min(fastest, call_s)
            if cpus:
                pinning.pin(sorted(pinning.threads() - known), cpus)
            instances.append(own)
        yield Ready(
            system=System(instances, workers),
            engine=session.engine,
            providers=session.providers,
            warmup_runs=sum(one.runs for one in warmups),
            settled=all(one.settled for one in warmups),
            linger_s=max(one.linger_s for one in warmups),
            call_s=fastest,
        )


def _warm_up(instance: Opened, batch: int, max_seconds: float) -> tuple[latency.Warmup, float]:
    """Settle at the most samples of a call, after one call of each smaller size that is a power of two."""
    size = 1
    while size < batch:
        instance.call(0, size)
        size *= 2
    found = latency.warm_up(lambda: instance.call(0, batch), max_seconds)
    return found, latency.time_call(lambda: instance.call(0, batch)) / 1e3
