"""Profiles recorded earlier, side by side.

Candidates of one profile were timed in turns, so their ratio stands as recorded. Candidates of two
profiles were timed apart: their ratio is made only when machine, settings and tools agree, and is
marked as not interleaved, for what changed on the machine between the two is in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paring_profiles import openings
from paring_profiles.result import Candidate, Case, Latency, Profile
from paring_profiles.statistics import unpaired_ratio, verdict
from paring_profiles.store import read
from paring_runtimes.errors import InputError

# Of the settings, those that change what a call costs; how long was measured does not.
COST_SETTINGS = ("threads", "seed", "dims", "values", "new_tokens", "text", "image")
_IGNORED_MACHINE = ("load_1m",)
_ENGINES = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class Recorded:
    """One candidate in one case, as one profile recorded it. `label` is unique."""

    label: str
    profile: str
    created: str
    candidate: Candidate
    latency: Latency
    noise: list[str]


@dataclass(frozen=True)
class RecordedComparison:
    """A recorded candidate against the baseline in one case.

    Attributes:
        interleaved: timed in turns in one process. If not, the interval is that of two series
            measured apart.
        refused: why there is no ratio: the fields that differ. None when there is one.
    """

    baseline: str
    candidate: str
    batch_size: int
    interleaved: bool
    latency_ratio: float | None
    latency_ratio_ci95: tuple[float, float] | None
    mac_ratio: float | None
    realised: float | None
    verdict: str
    refused: str | None = None
    prompt_tokens: int | None = None
    phase: str = ""


@dataclass(frozen=True)
class SideBySide:
    """What `compare` found. The first row's candidate is the baseline."""

    rows: list[Recorded]
    comparisons: list[RecordedComparison]


def compare(profiles: Sequence[Profile | str | Path]) -> SideBySide:
    """Put recorded profiles side by side; the first candidate of the first one is the baseline.

    Raises:
        ArtifactError: a file is no profile.
        InputError: no profile was given.
    """
    if not profiles:
        raise InputError("compare: expected at least one profile, given none")
    opened = [p if isinstance(p, Profile) else read(p) for p in profiles]
    names = _profile_names(profiles)
    groups = [_rows(p, name) for p, name in zip(opened, names, strict=True)]
    reference = groups[0]
    baseline = opened[0].candidates[0].name
    comparisons = []
    for profile, rows in zip(opened, groups, strict=True):
        for row in rows:
            base = _at(reference, baseline, row.latency.case)
            if base is not None and row is not base:
                comparisons.append(_against(opened[0], base, profile, row))
    return SideBySide([row for rows in groups for row in rows], comparisons)


def differences(one: Profile, other: Profile) -> list[str]:
    """Return the fields in which two profiles differ so that their latencies do not compare."""
    fields: list[tuple[str, object, object]] = []
    for name, value in dataclasses.asdict(one.machine).items():
        if name not in _IGNORED_MACHINE:
            fields.append((f"machine.{name}", value, getattr(other.machine, name)))
    for name in COST_SETTINGS:
        values = (getattr(p.settings, name) for p in (one, other))
        fields.append((f"settings.{name}", *values))
    for name in _ENGINES:
        fields.append((f"tools.{name}", one.tools.get(name), other.tools.get(name)))
    return [f"{name} ({a!r} and {b!r})" for name, a, b in fields if a != b]


def _profile_names(profiles: Sequence[Profile | str | Path]) -> list[str]:
    """Return one name a profile: its file's stem, or its number; made unique."""
    names: list[str] = []
    for number, profile in enumerate(profiles, 1):
        name = f"profile {number}" if isinstance(profile, Profile) else Path(profile).stem
        names.append(name if name not in names else f"{name} ({number})")
    return names


def _rows(profile: Profile, name: str) -> list[Recorded]:
    return [
        Recorded(f"{candidate.name} in {name}", name, profile.created, candidate, at, profile.noise)
        for candidate in profile.candidates
        for at in candidate.latency
    ]


def _at(rows: Sequence[Recorded], candidate: str, case: Case) -> Recorded | None:
    fitting = (r for r in rows if r.candidate.name == candidate and r.latency.case == case)
    return next(fitting, None)


def _against(reference: Profile, base: Recorded, profile: Profile, row: Recorded) -> RecordedComparison:
    case = row.latency.case
    mac_ratio = ratio_of_macs(base.candidate, row.candidate, case)
    interleaved, refused = profile is reference, None
    ratio: float | None = None
    ci: tuple[float, float] | None = None
    said = "no ratio"
    if interleaved:
        found = next(c for c in profile.comparisons if c.candidate == row.candidate.name and c.case == case)
        ratio, ci, said = found.latency_ratio, found.latency_ratio_ci95, found.verdict
    elif differ := differences(reference, profile):
        refused = "they differ in " + ", ".join(differ)
    else:
        ratio, ci, said = ratio_apart(base.latency, row.latency, reference.settings.seed)
    return RecordedComparison(
        baseline=base.label,
        candidate=row.label,
        batch_size=case[0],
        interleaved=interleaved,
        latency_ratio=ratio,
        latency_ratio_ci95=ci,
        mac_ratio=mac_ratio,
        realised=ratio / mac_ratio if ratio is not None and mac_ratio else None,
        verdict=said,
        refused=refused,
        prompt_tokens=case[1],
        phase=case[2],
    )


def ratio_apart(base: Latency, own: Latency, seed: int) -> tuple[float, tuple[float, float], str]:
    """Baseline / candidate of two that were timed apart, its interval and the verdict.

    Where models were opened once, there are calls alone to judge by.
    """
    if base.openings_ms and own.openings_ms:
        found = openings.apart(base.openings_ms, own.openings_ms)
        return found.ratio, found.ci95, found.verdict
    ours, theirs = (np.asarray(one.samples_ms) for one in (own, base))
    ratio, ci = unpaired_ratio(theirs, ours, seed)
    return ratio, ci, verdict(ci, min(len(ours), len(theirs)))


def ratio_of_macs(baseline: Candidate, candidate: Candidate, case: Case) -> float | None:
    """Return baseline MACs / candidate MACs; None when a count is missing or holds unknowns."""
    ours, theirs = (c.macs_of(case) for c in (candidate, baseline))
    if not ours or not theirs or baseline.macs_unknown or candidate.macs_unknown:
        return None
    return theirs / ours
