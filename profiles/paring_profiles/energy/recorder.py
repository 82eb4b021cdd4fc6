"""A thread that reads a meter again and again, and keeps what it read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from paring_profiles.energy.counter import Sample
from paring_profiles.energy.meter import Mark, Refused

Read = Callable[[], Mapping[str, float]]


class Recorder:
    """Calls `read` every `period_s` in a thread, and whenever a moment is marked.

    Args:
        read: returns a value by domain; whatever it raises is kept as the reason why there is none.
        period_s: between two readings of the thread.
    """

    def __init__(self, read: Read, period_s: float) -> None:
        self._read, self._period_s = read, period_s
        self._taken: list[tuple[float, Mapping[str, float]]] = []
        self._failed = ""
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="paring-meter", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop it; what was read stays."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            self.mark()

    def mark(self) -> Mark:
        """Read now; the mark's time is halfway through the reading."""
        with self._lock:  # readings stay in the order of their times
            begin_s, wall_s = time.perf_counter(), time.time()
            try:
                values = dict(self._read())
            except Exception as error:  # a driver's library may raise anything; a gap is judged later
                self._failed = f"{type(error).__name__}: {error}"
                return Mark(begin_s, wall_s)
            half_s = (time.perf_counter() - begin_s) / 2
            self._taken.append((begin_s + half_s, values))
            return Mark(begin_s + half_s, wall_s + half_s)

    def between(self, begin: Mark, end: Mark) -> dict[str, list[Sample]]:
        """Return the readings from one mark to another, both among them, by domain.

        Raises:
            Refused: one of the marks could not be read.
        """
        with self._lock:
            taken = [one for one in self._taken if begin.at_s <= one[0] <= end.at_s]
        if not taken or taken[0][0] != begin.at_s or taken[-1][0] != end.at_s:
            raise Refused(f"the meter could not be read ({self._failed or 'no reading'})")
        return {name: [Sample(at_s, values[name]) for at_s, values in taken] for name in taken[0][1]}

    def every(self, name: str) -> list[Sample]:
        """Return all readings of one domain so far."""
        with self._lock:
            return [Sample(at_s, values[name]) for at_s, values in self._taken]
