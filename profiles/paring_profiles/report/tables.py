"""The tables of a report as plain rows of text, the same for HTML and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from paring_profiles.report import quantities
from paring_profiles.result import Candidate, Comparison, Latency, Profile

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


def batch_sizes(profile: Profile) -> list[int]:
    """Every batch size that some candidate has latencies of, ascending."""
    return sorted({lat.batch_size for cand in profile.candidates for lat in cand.latency})


def latency_at(candidate: Candidate, batch_size: int) -> Latency | None:
    """The candidate's latency at a batch size."""
    return next((lat for lat in candidate.latency if lat.batch_size == batch_size), None)


def before_after(profile: Profile) -> list[Group]:
    """The main table: a group of rows for each batch size, then what holds for every batch size."""
    groups = [
        Group(f"Batch {size}", tuple(_latency_rows(profile, size) + _ratio_rows(profile, size)))
        for size in batch_sizes(profile)
    ]
    return [*groups, Group("The artifact", tuple(_artifact_rows(profile)))]


def _latency_rows(profile: Profile, batch_size: int) -> list[Row]:
    found = [latency_at(candidate, batch_size) for candidate in profile.candidates]
    kinds = sorted({latency.provenance for latency in found if latency})
    rows: list[Row] = []
    for kind in kinds:
        kept = [lat if lat and lat.provenance == kind else None for lat in found]
        rows += [
            Row("Latency, median", kind, _cells(kept, _p50)),
            Row("Latency, p90", kind, _cells(kept, lambda lat: _tail(lat, "p90_ms"))),
            Row("Latency, p99", kind, _cells(kept, lambda lat: _tail(lat, "p99_ms"))),
            Row("Throughput", kind, _cells(kept, _throughput)),
        ]
    return rows


def _cells(found: Iterable[Any], show: Callable[[Any], Cell]) -> tuple[Cell, ...]:
    return tuple(Cell(ABSENT) if item is None else show(item) for item in found)


def _p50(latency: Latency) -> Cell:
    text, between = quantities.duration_ms(latency.p50_ms, *latency.p50_ci95_ms)
    runs = f"{len(latency.samples_ms):,} runs" if latency.samples_ms else ""
    return Cell(text, "; ".join(part for part in (between, runs) if part))


def _tail(latency: Latency, field: str) -> Cell:
    value: float | None = getattr(latency, field)
    if value is None:
        reason = latency.refused.get(field, "too few runs")
        return Cell("refused", reason, refused=True)
    return Cell(f"{quantities.plain(value)} ms")


def _throughput(latency: Latency) -> Cell:
    return Cell(f"{quantities.plain(latency.throughput_per_s)} items/s")


def _ratio_rows(profile: Profile, batch_size: int) -> list[Row]:
    rows = []
    if any(c.batch_size == batch_size for c in profile.comparisons):
        found = [_comparison(profile, cand, batch_size) for cand in profile.candidates]
        kinds = {lat.provenance for c in profile.candidates if (lat := latency_at(c, batch_size))}
        kind = "measured" if kinds == {"measured"} else "modelled"
        rows = [
            Row("Speed-up", kind, _with_baseline(found, _speed_up)),
            Row("MAC ratio (ideal speed-up)", "counted", _with_baseline(found, _mac_ratio)),
            Row("Realised / ideal", "derived", _with_baseline(found, _realised)),
        ]
    macs = [candidate.macs.get(str(batch_size)) for candidate in profile.candidates]
    return [*rows, Row("MACs a call", "counted", _mac_cells(profile, macs))]


def _comparison(profile: Profile, candidate: Candidate, batch_size: int) -> Comparison | None:
    return next(
        (c for c in profile.comparisons if c.candidate == candidate.name and c.batch_size == batch_size),
        None,
    )


def _with_baseline(found: list[Comparison | None], show: Callable[[Comparison], Cell]) -> tuple[Cell, ...]:
    cells = _cells(found, show)
    return (Cell("baseline"), *cells[1:])


def _speed_up(comparison: Comparison) -> Cell:
    low, high = comparison.latency_ratio_ci95
    between = f"{quantities.fixed(low, 2)} to {quantities.fixed(high, 2)}"
    return Cell(quantities.ratio(comparison.latency_ratio), f"{between}; {comparison.verdict}")


def _mac_ratio(comparison: Comparison) -> Cell:
    return Cell(ABSENT if comparison.mac_ratio is None else quantities.ratio(comparison.mac_ratio))


def _realised(comparison: Comparison) -> Cell:
    return Cell(ABSENT if comparison.realised is None else quantities.fixed(comparison.realised, 2))


def _mac_cells(profile: Profile, macs: list[int | None]) -> tuple[Cell, ...]:
    cells = []
    for candidate, count in zip(profile.candidates, macs, strict=True):
        unknown = ", ".join(candidate.macs_unknown)
        note = f"without {unknown}" if unknown and count is not None else ""
        text = "not counted" if count is None else quantities.with_prefix(count)
        cells.append(Cell(text, note))
    return tuple(cells)


def _artifact_rows(profile: Profile) -> list[Row]:
    every = profile.candidates
    size = _optional(every, "size_bytes", quantities.in_bytes, "not counted")
    parameters = _optional(every, "parameters", quantities.with_prefix, "not counted")
    memory = _optional(every, "peak_memory_bytes", quantities.in_bytes, "not measured")
    load = _optional(every, "load_ms", lambda ms: f"{quantities.plain(ms)} ms", "not measured")
    return [
        Row("Parameters", "counted", parameters),
        Row("Size on disk", "counted", size),
        Row("Peak memory, over idle", "measured", memory),
        Row("Time to load", "measured", load),
        Row("Parity with the source", "measured", tuple(_parity(c.parity) for c in every)),
        *_quality_rows(every),
        _energy_row(every),
    ]


def _energy_row(candidates: list[Candidate]) -> Row:
    known = any(candidate.energy != "not measured" for candidate in candidates)
    return Row("Energy", "measured" if known else "", tuple(Cell(c.energy) for c in candidates))


def _optional(
    candidates: list[Candidate], field: str, show: Callable[[float], str], absent: str
) -> tuple[Cell, ...]:
    values = [getattr(candidate, field) for candidate in candidates]
    return tuple(Cell(absent if value is None else show(value)) for value in values)


def _parity(parity: dict[str, Any] | None) -> Cell:
    if not parity:
        return Cell("not checked")
    note = f"{len(parity.get('cases', []))} cases"
    if parity.get("max_abs") is not None:
        note = f"largest difference {quantities.scientific(parity['max_abs'])}; {note}"
    return Cell("passed" if parity.get("passed") else "failed", note)


def _quality_rows(candidates: list[Candidate]) -> list[Row]:
    """Two rows a metric; one row that says so when there is no metric at all."""
    metrics = dict.fromkeys(str(c.quality["metric"]) for c in candidates if c.quality)
    if not metrics:
        return [Row("Accuracy", "", tuple(Cell("not measured") for _ in candidates))]
    rows = []
    for metric in metrics:
        found = [c.quality if c.quality and c.quality["metric"] == metric else None for c in candidates]
        label = metric[:1].upper() + metric[1:]
        rows.append(Row(label, "measured", tuple(_quality_after(metric, q) for q in found)))
        rows.append(Row("Drop from the source", "measured", tuple(_quality_drop(metric, q) for q in found)))
    return rows


def _quality_after(metric: str, quality: dict[str, Any] | None) -> Cell:
    if not quality:
        return Cell("not measured")
    notes = []
    if quality.get("after_ci95"):
        notes.append(quantities.metric_between(metric, quality["after_ci95"]))
    if quality.get("samples"):
        notes.append(f"{quality['samples']:,} samples")
    return Cell(quantities.metric_value(metric, quality["after"]), "; ".join(notes))


def _quality_drop(metric: str, quality: dict[str, Any] | None) -> Cell:
    if quality and quality.get("drop") is None:
        return Cell("baseline")
    if not quality:
        return Cell("not measured")
    notes = []
    if quality.get("drop_ci95"):
        notes.append(quantities.metric_between(metric, quality["drop_ci95"]))
    if quality.get("before") is not None:
        notes.append(f"from {quantities.metric_value(metric, quality['before'])}")
    return Cell(quantities.metric_drop(metric, quality["drop"]), "; ".join(notes))
