"""Optuna's side: which point is next. Its journal is a text file in the sweep's folder.

The journal is appended to and synced to the disk line by line, holds no pickles, and needs no database. A
killed process can leave half a line and a lock behind; nobody else runs the sweep meanwhile, so both are
removed.

Optuna's own pruners compare one objective's intermediate values and refuse studies of several, so what is
pruned is decided by `early.py`. Points that are refused, pruned or fail are told as pruned: samplers then
count them among the bad ones. A failed trial they would ignore, and ask for again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paring.api import extras
from paring_profiles.sweep import Objective, Trial

from .plan import Plan
from .space import Parameter, Point, tidy

if TYPE_CHECKING:
    import optuna

JOURNAL = "study.journal"


@dataclass
class Asked:
    """A point that Optuna wants to know about. `number` is Optuna's own."""

    number: int
    point: Point


class Study:
    """The search of one sweep."""

    def __init__(self, plan: Plan, objectives: Sequence[Objective]) -> None:
        with extras("a sweep"):
            import optuna
            from optuna.storages.journal import JournalFileBackend
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.plan, self.objectives, self._optuna = plan, objectives, optuna
        file = plan.output / JOURNAL
        repair(file)
        self._storage = optuna.storages.JournalStorage(JournalFileBackend(str(file)))

    def open(self, known: Sequence[Trial], anew: bool) -> list[tuple[int, int | None]]:
        """Take up the study, or begin a new one that is told the `known` trials.

        Args:
            known: trials that have ended.
            anew: whether the space changed, which a study cannot.

        Returns:
            Of every point that was asked for and not told: Optuna's number and the trial's, or None.
        """
        optuna = self._optuna
        names = optuna.study.get_all_study_names(self._storage)
        directions = ["minimize" if one.minimise else "maximize" for one in self.objectives]
        taken_up = bool(names) and not anew
        name = f"sweep-{len(names) - taken_up}"
        self._study = optuna.create_study(
            storage=self._storage, study_name=name, directions=directions, load_if_exists=True
        )
        self._study.sampler = self._sampler(len(self._study.trials))
        if not taken_up:
            for trial in known:
                self._add(trial)
        states = optuna.trial.TrialState
        open_trials = self._study.get_trials(deepcopy=False, states=(states.RUNNING,))
        return [(one.number, one.user_attrs.get("number")) for one in open_trials]

    def _sampler(self, asked: int) -> optuna.samplers.BaseSampler:
        from optuna import samplers

        seed = self.plan.seed + asked  # taken up again, it must not draw the same points again
        if self.plan.sampler == "tpe":
            return samplers.TPESampler(seed=seed, n_startup_trials=max(4, min(10, self.plan.trials // 3)))
        if self.plan.sampler == "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=max(4, min(50, self.plan.trials // 4)))
        return samplers.RandomSampler(seed=seed)

    def ask(self, wanted: Point | None = None) -> Asked:
        """The next point: Optuna's choice, or `wanted`."""
        if wanted is not None:
            labels = {
                one.name: label(wanted[one.name]) if one.choices else wanted[one.name]
                for one in self.plan.space.parameters
                if one.name in wanted
            }
            self._study.enqueue_trial(labels)
        trial = self._study.ask()
        point: Point = {}
        for parameter in self.plan.space.parameters:
            if parameter.exists(point):
                point[parameter.name] = _suggest(trial, parameter)
        return Asked(trial.number, point)

    def number(self, asked: int, trial: int) -> None:
        """Write down which trial a point became."""
        storage, study = self._storage, self._study
        identifier = storage.get_trial_id_from_study_id_trial_number(study._study_id, asked)
        storage.set_trial_user_attr(identifier, "number", trial)

    def tell(self, asked: int, trial: Trial | None) -> None:
        """What became of a point; None for one that was never begun."""
        states = self._optuna.trial.TrialState
        values = None if trial is None else self._values(trial)
        if values is not None:
            self._study.tell(asked, values)
        else:
            self._study.tell(asked, state=states.FAIL if trial is None else states.PRUNED)

    def _values(self, trial: Trial) -> list[float] | None:
        found = [trial.measures.get(one.measure) for one in self.objectives]
        if trial.state != "complete" or any(one is None for one in found):
            return None
        return [one.value for one in found if one is not None]

    def _add(self, trial: Trial) -> None:
        """Tell what an earlier space's trial found, where the point is in this space too."""
        parameters = [one for one in self.plan.space.parameters if one.exists(trial.params)]
        if {one.name for one in parameters} != set(trial.params):
            return
        if any(one.choices and trial.params[one.name] not in one.choices for one in parameters):
            return
        optuna, values = self._optuna, self._values(trial)
        states = optuna.trial.TrialState
        made = optuna.trial.create_trial(
            params={
                o.name: label(trial.params[o.name]) if o.choices else trial.params[o.name] for o in parameters
            },
            distributions={one.name: self._distribution(one) for one in parameters},
            values=values,
            state=states.PRUNED if values is None else states.COMPLETE,
            user_attrs={"number": trial.number},
        )
        try:
            self._study.add_trial(made)
        except ValueError:  # a range that no longer holds the value
            return

    def _distribution(self, one: Parameter) -> Any:
        kinds = self._optuna.distributions
        if one.choices:
            return kinds.CategoricalDistribution([label(value) for value in one.choices])
        if one.whole:
            return kinds.IntDistribution(int(one.low), int(one.high), one.log, int(one.step or 1))
        return kinds.FloatDistribution(float(one.low), float(one.high), one.log, one.step)


def label(value: Any) -> str:
    """A choice as Optuna takes it: text."""
    return json.dumps(value, sort_keys=True)


def _suggest(trial: Any, one: Parameter) -> Any:
    if one.choices:
        labels = [label(value) for value in one.choices]
        return one.choices[labels.index(trial.suggest_categorical(one.name, labels))]
    if one.whole:
        return trial.suggest_int(one.name, int(one.low), int(one.high), step=int(one.step or 1), log=one.log)
    return tidy(trial.suggest_float(one.name, float(one.low), float(one.high), step=one.step, log=one.log))


def grid_order(plan: Plan) -> Iterator[Point]:
    """The grid as it was written, or an even draw from it where there are fewer trials than points."""
    points = list(plan.space.grid())
    if plan.trials < len(points):
        random.Random(plan.seed).shuffle(points)
    yield from points


def repair(journal: Path) -> None:
    """Take away what a killed process left: a lock, and a last line without its end."""
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        lock.unlink(missing_ok=True)
    if not journal.is_file():
        return
    data = journal.read_bytes()
    whole = data.rpartition(b"\n")[0] + b"\n" if b"\n" in data else b""
    if whole != data:
        with journal.open("r+b") as file:
            file.truncate(len(whole))
