"""What a meter is: it marks moments, and tells the joules between two of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

Joules = Mapping[str, float]  # by domain


class Refused(Exception):
    """Readings that cannot be turned into joules, or a meter that is not there; the message says why."""


@dataclass(frozen=True)
class Availability:
    """Whether a meter is present here.

    Attributes:
        covers: what it measures here, or would, in words.
        why_not: None when it can measure, otherwise the reason, on one line.
        mend: what would help, a command where there is one; None where nothing would.
    """

    covers: str
    why_not: str | None = None
    mend: str | None = None

    def sentence(self) -> str | None:
        """The reason and its mend on one line, None when present."""
        if self.why_not is None or self.mend is None:
            return self.why_not
        return f"{self.why_not}: {self.mend}"


@dataclass(frozen=True)
class Facts:
    """What can be said of an open meter before it measures.

    Attributes:
        covers: what draws the energy that it sees, in words.
        domains: the parts that it tells apart.
        total: those of them that add up to its figure; the others are parts of these.
        resolution_j: the smallest step of its reading.
        update_period_s: how often the reading changes.
        updates_a_window: how many such periods a window must span.
        method: how a reading becomes joules, in words.
    """

    covers: str
    domains: tuple[str, ...]
    total: tuple[str, ...]
    resolution_j: float
    update_period_s: float
    updates_a_window: int
    method: str


@dataclass(frozen=True)
class Mark:
    """A moment: `at_s` by `time.perf_counter`, `wall_s` by `time.time`."""

    at_s: float
    wall_s: float


class Meter(ABC):
    """A meter. It reads inside of `with`, which may be entered again; marks are of one such time."""

    facts: Facts

    def __enter__(self) -> Meter:
        """Begin to read."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading."""
        self.stop()

    def start(self) -> None:  # noqa: B027  one that only reads on demand has nothing to start
        """Begin to read."""

    def stop(self) -> None:  # noqa: B027
        """Stop reading."""

    @abstractmethod
    def mark(self) -> Mark:
        """Take a reading now, and return its moment. A reading that fails is told by `joules`."""

    @abstractmethod
    def joules(self, begin: Mark, end: Mark) -> Joules:
        """Return the energy between two marks, by domain.

        Raises:
            Refused: the readings do not tell it.
        """

    def wait_for(self, end: Mark) -> None:  # noqa: B027  a mark is a reading: nothing to wait for
        """Wait, a few seconds at most, until what was drawn up to a mark can be told."""
