"""The tables and sentences of a load test's report, the same in terminals, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from paring_profiles.load import pinning
from paring_profiles.load.find_rate import PRECISION
from paring_profiles.load.result import Latencies, LoadResult, LoadRun, Percentile, Start, Starts
from paring_profiles.load.scenarios import find
from paring_profiles.report import quantities
from paring_profiles.report.rows import ABSENT, Table
from paring_profiles.result import NOT_MEASURED

METHOD = (
    "Artifacts are put under load one after another, in one process; engines of the one before are closed. "
    "Bounds of percentiles are MLPerf's early stopping at confidence 0.99: with so many queries, the "
    "percentile lies at or below the bound; with fewer than needed it is refused. Percentiles come from a "
    "histogram that tells any latency within 0.1 %. In the server scenario a latency counts from the moment "
    "at which a query was due to arrive, whatever the system did then. Figures follow MLPerf's rules for its "
    "scenarios in short runs on random inputs; they are no MLPerf results."
)


def name(run: LoadRun) -> str:
    """Scenario and artifact, with the rate where there is one."""
    rate = "" if run.qps is None else f" at {run.qps:.4g}/s"
    return f"{run.artifact}, {find(run.scenario).TITLE.lower()}{rate}"


def headline(result: LoadResult) -> str:
    """What the first run found, and where."""
    return f"{claim(result.runs[0])}, measured on {result.machine.cpu}."


def sentences(result: LoadResult) -> list[str]:
    """What the other runs found, what growing memory there is, and what no meter measured."""
    said = [f"{claim(run)}." for run in result.runs[1:]]
    said += [
        f"Memory grows in {name(run)}: by {quantities.in_bytes(run.memory.growth_bytes or 0)} a query."
        for run in result.runs
        if run.memory.grows
    ]
    return said


def claim(run: LoadRun) -> str:
    """What a run found, without full stop."""
    if run.search is not None:
        return _greatest(run)
    if run.verdict is not None:
        kept = "keeps" if run.verdict.valid else "does not keep"
        why = "" if run.verdict.valid else f" ({'; '.join(run.verdict.why_not)})"
        within = f"{run.verdict.bound_ms:.4g} ms"
        return f"{name(run)} {kept} its 99th percentile within {within}{why}"
    if run.latency is None or run.judged is None:
        return f"{name(run)} answers {quantities.plain(run.throughput_per_s)} samples a second"
    told = run.latency.at(run.judged)
    if told.bound_ms is None:
        return f"{name(run)} has a median of {quantities.plain(run.latency.at(50.0).value_ms or 0)} ms"
    return f"{name(run)} has its {told.rank:g}th percentile within {quantities.plain(told.bound_ms)} ms"


def _greatest(run: LoadRun) -> str:
    bound = f"{run.verdict.bound_ms:.4g}" if run.verdict else ABSENT
    if run.search is None or run.search.qps is None:
        return f"{run.artifact}: no rate that was tried keeps the 99th percentile within {bound} ms"
    rate = quantities.plain(run.search.qps)
    return f"{run.artifact} answers up to {rate} queries a second with the 99th percentile within {bound} ms"


def run_table(result: LoadResult) -> Table:
    """A row for each run."""
    header = (
        "run",
        "queries",
        "p50 ms (95 %)",
        "p90 ms",
        "p99 ms",
        "waiting ms",
        "samples/s (95 %)",
        "found",
    )
    return Table(header, tuple((name(run), *_cells(run), found(run)) for run in result.runs))


def _cells(run: LoadRun) -> tuple[str, ...]:
    rate = quantities.plain(run.throughput_per_s)
    if run.throughput_ci95_per_s is not None:
        rate, between = quantities.interval(*run.throughput_ci95_per_s, run.throughput_per_s)
        rate = f"{rate} ({between})"
    latency = run.latency
    if latency is None:
        return f"{run.queries:,}", ABSENT, ABSENT, ABSENT, ABSENT, rate
    median, between = quantities.interval(*latency.p50_ci95_ms, latency.at(50.0).value_ms or latency.mean_ms)
    waiting = quantities.plain(latency.waiting_ms) if run.qps is not None else ABSENT
    tails = (_value(latency.at(rank)) for rank in (90.0, 99.0))
    return f"{latency.queries:,}", f"{median} ({between})", *tails, waiting, rate


def _value(told: Percentile) -> str:
    return ABSENT if told.value_ms is None else quantities.plain(told.value_ms)


def found(run: LoadRun) -> str:
    """What the scenario is judged by, in a few words."""
    noisy = "; noisy" if run.noise else ""
    if run.verdict is not None:
        return ("valid" if run.verdict.valid else "not valid") + noisy
    if run.latency is None or run.judged is None:
        return f"{quantities.plain(run.throughput_per_s)} samples/s{noisy}"
    told = run.latency.at(run.judged)
    if told.bound_ms is None:
        return f"p{told.rank:g} refused: {run.latency.queries:,} of {told.queries_needed:,} queries{noisy}"
    return f"p{told.rank:g} ≤ {quantities.plain(told.bound_ms)} ms{noisy}"


def percentile_table(latency: Latencies) -> Table:
    """Every percentile, its bound, or how many queries it needs."""
    rows = [
        (
            f"{told.rank:g}",
            _value(told),
            ABSENT if told.bound_ms is None else quantities.plain(told.bound_ms),
            f"{told.queries_needed:,}",
        )
        for told in latency.percentiles
    ]
    extremes = [("smallest", latency.min_ms), ("mean", latency.mean_ms), ("largest", latency.max_ms)]
    rows += [(word, quantities.plain(value), ABSENT, ABSENT) for word, value in extremes]
    return Table(("percentile", "ms", "at most, at 0.99", "queries needed"), tuple(rows))


def probe_table(run: LoadRun) -> Table:
    """The runs of a search for the greatest rate, in order."""
    rows = [
        (
            quantities.plain(probe.qps),
            f"{probe.queries:,}",
            f"{probe.over:,}",
            ABSENT if probe.over_allowed < 0 else f"{probe.over_allowed:,}",
            quantities.plain(probe.p99_ms),
            "kept" if probe.passed else "ended early" if probe.hopeless else "not kept",
        )
        for probe in (run.search.probes if run.search else [])
    ]
    return Table(
        ("queries/s", "queries", "over the bound", "may be", "p99 of these, ms", "bound"), tuple(rows)
    )


def start_table(result: LoadResult) -> Table | None:
    """Cold and warm starts: medians and ranges, ms; None where none were made."""
    rows = []
    for artifact in result.artifacts:
        if artifact.starts is not None:
            rows += _start_rows(artifact.name, artifact.starts)
    header = ("model", "start", "to the first answer, ms", "imports", "load", "first inference", "processes")
    return Table(header, tuple(rows)) if rows else None


def _start_rows(model: str, starts: Starts) -> list[tuple[str, ...]]:
    rows = []
    for kind, made in (("cold", starts.cold), ("warm", starts.warm)):
        if made:
            total = spread([one.total_ms for one in made])
            parts = [spread([getattr(one, part) for one in made]) for part in PARTS]
            rows.append((model, kind, total, *parts, str(len(made))))
        else:
            rows.append((model, kind, f"{NOT_MEASURED}: {starts.not_cold}", *[ABSENT] * 3, "0"))
    return rows


PARTS = {"imports_ms": "interpreter and imports", "load_ms": "load", "first_ms": "first inference"}


def medians(made: Sequence[Start]) -> list[float]:
    """The median of each part of some starts, ms."""
    return [float(np.median([getattr(one, part) for one in made])) for part in PARTS]


def spread(values: Sequence[float]) -> str:
    """A median and the range, as text."""
    median, between = quantities.interval(min(values), max(values), float(np.median(values)))
    return f"{median} ({between})"


def memory_table(result: LoadResult) -> Table:
    """Memory at both ends of each run, and its growth."""
    rows = []
    for run in result.runs:
        points, memory = run.memory.points, run.memory
        pss = [point.pss_bytes for point in points if point.pss_bytes is not None]
        growth = "too short to tell"
        if memory.growth_bytes is not None and memory.growth_ci95_bytes is not None:
            value, between = quantities.interval(*memory.growth_ci95_bytes, memory.growth_bytes)
            growth = f"{value} ({between}): {'grows' if memory.grows else 'no growth shown'}"
        rows.append(
            (
                name(run),
                quantities.in_bytes(points[0].rss_bytes),
                quantities.in_bytes(points[-1].rss_bytes),
                quantities.in_bytes(max(point.rss_bytes for point in points)),
                quantities.in_bytes(pss[-1]) if pss else ABSENT,
                growth,
            )
        )
    header = ("run", "RSS before", "RSS after", "RSS at most", "PSS after", "growth a query, bytes (95 %)")
    return Table(header, tuple(rows))


def energy_table(result: LoadResult) -> Table:
    """Energy of a sample by each meter, idle subtracted, or that none measured it."""
    rows = []
    for run in result.runs:
        for energy in run.energies:
            value, between = quantities.interval(*energy.mj_ci95, energy.mj)
            gross, idle = quantities.plain(energy.gross_mj), quantities.plain(energy.idle_watts)
            rows.append((name(run), f"{value} ({between})", energy.meter, gross, idle))
        if not run.energies:
            rows.append((name(run), NOT_MEASURED, ABSENT, ABSENT, ABSENT))
    if not any(run.energies for run in result.runs):
        rows = [("every run", NOT_MEASURED, ABSENT, ABSENT, ABSENT)]
    header = ("run", "mJ an inference (95 %)", "meter", "idle included, mJ", "idle, W")
    return Table(header, tuple(rows))


def meter_rows(result: LoadResult) -> list[tuple[str, str]]:
    """Every meter that was looked for, and what it said or why it is not there."""
    told: dict[str, list[str]] = {}
    for run in result.runs:
        for state in run.meters:
            lines = told.setdefault(state.name, [])
            line = state.covers if state.why_not is None else f"measured nothing: {state.why_not}"
            methods = [energy.method for energy in run.energies if energy.meter == state.name]
            lines += [one for one in (line, *methods, *state.said) if one not in lines]
    return [(meter, ". ".join(lines)) for meter, lines in sorted(told.items())] or [("none", "not asked for")]


def noise_lines(result: LoadResult) -> list[str]:
    """What made runs noisy, each with its run's name."""
    return [*result.noise, *(f"{name(run)}: {sentence}" for run in result.runs for sentence in run.noise)]


def placement_rows(result: LoadResult) -> list[tuple[str, str]]:
    """Where each run's threads ran and its memory lay."""
    rows = []
    for run in result.runs:
        place = run.placement
        where = "wherever the system put them"
        if place.cpus:
            shared = "; ".join(pinning.shown(cpus) for cpus in place.workers)
            where = f"on CPUs {pinning.shown(place.cpus)}, workers on {shared}, {place.astray} elsewhere"
        rows.append((name(run), f"{place.threads} threads {where}; memory: {place.memory}"))
    alike = len({told for _, told in rows}) == 1
    return [("every run", rows[0][1])] if alike else rows


def settings_rows(result: LoadResult) -> list[tuple[str, str]]:
    """How load was made."""
    settings = result.settings
    told = asdict(settings)
    rows = [
        ("Scenarios", ", ".join(find(scenario).TITLE for scenario in settings.scenarios)),
        ("Time, at least", f"{settings.duration_s:g} s a run"),
        ("Queries, at least", f"{settings.queries:,}" if settings.queries else "what the percentile needs"),
        ("Workers", f"{settings.workers}, of {settings.threads} threads each"),
        ("Samples a call, at most", str(settings.batch) if settings.batch else "the scenario's own"),
        ("Seed", str(settings.seed)),
    ]
    optional = {
        "qps": "Queries a second",
        "latency_bound_ms": "Bound of the 99th percentile, ms",
        "numa": "NUMA node",
    }
    rows += [(title, f"{told[key]:g}") for key, title in optional.items() if told[key] is not None]
    if settings.find_qps:
        rows.append(("Greatest rate", f"looked for, to {PRECISION:.0%}, and confirmed by another run"))
    if settings.cpus:
        rows.append(("CPUs", pinning.shown(settings.cpus)))
    return rows


def methods(result: LoadResult) -> list[str]:
    """How figures were obtained, each way once."""
    every = [run.method for run in result.runs] + [run.memory.method for run in result.runs]
    every += [artifact.starts.method for artifact in result.artifacts if artifact.starts]
    return list(dict.fromkeys(every))
