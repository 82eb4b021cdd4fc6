"""What `paring compare --since` says of one figure of one artifact, and what is tolerated."""

from __future__ import annotations

from dataclasses import dataclass

from paring_profiles.history.rows import Row, case_text
from paring_profiles.result import Case
from paring_runtimes.errors import InputError

REGRESSION = "regression"
TOLERATED = "worse, tolerated"
IMPROVEMENT = "improvement"
NOTHING_SHOWN = "no difference shown"
NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Limits:
    """How much worse is tolerated, shares: 0.01 is 1 %.

    A regression is a change that is shown to be one for the worse and whose estimate is above the limit.
    """

    slowdown: float = 0.01
    memory_growth: float = 0.05
    size_growth: float = 0.01
    quality_drop: float = 0.0  # of the metric itself: 0.01 is one point of accuracy
    perplexity_rise: float = 0.01

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < float("inf"):
                raise InputError(f"{name}: expected a share of at least 0, given {value}")


@dataclass(frozen=True)
class Change:
    """The newest value of a figure against what it was at the beginning of the period.

    Attributes:
        figure: "latency", "peak memory", "size", "quality" or "perplexity".
        case: what was timed; None where the figure is the whole artifact's.
        change: worse is positive: a share of `before`; of quality, the drop itself.
        p_value: of no difference; None where nothing is left to chance, or nothing was compared.
        q_value: the p-value, adjusted for all that were judged together.
        reason: what it was judged by, or why it was not.
        changed: what differs between both sides, in words.
        newest, earlier: profiles' numbers.
        noise: of the newest run, in sentences.
    """

    name: str
    machine: str
    case: Case | None
    figure: str
    unit: str
    before: float | None
    after: float | None
    change: float | None
    change_ci95: tuple[float, float] | None
    p_value: float | None
    q_value: float | None
    verdict: str
    reason: str
    changed: tuple[str, ...]
    newest: tuple[int, ...]
    earlier: tuple[int, ...]
    noise: tuple[str, ...]

    @property
    def title(self) -> str:
        """What it is of: "vit, batch 1: latency"."""
        where = "" if self.case is None else f", {case_text(self.case)}"
        return f"{self.name}{where}: {self.figure}"


def differences(before: Row, after: Row) -> tuple[str, ...]:
    """Return what differs between two rows of one series and may be why their figures do."""
    said = []
    if before.artifact_digest != after.artifact_digest or after.artifact_digest is None:
        ours, theirs = ((row.artifact_digest or "unknown")[:12] for row in (before, after))
        said.append(f"artifact {ours} to {theirs}")
    if before.engine != after.engine:
        said.append(f"engine {before.engine} to {after.engine}")
    names = {**before.environment, **after.environment}
    for name in names:
        old, new = before.environment.get(name), after.environment.get(name)
        if old != new and f"{name} {new}" != after.engine:
            said.append(f"{name} {old} to {new}")
    return tuple(said)


def obstacles(before: Row, after: Row) -> tuple[str, ...]:
    """Return why two rows of one name and case do not compare; empty when they do."""
    said = []
    if before.machine != after.machine:
        for name, old in vars(before.host).items():
            new = getattr(after.host, name)
            if old != new:
                said.append(f"machine's {name} ({old} and {new})")
    if before.settings_key != after.settings_key:
        for name in {**before.settings, **after.settings}:
            old, new = before.settings.get(name), after.settings.get(name)
            if old != new:
                said.append(f"{name} ({old} and {new})")
    if before.engine_name != after.engine_name:
        said.append(f"engine ({before.engine_name} and {after.engine_name})")
    if before.provenance != after.provenance:
        said.append(f"provenance ({before.provenance} and {after.provenance})")
    return tuple(said)
