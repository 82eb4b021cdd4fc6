"""The tables of a report as plain rows of text, the same for HTML and Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paring_profiles.report import answers, energy, quantities
from paring_profiles.report.rows import (
    ABSENT,
    Cell,
    Group,
    Row,
    Table,
    cases,
    cells,
    comparison,
    latency_at,
    mac_ratio,
    p50,
    realised,
    speed_up,
    tail,
    with_baseline,
)
from paring_profiles.result import Candidate, Case, Latency, Profile

__all__ = ["ABSENT", "Cell", "Group", "Row", "Table", "before_after", "cases", "latency_at"]


def before_after(profile: Profile) -> list[Group]:
    """The main table: a group of rows for each batch size, then what holds for every batch size."""
    if any(candidate.answered for candidate in profile.candidates):
        groups = answers.groups(profile)
    else:
        groups = [
            Group(f"Batch {case[0]}", tuple(_latency_rows(profile, case) + _other_rows(profile, case)))
            for case in cases(profile)
        ]
    return [*groups, Group("The artifact", tuple(_artifact_rows(profile)))]


def _latency_rows(profile: Profile, case: Case) -> list[Row]:
    found = [latency_at(candidate, case) for candidate in profile.candidates]
    kinds = sorted({latency.provenance for latency in found if latency})
    rows: list[Row] = []
    for kind in kinds:
        kept = [lat if lat and lat.provenance == kind else None for lat in found]
        rows += [
            Row("Latency, median", kind, cells(kept, p50)),
            Row("Latency, p90", kind, cells(kept, lambda lat: tail(lat, "p90_ms"))),
            Row("Latency, p99", kind, cells(kept, lambda lat: tail(lat, "p99_ms"))),
            Row("Throughput", kind, cells(kept, _throughput)),
        ]
    return rows


def _other_rows(profile: Profile, case: Case) -> list[Row]:
    """Ratios and counts, then energy: measured, and below, apart, modelled."""
    measured = energy.measured_rows(profile, case[:2])
    return [*_ratio_rows(profile, case), *measured, *energy.modelled_rows(profile, case[0])]


def _throughput(latency: Latency) -> Cell:
    return Cell(f"{quantities.plain(latency.throughput_per_s)} items/s")


def _ratio_rows(profile: Profile, case: Case) -> list[Row]:
    rows = []
    if any(c.case == case for c in profile.comparisons):
        found = [comparison(profile, cand, case) for cand in profile.candidates]
        kinds = {lat.provenance for c in profile.candidates if (lat := latency_at(c, case))}
        kind = "measured" if kinds == {"measured"} else "modelled"
        rows = [
            Row("Speed-up", kind, with_baseline(found, speed_up)),
            Row("MAC ratio (ideal speed-up)", "counted", with_baseline(found, mac_ratio)),
            Row("Realised / ideal", "derived", with_baseline(found, realised)),
        ]
    macs = [candidate.macs_of(case) for candidate in profile.candidates]
    return [*rows, Row("MACs a call", "counted", _mac_cells(profile, macs))]


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
        *energy.absent_rows(every),
    ]


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
        what = "Quality" if any(candidate.answered for candidate in candidates) else "Accuracy"
        return [Row(what, "", tuple(Cell("not measured") for _ in candidates))]
    rows = []
    for metric in metrics:
        found = [c.quality if c.quality and c.quality["metric"] == metric else None for c in candidates]
        label = metric[:1].upper() + metric[1:]
        rows.append(Row(label, "measured", tuple(_quality_after(metric, q) for q in found)))
        if any(q and q.get("increase") is not None for q in found):
            increase = tuple(_quality_increase(c, q) for c, q in zip(candidates, found, strict=True))
            rows.append(Row("Increase over the source", "measured", increase))
            continue
        rows.append(Row("Drop from the source", "measured", tuple(_quality_drop(metric, q) for q in found)))
    return rows


def _quality_after(metric: str, quality: dict[str, Any] | None) -> Cell:
    if not quality:
        return Cell("not measured")
    notes = []
    if quality.get("after_ci95"):
        notes.append(quantities.metric_between(metric, quality["after_ci95"]))
    if quality.get("samples"):
        what = "chunks" if quality.get("chunk_tokens") else "questions" if quality.get("types") else "samples"
        notes.append(f"{quality['samples']:,} {what}")
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


def _quality_increase(candidate: Candidate, quality: dict[str, Any] | None) -> Cell:
    """Of perplexity, in percent."""
    if not quality or quality.get("increase") is None:
        return Cell("not measured")
    notes = []
    if quality.get("increase_ci95"):
        low, high = quality["increase_ci95"]
        notes.append(f"{quantities.fixed(100 * low, 2)} to {quantities.fixed(100 * high, 2)}")
    if quality.get("before") is not None:
        notes.append(f"from {quantities.metric_value(str(quality['metric']), quality['before'])}")
    if any(stage.transform == "gem_filter" for own in candidate.answered for stage in own.stages):
        notes.append("chunks are read whole, without the filter")
    return Cell(f"{quantities.fixed(100 * quality['increase'], 2)} %", "; ".join(notes))
