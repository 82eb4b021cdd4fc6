"""From what was profiled to the measures of a trial, each with its 95 % interval and how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paring_profiles.energy.windows import RESOLUTION_SHARE
from paring_profiles.result import Candidate, Comparison, Profile
from paring_profiles.statistics import bootstrap_percentiles
from paring_profiles.sweep.result import Measure
from paring_runtimes.errors import InputError

TIMED = ("latency_relative", "latency_p50_ms", "latency_p99_ms", "throughput_per_s")


class Unresolved(InputError):
    """A figure that the machine's noise hides; a quieter moment may show it."""


def timed_measures(profile: Profile, index: int, round_: str) -> dict[str, Measure]:
    """Of candidate `index` of a profile at its one batch size; its baseline is the first candidate.

    Args:
        profile: of one batch size.
        index: 0 is the baseline, which is 1 x itself.
        round_: "trial" or "final".
    """
    candidate = profile.candidates[index]
    [found] = candidate.latency
    batch, seed = found.batch_size, profile.settings.seed
    method = f"batch {batch}, {found.method}"
    low, high = found.p50_ci95_ms
    measures = {
        "latency_p50_ms": Measure(found.p50_ms, low, high, "ms", "measured", method, round_),
        "throughput_per_s": Measure(
            found.throughput_per_s, batch * 1e3 / high, batch * 1e3 / low, "1/s", "measured", method, round_
        ),
        "latency_relative": _relative(profile, index, method, round_),
    }
    if found.p99_ms is not None:
        drawn = bootstrap_percentiles(np.asarray(found.samples_ms), 99, seed)
        low, high = (float(end) for end in np.percentile(drawn, (2.5, 97.5)))
        low, high = min(low, found.p99_ms), max(high, found.p99_ms)
        measures["latency_p99_ms"] = Measure(found.p99_ms, low, high, "ms", "measured", method, round_)
    return measures


def _relative(profile: Profile, index: int, method: str, round_: str) -> Measure:
    """Latency as a multiple of the baseline's: the median over rounds in which both had their turn."""
    if index == 0:
        return Measure(1.0, 1.0, 1.0, "x baseline", "measured", method, round_)
    name = profile.candidates[index].name
    [against] = [c for c in profile.comparisons if c.candidate == name]
    return relative_of(against, method, round_)


def relative_of(against: Comparison, method: str, round_: str) -> Measure:
    """A speed-up, turned over."""
    low, high = against.latency_ratio_ci95
    return Measure(1 / against.latency_ratio, 1 / high, 1 / low, "x baseline", "measured", method, round_)


def still_measures(candidate: Candidate, batch: int) -> dict[str, Measure]:
    """What does not depend on the time of measuring: size, peak memory, accuracy."""
    size = float(candidate.size_bytes)
    measures = {"size_bytes": Measure(size, size, size, "bytes", "measured", "the artifact's files")}
    if candidate.peak_memory_bytes is not None:
        peak = float(candidate.peak_memory_bytes)
        method = f"resident growth over an idle process, one process, batch {batch}"
        measures["peak_memory_bytes"] = Measure(peak, peak, peak, "bytes", "measured", method)
    return measures | quality_measures(candidate.quality)


def quality_measures(quality: Mapping[str, Any] | None) -> dict[str, Measure]:
    """Of a manifest's quality; {} where accuracy was not measured."""
    if quality is None or not quality.get("after_ci95"):
        return {}
    of = quality.get("data") or "unnamed data"
    method = f"{quality.get('metric', 'accuracy')} on {quality.get('samples', 'some')} images of {of}"
    low, high = quality["after_ci95"]
    found = {"accuracy": Measure(quality["after"], low, high, "share", "measured", method)}
    if quality.get("drop_ci95"):
        low, high = quality["drop_ci95"]
        value = quality["drop"]
        # The interval of few changed answers is moved towards them; it holds what was seen all the same.
        low, high = min(low, value), max(high, value)
        found["drop"] = Measure(value, low, high, "share", "measured", method)
    return found


def metered_energy(profile: Profile, index: int, round_: str) -> Measure:
    """Energy an inference of candidate `index`, millijoules, as the profile's one meter measured it.

    Raises:
        InputError: the meter could not tell; with its reason.
        Unresolved: it could, but the energy does not stand out from that of the idle machine.
    """
    found = profile.candidates[index].energies
    if not found:
        reasons = "; ".join(f"{meter.name}: {meter.why_not or meter.said}" for meter in profile.meters)
        raise InputError(f"objective energy: {reasons or 'no meter measured it'}")
    [own] = found
    low, high = own.mj_ci95
    if low <= RESOLUTION_SHARE * own.gross_mj:
        raise Unresolved(
            f"objective energy: {own.meter}: {own.mj:.3g} mJ an inference ({low:.3g} to {high:.3g}) does not"
            " stand out from the idle machine: it takes a quieter one, or a larger --batch"
        )
    method = f"{own.meter}: {own.covers}; batch {own.batch_size}, {own.method}"
    return Measure(own.mj, min(low, own.mj), max(high, own.mj), "mJ", "measured", method, round_)


def modelled_energy(model: Path, batch: int) -> Measure:
    """Energy of one call as the ledger models it, microjoules. Exact: a model has no spread.

    Raises:
        ArtifactError: no ONNX file.
        MissingExtraError: onnx or onnxruntime is missing.
    """
    from paring_profiles import inputs
    from paring_profiles.ledger import ledger
    from paring_profiles.onnx_graph import input_specs, open_graph

    shapes = inputs.concrete_shapes(input_specs(open_graph(model)), batch, {}, model)
    found = ledger(model, shapes)
    left_out = f", without {', '.join(found.unpriced)}" if found.unpriced else ""
    method = f"ledger, {found.chip}, batch {batch}, accounting {found.accounting}{left_out}"
    value = found.total_uj
    return Measure(value, value, value, "uJ", "modelled", method)
