"""The sentences on top: what was gained, what it cost, and where it was measured."""

from __future__ import annotations

import math
from typing import Any

from paring_profiles.report import quantities
from paring_profiles.result import Candidate, Comparison, Profile

SAME_MACS, SAME_SIZE = 0.005, 0.02  # relative: what a no-op's export may differ by
LITTLE_DROP, LITTLE_INCREASE = 0.01, 0.05  # of accuracy; of perplexity, relative


def headline(profile: Profile) -> str:
    """One sentence on the best candidate (see `choice`), at the first batch size and the longest prompts."""
    best = choice(profile)
    if best is None:
        return _alone(profile)
    return f"{_claim(profile, best)}, {_where(profile, best)}."


def others(profile: Profile) -> list[str]:
    """The same sentence, without the place, for every comparison that the headline leaves out."""
    best = choice(profile)
    return [f"{_claim(profile, found)}." for found in _told(profile) if found is not best]


def choice(profile: Profile) -> Comparison | None:
    """The comparison that the headline tells.

    Of the candidates that do something else than the baseline, the fastest one that loses little quality
    (at most a point of accuracy, or 5 % of perplexity); the fastest of all where none is known to.
    """
    told = _told(profile)
    if not told:
        return None
    longest = max((found.prompt_tokens or 0) for found in told)
    here = [f for f in told if f.batch_size == told[0].batch_size and (f.prompt_tokens or 0) == longest]
    changed = [found for found in here if _changes(profile, found)] or here[:1]
    good = [found for found in changed if _loses_little(_candidate(profile, found.candidate).quality)]
    return max(good or changed, key=lambda found: found.latency_ratio)


def _told(profile: Profile) -> list[Comparison]:
    """Comparisons of whole calls, and of language models' time to the first token."""
    return [found for found in profile.comparisons if found.phase in ("", "first_token")]


def _changes(profile: Profile, found: Comparison) -> bool:
    """Whether a candidate computes something else than the baseline, and is not its equal by another name."""
    base, own = _candidate(profile, found.baseline), _candidate(profile, found.candidate)
    if found.mac_ratio is None or base.tokens_per_layer != own.tokens_per_layer:
        return True
    smaller = abs(own.size_bytes / max(base.size_bytes, 1) - 1) > SAME_SIZE
    return smaller or abs(found.mac_ratio - 1) > SAME_MACS


def _loses_little(quality: dict[str, Any] | None) -> bool:
    if not quality:
        return False
    if quality.get("drop") is not None:
        return float(quality["drop"]) <= LITTLE_DROP
    return quality.get("increase") is not None and float(quality["increase"]) <= LITTLE_INCREASE


def subject(candidate: Candidate) -> str:
    """A candidate's name, with its transforms when the name does not tell them."""
    names = [str(step.get("name", "")) for step in candidate.transforms]
    untold = [name for name in dict.fromkeys(names) if name and name not in candidate.name]
    return f"{candidate.name} with {' and '.join(untold)}" if untold else candidate.name


def _claim(profile: Profile, comparison: Comparison) -> str:
    candidate = _candidate(profile, comparison.candidate)
    # What only another engine or format computes is no transform's doing.
    told = candidate.name if candidate.agreement is not None else subject(candidate)
    parts = [f"{told} {_speed(profile, comparison)}"]
    if comparison.phase:
        parts += [_decoding(profile, comparison), *_cache(profile, comparison)]
    return ", ".join([*parts, _quality(candidate)])


def _speed(profile: Profile, comparison: Comparison) -> str:
    value, (low, high) = comparison.latency_ratio, comparison.latency_ratio_ci95
    place = f"at batch {comparison.batch_size}"
    if comparison.phase:
        place = f"to the first token after {_prompt(profile, comparison)} {place}"
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


def _prompt(profile: Profile, comparison: Comparison) -> str:
    phases = {latency.phase for latency in _candidate(profile, comparison.candidate).latency}
    seen = "an image and " if "encoder" in phases else ""
    return f"{seen}{comparison.prompt_tokens:,} prompt tokens"


def _decoding(profile: Profile, comparison: Comparison) -> str:
    case = (comparison.batch_size, comparison.prompt_tokens, "decode")
    found = next(
        (c for c in profile.comparisons if (c.candidate, c.case) == (comparison.candidate, case)), None
    )
    if found is None:
        return "decoding not compared"
    if found.verdict == "no difference shown":
        return "no difference shown in decoding"
    ratio = found.latency_ratio if found.verdict == "faster" else 1 / found.latency_ratio
    return f"decodes {quantities.ratio(ratio)} {found.verdict}"


def _cache(profile: Profile, comparison: Comparison) -> list[str]:
    held = []
    for name in (comparison.baseline, comparison.candidate):
        every = _candidate(profile, name).answered
        case = (comparison.batch_size, comparison.prompt_tokens)
        held += [own.cache_bytes for own in every if (own.batch_size, own.prompt_tokens) == case]
    if len(held) != 2 or not held[0]:
        return []
    less = 1 - held[1] / held[0]
    if less == 0:
        return ["as much key-value cache"]
    return [f"{quantities.fixed(100 * abs(less), 1)} % {'less' if less > 0 else 'more'} key-value cache"]


def _interval(low: float, high: float) -> str:
    return f"95 % interval {quantities.fixed(low, 2)} to {quantities.fixed(high, 2)}"


def _quality(candidate: Candidate) -> str:
    quality = candidate.quality
    if quality and quality.get("increase") is not None:
        return _perplexity(candidate, quality)
    if not quality or quality.get("drop") is None:
        return "quality not measured" if candidate.answered else "accuracy not measured"
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


def _perplexity(candidate: Candidate, quality: dict[str, Any]) -> str:
    metric, rise = str(quality.get("metric", "perplexity")), float(quality["increase"])
    if any(stage.transform == "gem_filter" for own in candidate.answered for stage in own.stages):
        metric = f"{metric} without the filter"
    shown = quantities.fixed(100 * abs(rise), 2)
    if float(shown) == 0:
        return f"{metric} unchanged"
    low, high = (100 * float(bound) for bound in quality.get("increase_ci95") or (math.nan, math.nan))
    doubt = ", no difference shown" if low <= 0 <= high else ""
    bounds = (low, high) if rise > 0 else (-high, -low)
    between = " to ".join(quantities.fixed(bound, 2) for bound in bounds)
    return f"{metric} {shown} % {'higher' if rise > 0 else 'lower'} ({between}{doubt})"


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
        if latency.case == comparison.case
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
    what, place = "a call", f"at batch {latency.batch_size}"
    if latency.phase:
        what, place = "to the first token", f"{place} and {latency.prompt_tokens:,} prompt tokens"
    return (
        f"{subject(candidate)} takes {text} {what} (median, 95 % interval {between}) {place}, "
        f"{latency.provenance} on {profile.machine.cpu}; there is nothing to compare it with."
    )


def _candidate(profile: Profile, name: str) -> Candidate:
    return next(candidate for candidate in profile.candidates if candidate.name == name)
