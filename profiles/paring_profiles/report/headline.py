"""The sentences on top: what was gained, what it cost, and where it was measured."""

from __future__ import annotations

from typing import Any

from paring_profiles.report import quantities
from paring_profiles.result import Candidate, Comparison, Profile


def headline(profile: Profile) -> str:
    """One sentence on the first candidate after the baseline, at the first batch size.

    Which candidate it speaks of never depends on how well that candidate did.
    """
    first = next(iter(profile.comparisons), None)
    if first is None:
        return _alone(profile)
    return f"{_claim(profile, first)}, {_where(profile, first)}."


def others(profile: Profile) -> list[str]:
    """The same sentence, without the place, for every comparison that the headline leaves out."""
    return [f"{_claim(profile, comparison)}." for comparison in profile.comparisons[1:]]


def subject(candidate: Candidate) -> str:
    """A candidate's name, with its transforms when the name does not tell them."""
    names = [str(step.get("name", "")) for step in candidate.transforms]
    untold = [name for name in dict.fromkeys(names) if name and name not in candidate.name]
    return f"{candidate.name} with {' and '.join(untold)}" if untold else candidate.name


def _claim(profile: Profile, comparison: Comparison) -> str:
    candidate = _candidate(profile, comparison.candidate)
    return f"{subject(candidate)} {_speed(comparison)}, {_quality(candidate.quality)}"


def _speed(comparison: Comparison) -> str:
    value, (low, high) = comparison.latency_ratio, comparison.latency_ratio_ci95
    place = f"at batch {comparison.batch_size}"
    if comparison.verdict == "faster":
        word = "faster than"
    elif comparison.verdict == "slower":
        word = "slower than"
        value, low, high = 1 / value, 1 / high, 1 / low
    else:
        return (
            f"shows no difference in latency from {comparison.baseline} {place} "
            f"(ratio {quantities.fixed(value, 2)}, {_interval(low, high)})"
        )
    return f"is {quantities.ratio(value)} {word} {comparison.baseline} ({_interval(low, high)}) {place}"


def _interval(low: float, high: float) -> str:
    return f"95 % interval {quantities.fixed(low, 2)} to {quantities.fixed(high, 2)}"


def _quality(quality: dict[str, Any] | None) -> str:
    if not quality or quality.get("drop") is None:
        return "accuracy not measured"
    metric, drop = str(quality.get("metric", "accuracy")), float(quality["drop"])
    share = quantities.as_share(metric)
    amount = quantities.metric_drop(metric, abs(drop))
    more, less = ("more accurate", "less accurate") if share else ("higher", "lower")
    unchanged = quantities.metric_drop(metric, drop) == quantities.metric_drop(metric, 0)
    if unchanged:
        said = "equally accurate" if share else f"{metric} unchanged"
    elif share:
        said = f"{amount} {less if drop > 0 else more}"
    else:
        said = f"{metric} {less if drop > 0 else more} by {amount}"
    return said + _drop_interval(metric, drop, quality.get("drop_ci95"))


def _drop_interval(metric: str, drop: float, bounds: list[float] | None) -> str:
    """The interval of what the sentence tells: of the loss, or of the gain."""
    if not bounds:
        return ""
    low, high = bounds if drop >= 0 else (-bounds[1], -bounds[0])
    between = quantities.metric_between(metric, (low, high))
    doubt = ", no difference shown" if low <= 0 <= high and drop != 0 else ""
    return f" ({between}{doubt})"


def _where(profile: Profile, comparison: Comparison) -> str:
    names = {comparison.baseline, comparison.candidate}
    kinds = {
        latency.provenance
        for candidate in profile.candidates
        if candidate.name in names
        for latency in candidate.latency
        if latency.batch_size == comparison.batch_size
    }
    if kinds <= {"measured"}:
        return f"measured on {profile.machine.cpu}"
    return f"latency {' and '.join(sorted(kinds))}, on {profile.machine.cpu}"


def _alone(profile: Profile) -> str:
    """The sentence when there is nothing to compare."""
    if not profile.candidates:
        return "No candidate was profiled."
    candidate = profile.candidates[0]
    if not candidate.latency:
        return f"{subject(candidate)}: latency not measured."
    latency = candidate.latency[0]
    text, between = quantities.duration_ms(latency.p50_ms, *latency.p50_ci95_ms)
    return (
        f"{subject(candidate)} takes {text} a call (median, 95 % interval {between}) at batch "
        f"{latency.batch_size}, {latency.provenance} on {profile.machine.cpu}; "
        "there is nothing to compare it with."
    )


def _candidate(profile: Profile, name: str) -> Candidate:
    return next(candidate for candidate in profile.candidates if candidate.name == name)
