"""Cells and rows of a report's tables, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from paring_profiles.report import quantities
from paring_profiles.result import PHASES, Candidate, Case, Comparison, Latency, Profile

ABSENT = "–"


@dataclass(frozen=True)
class Cell:
    """What a cell says, and what qualifies it: an interval, a count, a reason."""

    text: str
    note: str = ""
    refused: bool = False


@dataclass(frozen=True)
class Row:
    """One quantity over all candidates. All cells share one provenance, or the row is split."""

    label: str
    provenance: str  # "measured", "modelled", "counted", "derived", or "" when nothing is known
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Group:
    """Rows under one subtitle."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """A header and rows of text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def cases(profile: Profile) -> list[Case]:
    """Everything that some candidate has latencies of, in order."""
    every = {lat.case for cand in profile.candidates for lat in cand.latency}
    return sorted(every, key=lambda case: (case[0], case[1] or 0, ("", *PHASES).index(case[2])))


def latency_at(candidate: Candidate, case: Case) -> Latency | None:
    """The candidate's latency in a case."""
    return next((lat for lat in candidate.latency if lat.case == case), None)


def cells(found: Iterable[Any], show: Callable[[Any], Cell]) -> tuple[Cell, ...]:
    """A cell for each candidate; those of whom nothing is known say so."""
    return tuple(Cell(ABSENT) if item is None else show(item) for item in found)


def p50(latency: Latency) -> Cell:
    """The median, its interval, and how many runs it is of."""
    text, between = quantities.duration_ms(latency.p50_ms, *latency.p50_ci95_ms)
    runs = f"{len(latency.samples_ms):,} runs" if latency.samples_ms else ""
    return Cell(text, "; ".join(part for part in (between, runs) if part))


def tail(latency: Latency, field: str) -> Cell:
    """A percentile, or why it is refused."""
    value: float | None = getattr(latency, field)
    if value is None:
        reason = latency.refused.get(field, "too few runs")
        return Cell("refused", reason, refused=True)
    return Cell(f"{quantities.plain(value)} ms")


def comparison(profile: Profile, candidate: Candidate, case: Case) -> Comparison | None:
    """The candidate's comparison in a case."""
    found = (c for c in profile.comparisons if c.candidate == candidate.name and c.case == case)
    return next(found, None)


def with_baseline(found: list[Comparison | None], show: Callable[[Comparison], Cell]) -> tuple[Cell, ...]:
    """Cells of comparisons, the first of which is the baseline itself."""
    return (Cell("baseline"), *cells(found, show)[1:])


def speed_up(comparison: Comparison) -> Cell:
    """How many times as fast, with the interval and what can be concluded."""
    low, high = comparison.latency_ratio_ci95
    between = f"{quantities.fixed(low, 2)} to {quantities.fixed(high, 2)}"
    return Cell(quantities.ratio(comparison.latency_ratio), f"{between}; {comparison.verdict}")


def mac_ratio(comparison: Comparison) -> Cell:
    """How many times fewer multiply-accumulates."""
    return Cell(ABSENT if comparison.mac_ratio is None else quantities.ratio(comparison.mac_ratio))


def realised(comparison: Comparison) -> Cell:
    """The speed-up as a share of the ideal one."""
    return Cell(ABSENT if comparison.realised is None else quantities.fixed(comparison.realised, 2))
