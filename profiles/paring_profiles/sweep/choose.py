"""The recommendation: which trial keeps to every constraint and is best in one thing; or comes nearest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paring_profiles.sweep.constraints import Constraint, constraints, split
from paring_profiles.sweep.names import Named, resolve
from paring_profiles.sweep.result import Measure, Sweep, Trial
from paring_runtimes.errors import InputError

CONFIDENCES = ("bound", "point")


@dataclass(frozen=True)
class Miss:
    """A constraint that a trial does not keep to. `by` is in the measure's unit; None: it has no figure."""

    constraint: str
    measure: str
    by: float | None
    said: str


@dataclass(frozen=True)
class Recommendation:
    """What to take.

    Attributes:
        constraints: as understood, with units.
        confidence: "bound" (the worse ends of the intervals keep to them) or "point".
        goal: the measure that is made small.
        trial: the recommended one; None where no trial keeps to all.
        fitting: numbers of all that do, the best first.
        runner_up: the second best of them.
        nearest: where none does, the one that misses by least.
        misses: of `nearest`.
        sentences: the recommendation in words.
    """

    constraints: list[str]
    confidence: str
    goal: str
    trial: int | None
    fitting: list[int]
    runner_up: int | None
    nearest: int | None
    misses: list[Miss]
    sentences: list[str]


def recommend(
    sweep: Sweep,
    texts: Iterable[str],
    minimise: str | None = None,
    confidence: str = "bound",
    device: str | None = None,
) -> Recommendation:
    """Choose among the sweep's complete trials; figures of the final round go before the trials' own.

    Args:
        sweep: with at least one complete trial.
        texts: constraints, as in `constraints`; "least energy" among them says what is made small.
        minimise: what is made small among those that keep to them, where the texts do not say; latency.
        confidence: "bound" or "point".
        device: kind of device; needed where trials were measured on several.

    Raises:
        InputError: a constraint or a measure that is none; no complete trial.
    """
    return recommend_among(sweep.trials, texts, minimise, confidence, device)


def recommend_among(
    trials: Iterable[Trial],
    texts: Iterable[str],
    minimise: str | None = None,
    confidence: str = "bound",
    device: str | None = None,
    otherwise: str = "latency",
) -> Recommendation:
    """As `recommend`, among these trials; `otherwise` is made small where nothing says what is."""
    if confidence not in CONFIDENCES:
        raise InputError(f"confidence {confidence!r}: expected one of {', '.join(CONFIDENCES)}")
    trials = _of_device([trial for trial in trials if trial.state == "complete"], device)
    present = {name for trial in trials for name in trial.measures}
    conditions, goals = split(texts)
    wanted = _one([*goals, *([minimise] if minimise else [])]) or otherwise
    rules, goal = constraints(conditions, present), resolve(wanted, present)
    if not goal.minimise:
        raise InputError(f"minimise {wanted!r}: of {goal.title} more is better; minimise latency or drop")
    ranked = sorted((trial for trial in trials if trial.measure(goal.measure)), key=lambda t: _rank(t, goal))
    missed = {trial.number: _misses(trial, rules, confidence) for trial in ranked}
    fitting = [trial for trial in ranked if not missed[trial.number]]
    told = [str(rule) for rule in rules]
    numbers = [trial.number for trial in fitting]
    if fitting:
        first, second = fitting[0], next(iter(fitting[1:]), None)
        said = _sentences(first, second, goal, len(fitting), len(trials))
        runner_up = None if second is None else second.number
        return Recommendation(
            told, confidence, goal.measure, first.number, numbers, runner_up, None, [], said
        )
    nearest = min(ranked, key=lambda trial: _distance(trial, rules, confidence))
    misses = missed[nearest.number]
    said = [
        f"No trial of {len(trials)} keeps to all: {'; '.join(told)}.",
        f"Trial {nearest.number} comes nearest: {'; '.join(miss.said for miss in misses)}.",
    ]
    return Recommendation(told, confidence, goal.measure, None, [], None, nearest.number, misses, said)


def _one(goals: Sequence[str]) -> str | None:
    """What is made small; None where nothing is named."""
    if len(set(goals)) > 1:
        raise InputError(f"one thing can be made small, and {' and '.join(dict.fromkeys(goals))} are named")
    return next(iter(goals), None)


def _of_device(trials: Sequence[Trial], device: str | None) -> list[Trial]:
    devices = list(dict.fromkeys(trial.device for trial in trials))
    if not trials:
        raise InputError("no trial of this sweep is complete yet: there is nothing to recommend")
    if device is None and len(devices) > 1:
        raise InputError(f"trials were measured on {', '.join(devices)}, which do not compare: name one")
    if device is not None and device not in devices:
        raise InputError(f"device {device!r}: trials were measured on {', '.join(devices)}")
    return [trial for trial in trials if device in (None, trial.device)]


def _rank(trial: Trial, goal: Named) -> tuple[float, ...]:
    """Best first; what ties in the goal is told apart by latency, then by what it loses."""
    others = (trial.measure("latency_relative"), trial.measure("drop"))
    own = trial.measure(goal.measure)
    assert own is not None
    return (own.value, *(one.value if one else 0.0 for one in others), float(trial.number))


def _misses(trial: Trial, rules: Sequence[Constraint], confidence: str) -> list[Miss]:
    found = []
    for rule in rules:
        own, named = trial.measure(rule.named.measure), rule.named
        if own is None:
            found.append(Miss(str(rule), named.measure, None, f"{named.measure} was not measured"))
        elif (by := rule.miss(own, confidence)) > 0:
            end = "" if confidence == "point" else f", {_end(rule)} end of {interval(own, named)}"
            held = named.shown(rule.held(own, confidence))
            said = (
                f"{named.measure} {held} {named.shown_as}{end} misses {named.shown(rule.limit)}"
                f" by {named.shown(by)} {named.shown_as}"
            )
            found.append(Miss(str(rule), named.measure, by, said))
    return found


def _end(rule: Constraint) -> str:
    return "the lower" if rule.least else "the upper"


def _distance(trial: Trial, rules: Sequence[Constraint], confidence: str) -> float:
    """The largest miss, relative to its limit (to one part in a hundred of the unit where that is 0)."""
    worst = 0.0
    for rule in rules:
        own = trial.measure(rule.named.measure)
        if own is None:
            return float("inf")
        worst = max(worst, rule.miss(own, confidence) / max(abs(rule.limit), 0.01))
    return worst


def interval(found: Measure, named: Named) -> str:
    """ "2.31 (2.20-2.45) ms", or the figure alone where it is exact; modelled ones say so."""
    text = named.shown(found.value)
    if found.low != found.high:
        text += f" ({named.shown(found.low)} to {named.shown(found.high)})"
    return f"{text} {named.shown_as}" + (" modelled" if found.provenance == "modelled" else "")


def _sentences(first: Trial, second: Trial | None, goal: Named, fitting: int, trials: int) -> list[str]:
    own = first.measure(goal.measure)
    assert own is not None
    said = [
        f"Trial {first.number} has the least {goal.title}, {interval(own, goal)}, of those that keep to all"
        f" constraints ({fitting} of {trials} trials)."
    ]
    if second is None:
        said.append("No other trial keeps to them.")
        return said
    other = second.measure(goal.measure)
    assert other is not None
    if other.value == own.value:
        why = f"has the same {goal.title} and loses by latency" if _slower(first, second) else "ties in all"
    elif other.low <= own.high:
        why = f"has {interval(other, goal)}: the intervals overlap, so the order of the two is not shown"
    else:
        why = f"has {interval(other, goal)}"
    said.append(f"Trial {second.number} comes second: it {why}.")
    return said


def _slower(first: Trial, second: Trial) -> bool:
    ours, theirs = (trial.measure("latency_relative") for trial in (first, second))
    return ours is not None and theirs is not None and theirs.value > ours.value
