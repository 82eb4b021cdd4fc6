"""The Pareto front, with how sure it is: who dominates whom in resamples of what was measured.

A figure is an interval, so "dominated" is a matter of probability. Every resample draws

- the images of the accuracy, jointly for all trials: trials that err on the same images keep their order, and
  trials that share an artifact lose exactly the same;
- every other figure from its own 95 % interval (a normal distribution, each side with its own width); an
  exact figure stays what it is.

A trial is on a resample's front if no other is at least as good in all objectives and better in one.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paring_profiles.sweep.result import Baseline, Measure, Objective, Standing, Trial

RESAMPLES = 2000
SURE, SURELY_NOT = 0.975, 0.025
_DOMINATORS = 3
_Z = 1.959963984540054  # the normal distribution's 97.5 % quantile
_AT_ONCE = 4_000_000  # image weights held in memory
Values = NDArray[np.float64]


def pack_answers(right: NDArray[np.bool_]) -> str:
    """[N] bool as text, for `Trial.right`; eight images a byte, and the count before a colon."""
    return f"{len(right)}:{base64.b64encode(np.packbits(right).tobytes()).decode()}"


def unpack_answers(text: str) -> NDArray[np.bool_]:
    """[N] bool of a text from `pack_answers`."""
    count, _, packed = text.partition(":")
    bits = np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8))
    return bits[: int(count)].astype(bool)


def front(
    trials: Sequence[Trial], baselines: Sequence[Baseline], objectives: Sequence[Objective], seed: int
) -> list[Standing]:
    """Where each complete trial stands among those of its device; the likeliest on the front first.

    Where a final round was made, its trials are judged by it alone; the others keep their standing from
    before, which is why they were not in it.
    """
    found: list[Standing] = []
    for device in dict.fromkeys(trial.device for trial in trials):
        own = [trial for trial in trials if trial.device == device and complete(trial, objectives)]
        base = next((one for one in baselines if one.device == device), None)
        before = {one.trial: one for one in _standings(own, base, objectives, seed, final=False)}
        last = [trial for trial in own if trial.final]
        before |= {one.trial: one for one in _standings(last, base, objectives, seed, final=True)}
        found += before.values()
    return sorted(found, key=lambda one: (-one.probability, one.trial))


def complete(trial: Trial, objectives: Sequence[Objective]) -> bool:
    """Whether the trial has a figure for every objective."""
    return trial.state == "complete" and all(trial.measure(o.measure) for o in objectives)


def _standings(
    trials: Sequence[Trial],
    baseline: Baseline | None,
    objectives: Sequence[Objective],
    seed: int,
    final: bool,
) -> list[Standing]:
    if not trials:
        return []
    rng = np.random.default_rng(seed)
    drawn = np.stack([_draws(trials, baseline, o, rng, final) for o in objectives], axis=2)
    point = np.array([[_signed(trial, o, final).value for o in objectives] for trial in trials])
    standings = []
    for index, trial in enumerate(trials):
        beaten = _dominators(drawn, index)  # (resamples, trials)
        probability = float(1 - beaten.any(axis=1).mean())
        often = beaten.mean(axis=0)
        by = [int(i) for i in np.argsort(-often, kind="stable")[:_DOMINATORS] if often[i] > SURELY_NOT]
        place = "on" if probability >= SURE else "dominated" if probability <= SURELY_NOT else "maybe"
        on_points = not _dominators(point[None], index).any()
        numbers = [trials[i].number for i in by]
        standings.append(Standing(trial.number, place, probability, bool(on_points), numbers))
    return standings


def _dominators(values: Values, index: int) -> NDArray[np.bool_]:
    """(resamples, trials, objectives), small is good -> (resamples, trials): who dominates trial `index`."""
    own = values[:, index : index + 1]
    no_worse, better = (values <= own).all(axis=2), (values < own).any(axis=2)
    return np.asarray(no_worse & better)


def _signed(trial: Trial, objective: Objective, final: bool) -> Measure:
    """The figure, turned so that small is good."""
    found = trial.measure(objective.measure) if final else trial.measures.get(objective.measure)
    assert found is not None
    if objective.minimise:
        return found
    return Measure(-found.value, -found.high, -found.low, found.unit, found.provenance, found.method)


def _draws(
    trials: Sequence[Trial],
    baseline: Baseline | None,
    objective: Objective,
    rng: np.random.Generator,
    final: bool,
) -> Values:
    """(resamples, trials) values of one objective, small is good."""
    if objective.measure in ("drop", "accuracy"):
        joint = _joint(trials, baseline, rng)
        if joint is not None:
            return joint
    figures = [_signed(trial, objective, final) for trial in trials]
    z = rng.standard_normal((RESAMPLES, len(trials)))
    above = np.array([(one.high - one.value) / _Z for one in figures])
    below = np.array([(one.value - one.low) / _Z for one in figures])
    value = np.array([one.value for one in figures])
    return np.asarray(value + np.where(z > 0, z * above, z * below))


def _joint(trials: Sequence[Trial], baseline: Baseline | None, rng: np.random.Generator) -> Values | None:
    """(resamples, trials) shares of images lost, of the same resampled images; None without the answers."""
    if baseline is None or baseline.right is None or any(trial.right is None for trial in trials):
        return None
    before = unpack_answers(baseline.right)
    after = [unpack_answers(trial.right or "") for trial in trials]
    count = len(before)
    if count == 0 or any(len(one) != count for one in after):
        return None
    lost = before[:, None].astype(np.float32) - np.stack(after, axis=1).astype(np.float32)
    blocks, step = [], max(1, _AT_ONCE // count)
    for done in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - done)
        weights = rng.multinomial(count, np.full(count, 1 / count), size=size)
        blocks.append(weights.astype(np.float32) @ lost / count)
    # Sums of whole numbers in float32 are exact, so equal answers stay equal.
    return np.concatenate(blocks).astype(np.float64)
