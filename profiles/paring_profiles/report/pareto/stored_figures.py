"""The figures of a stored row as measures. What no sweep has is named here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paring_profiles.history import Row
from paring_profiles.report import quantities
from paring_profiles.result import Candidate, Profile
from paring_profiles.statistics import bootstrap_percentiles
from paring_profiles.sweep import Measure, Named, Trial
from paring_profiles.sweep.measures import quality_measures

NAMED = {
    one.measure: one
    for one in (
        Named("latency_modelled_ms", "latency, median, modelled", "ms", True, "modelled", "ms"),
        Named("perplexity", "perplexity", "", True, "measured", "", digits=3),
        Named("energy_modelled_mj", "energy an inference, modelled", "mJ", True, "modelled", "uJ", 1e3, 1),
    )
}
_METER = "energy_measured_mj by "


def named_of(trials: Sequence[Trial]) -> dict[str, Named]:
    """An axis for each meter: figures of two meters do not compare."""
    found = {name for trial in trials for name in trial.measures if name.startswith(_METER)}
    return {
        name: Named(name, f"energy an inference, {name.removeprefix(_METER)}", "mJ", True, "measured", "mJ")
        for name in sorted(found)
    }


def measures_of(row: Row, profile: Profile, candidate: Candidate) -> dict[str, Measure]:
    """Every figure of a row, in the measures' units."""
    latency = next(one for one in candidate.latency if one.case == row.case)
    low, high = row.p50_ci95_ms
    method = latency.method
    if row.provenance == "modelled":
        found = {"latency_modelled_ms": Measure(row.p50_ms, low, high, "ms", "modelled", method)}
    else:
        found = {"latency_p50_ms": Measure(row.p50_ms, low, high, "ms", "measured", method)}
        ends = row.batch_size * 1e3 / high, row.batch_size * 1e3 / low
        found["throughput_per_s"] = Measure(row.throughput_per_s, *ends, "1/s", "measured", method)
        if row.p99_ms is not None:
            drawn = bootstrap_percentiles(np.asarray(latency.samples_ms), 99, profile.settings.seed)
            low, high = (float(end) for end in np.percentile(drawn, (2.5, 97.5)))
            ends = min(low, row.p99_ms), max(high, row.p99_ms)
            found["latency_p99_ms"] = Measure(row.p99_ms, *ends, "ms", "measured", method)
    size = float(row.size_bytes)
    found["size_bytes"] = Measure(size, size, size, "bytes", "measured", "the artifact's files")
    if row.peak_memory_bytes is not None:
        peak = float(row.peak_memory_bytes)
        how = "resident growth over an idle process, the whole run's"
        found["peak_memory_bytes"] = Measure(peak, peak, peak, "bytes", "measured", how)
    return found | _quality(row, candidate) | _energy(row, candidate)


def _quality(row: Row, candidate: Candidate) -> dict[str, Measure]:
    if row.metric is None or row.quality is None:
        return {}
    if quantities.as_share(row.metric):
        return quality_measures(candidate.quality)
    if "perplexity" not in row.metric:
        return {}
    low, high = row.quality_ci95 or (row.quality, row.quality)
    method = f"{row.metric} on {row.quality_samples or 'unknown'} samples"
    return {"perplexity": Measure(row.quality, low, high, "", "measured", method)}


def _energy(row: Row, candidate: Candidate) -> dict[str, Measure]:
    found = {
        f"{_METER}{own.meter}": Measure(own.mj, *own.mj_ci95, "mJ", "measured", own.method)
        for own in candidate.energies
        if own.place == row.case[:2]
    }
    for own in candidate.modelled_energies:
        if own.batch_size == row.batch_size and own.mj is not None and row.prompt_tokens is None:
            method = f"{own.method}, {own.chip}"
            found["energy_modelled_mj"] = Measure(own.mj, own.mj, own.mj, "mJ", "modelled", method)
    return found
