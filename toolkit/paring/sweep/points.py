"""Which trial is next: those that a killed process had begun, then new points, none of them twice."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass

from paring.recipe import Recipe
from paring_profiles.sweep import IMPOSSIBLE, Trial
from paring_runtimes.errors import RecipeError

from .book import Book
from .fitting import why_never
from .plan import Plan, digest_of, engine_of, recipe_of
from .space import Point
from .study import Asked, Study, grid_order

MOST_REPEATS = 50  # points in a row that are none new, before the search is over or picks for itself
HELD_BACK = 4  # points that wait for an artifact that another trial is making
CONVERTING = ("recipe", "prune", "convert")


@dataclass(frozen=True)
class Candidate:
    """A trial to be run. `asked` is Optuna's number; `reason` says why it is not begun, "" if it can be.

    `recipe` is None where the point's values make none.
    """

    number: int
    asked: int | None
    point: Point
    overrides: list[str]
    recipe: Recipe | None
    digest: str
    engine: str
    device: str
    reason: str = ""
    attempts: int = 1

    def trial(self, state: str, reason: str, stage: str) -> Trial:
        """It, as a record."""
        return Trial(
            self.number,
            self.point,
            self.overrides,
            self.digest or None,
            None,
            self.engine,
            self.device,
            state,
            reason,
            stage,
            attempts=self.attempts,
        )

    @property
    def identity(self) -> str:
        """What makes it the same as another: the artifact, the engine, the device; else the point."""
        own = [self.digest, self.engine, self.device] if self.digest else self.point
        return json.dumps(own, sort_keys=True)


class Points:
    """The sweep's order."""

    def __init__(self, plan: Plan, study: Study, book: Book) -> None:
        self.plan, self.study, self.book = plan, study, book
        self._again: list[Candidate] = []
        self._waiting: list[Candidate] = []
        self._seen: dict[str, int] = {}  # identity -> number of the trial
        self._asked: dict[int, int] = {}  # number of the trial -> Optuna's
        self._never = 0  # points in a row that cannot be
        self._grid: Iterator[Point] | None = grid_order(plan) if plan.sampler == "grid" else None

    def open(self) -> None:
        """Take up the study: what ended is told, what was begun goes first."""
        trials = self.book.trials
        ended = [trial for trial in trials.values() if trial.state != "running"]
        open_points = self.study.open(ended, self.book.space_changed)
        for asked, number in open_points:
            if number is None or number not in trials:
                self.study.tell(asked, None)
            elif trials[number].state != "running":
                self.study.tell(asked, trials[number])
            else:
                self._asked[number] = asked
        for trial in trials.values():
            candidate = self._candidate(trial.number, self._asked.get(trial.number), trial.params)
            self._seen[candidate.identity] = trial.number
            if trial.state == "running":
                self._again.append(dataclasses.replace(candidate, attempts=trial.attempts + 1))

    def next(self, in_the_making: set[str]) -> Candidate | None:
        """The next trial, or None: there is none, or all wait for artifacts `in_the_making`."""
        if self._again:
            return self._again.pop(0)
        for index, candidate in enumerate(self._waiting):
            if candidate.digest not in in_the_making:
                return self._waiting.pop(index)
        while len(self._waiting) < HELD_BACK and self.book.counted() + len(self._waiting) < self.plan.trials:
            new = None if self._in_vain() else self._new()
            if new is None:
                return None
            if new.digest not in in_the_making:
                return new
            self._waiting.append(new)
        return None

    def _in_vain(self) -> bool:
        """Whether a space without end gives nothing but points that cannot be."""
        if self._never < MOST_REPEATS or self.plan.space.count() is not None:
            return False
        self.book.note(f"the sampler proposed {MOST_REPEATS} points in a row that cannot be: stopped")
        return True

    def tell(self, candidate: Candidate, trial: Trial) -> None:
        """A trial has ended."""
        self._never = self._never + 1 if trial.state == IMPOSSIBLE else 0
        if candidate.asked is not None:
            self.study.tell(candidate.asked, trial)

    def answers_of(self, digest: str) -> str | None:
        """Which images the artifact answers rightly, where a trial has told."""
        told = (one.right for one in self.book.trials.values() if one.recipe_digest == digest)
        return next((right for right in told if right is not None), None)

    def refused_before(self, candidate: Candidate) -> Trial | None:
        """The trial that could not make this artifact."""
        return next(
            (
                one
                for one in self.book.trials.values()
                if one.recipe_digest == candidate.digest
                and one.number != candidate.number
                and one.state in ("refused", "gate", "pruned")
                and one.stage in CONVERTING
            ),
            None,
        )

    def _new(self) -> Candidate | None:
        number = max(self._seen.values(), default=-1) + 1
        for _ in range(MOST_REPEATS):
            asked = self._ask()
            if asked is None:
                return None
            candidate = self._candidate(number, asked.number, asked.point)
            if candidate.identity not in self._seen:
                return self._taken(candidate)
            self._repeat(asked, self._seen[candidate.identity])
        return self._picked(number)

    def _ask(self) -> Asked | None:
        if self._grid is None:
            return self.study.ask()
        for point in self._grid:
            if self._candidate(-1, None, point).identity not in self._seen:
                return self.study.ask(point)
        return None

    def _picked(self, number: int) -> Candidate | None:
        """Of a space that has an end, the first point that is new, where the sampler finds none."""
        if self.plan.space.count() is None:
            self.book.note(
                f"the sampler proposed {MOST_REPEATS} points in a row that were tried before: stopped"
            )
            return None
        for point in self.plan.space.grid():
            if self._candidate(number, None, point).identity not in self._seen:
                asked = self.study.ask(point)
                return self._taken(self._candidate(number, asked.number, asked.point))
        return None

    def _taken(self, candidate: Candidate) -> Candidate:
        assert candidate.asked is not None
        self._seen[candidate.identity] = candidate.number
        self.study.number(candidate.asked, candidate.number)
        return candidate

    def _repeat(self, asked: Asked, number: int) -> None:
        """Tell Optuna what is known of a point that it asked for again."""
        known = self.book.trials.get(number)
        self.study.tell(asked.number, known if known is not None and known.state != "running" else None)

    def _candidate(self, number: int, asked: int | None, point: Point) -> Candidate:
        device = str(point.get("device", self.plan.space.devices[0]))
        try:
            recipe, overrides = recipe_of(self.plan, point)
        except RecipeError as error:
            engine, reason = str(point.get("engine", "")), str(error).replace("\n", "; ")
            overrides = self.plan.space.overrides(point)
            return Candidate(number, asked, point, overrides, None, "", engine, device, reason)
        digest, engine = digest_of(recipe), engine_of(point, recipe)
        reason = why_never(recipe, engine) or ""
        return Candidate(number, asked, point, overrides, recipe, digest, engine, device, reason)
