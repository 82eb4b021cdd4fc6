"""From a timeline to latencies, a verdict, and what a probe of the search tells."""

from __future__ import annotations

import numpy as np

from paring_profiles.load.early_stopping import bound, over_allowed, queries_needed
from paring_profiles.load.hdr import Histogram
from paring_profiles.load.result import Latencies, Percentile, Point, Probe, Verdict
from paring_profiles.load.timeline import Timeline
from paring_profiles.statistics import Series, median_ci95

RANKS = (50.0, 90.0, 95.0, 99.0, 99.9)
POINTS, LONGEST = 1500, 50  # kept of a run for its pictures


def latencies_ms(timeline: Timeline) -> Series:
    """Return latencies in the order due, ms.

    A query that had arrived when the run was ended counts as what it had waited; later ones are left out.
    """
    arrived = timeline.due <= timeline.seconds
    done = np.where(np.isnan(timeline.done), timeline.seconds, timeline.done)
    found: Series = (done - timeline.due)[arrived] * 1e3
    return found


def summarise(timeline: Timeline, seed: int) -> Latencies:
    """Return what is told of all latencies of a run."""
    latencies = latencies_ms(timeline)
    ordered, histogram = np.sort(latencies), Histogram.of(latencies)
    waiting = (timeline.taken - timeline.due)[~np.isnan(timeline.taken)] * 1e3
    return Latencies(
        queries=len(latencies),
        percentiles=[_percentile(rank, ordered, histogram) for rank in RANKS],
        p50_ci95_ms=median_ci95(latencies, seed),
        mean_ms=float(latencies.mean()),
        std_ms=float(latencies.std(ddof=1)) if len(latencies) > 1 else 0.0,
        min_ms=float(ordered[0]),
        max_ms=float(ordered[-1]),
        waiting_ms=float(waiting.mean()) if len(waiting) else 0.0,
        histogram=histogram.encoded(),
        points=_points(timeline.due, latencies),
    )


def _percentile(rank: float, ordered: Series, histogram: Histogram) -> Percentile:
    needed = queries_needed(rank / 100)
    enough = len(ordered) >= needed
    return Percentile(
        rank=rank,
        value_ms=min(histogram.percentile_ms(rank), float(ordered[-1])) if enough else None,
        bound_ms=bound(ordered, rank / 100),
        queries_needed=needed,
    )


def _points(due_s: Series, latencies: Series) -> list[Point]:
    """Return evenly spaced queries, and the longest."""
    kept = np.arange(len(latencies))
    if len(latencies) > POINTS:
        even = np.linspace(0, len(latencies) - 1, POINTS - LONGEST).astype(int)
        kept = np.union1d(even, np.argsort(latencies)[-LONGEST:])
    return [Point(round(float(due_s[i]), 6), round(float(latencies[i]), 6)) for i in kept]


def verdict(timeline: Timeline, share: float, bound_ms: float, seconds: float) -> Verdict:
    """Return whether a server run kept its bound with confidence 0.99.

    Args:
        timeline: of the run.
        share: of queries that shall stay within the bound, 0.99.
        bound_ms: the bound.
        seconds: of arrivals that the run should have had.
    """
    latencies = latencies_ms(timeline)
    over = int(np.count_nonzero(latencies > bound_ms))
    allowed = over_allowed(share, len(latencies))
    reasons = []
    if over > max(allowed, 0):
        reasons.append(
            f"{over} of {len(latencies)} queries took longer than {bound_ms:g} ms, and {max(allowed, 0)} may"
        )
    if allowed < 0:
        reasons.append(f"{len(latencies)} queries, {queries_needed(share, 0)} needed")
    missing = len(latencies) - timeline.answered()
    if missing > 0:
        reasons.append(f"{missing} queries were not answered when the run was ended")
    if timeline.seconds < min(seconds, timeline.due[-1]):
        reasons.append(f"the run was ended after {timeline.seconds:.1f} of {seconds:.1f} s")
    return Verdict(bound_ms, over, allowed, not reasons, reasons)


def probe(timeline: Timeline, qps: float, told: Verdict) -> Probe:
    """Return what one run of the search tells."""
    latencies = latencies_ms(timeline)
    return Probe(
        qps=qps,
        queries=len(latencies),
        over=told.over,
        over_allowed=told.over_allowed,
        p99_ms=Histogram.of(latencies).percentile_ms(99.0),
        passed=told.valid,
        hopeless=timeline.hopeless,
    )
