"""`run`: ask for points, have them tried, tell what they gave; then time the front's together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack

from paring.recipe import Recipe, dump_recipe
from paring_profiles.sweep import IMPOSSIBLE, Baseline, Sweep, Trial
from paring_runtimes.errors import ParingError

from .book import Book, check_folder
from .energy import decided, patience_s
from .final_round import final_round
from .jobs import Job, Outcome, Shelf, Subject
from .locks import folder_of_one
from .plan import Plan, baseline_engine, baseline_recipe, check, digest_of
from .points import Candidate, Points
from .pools import LocalPool, Pool
from .shelf import check_storage, folder_of
from .study import Study

ATTEMPTS = 2  # of a trial whose process or worker was killed, or that noise hid
Say = Callable[[str], None]
MakePool = Callable[[], Pool]


class SweepError(ParingError):
    """A sweep cannot begin: its baseline cannot be made or measured."""


def run(
    plan: Plan,
    progress: Say = lambda sentence: None,
    make_pool: MakePool = LocalPool,
    storage: str = "",
    cache: str = "",
) -> Sweep:
    """Run a sweep, or go on with the one in the plan's folder; every trial is written down as it ends.

    Args:
        plan: what to do.
        progress: told a sentence a trial.
        make_pool: where jobs run.
        storage: URL that artifacts are kept at, for workers of several machines; "" for the sweep's folder.
        cache: with `storage`, the folder that each machine keeps its copies in.

    Raises:
        ParingError: the plan is wrong, the folder holds another sweep, or the baseline cannot be made. What
            becomes of a trial is never raised.
    """
    plan = decided(plan)
    objectives = check(plan)
    check_folder(plan.output)
    if storage:
        check_storage(storage)
    with ExitStack() as stack:
        stack.enter_context(folder_of_one(plan.output))
        book = Book(plan, objectives, storage)
        book.open()
        points = Points(plan, Study(plan, objectives), book)
        points.open()
        pool = make_pool()
        stack.callback(pool.close)
        shelf = Shelf(cache if storage else str((plan.output / "artifacts").resolve()), storage)
        _Driver(plan, book, points, pool, shelf, progress).run()
        return book.write("complete")


class _Driver:
    """One run of a sweep."""

    def __init__(
        self, plan: Plan, book: Book, points: Points, pool: Pool, shelf: Shelf, progress: Say
    ) -> None:
        self.plan, self.book, self.points, self.pool = plan, book, points, pool
        self.shelf, self.progress = shelf, progress
        self.energy = plan.energy if "energy" in plan.objectives else ""

    def run(self) -> None:
        for reason in self.plan.space.left_out:
            self.progress(f"left out: {reason}")
        self._baselines()
        self.book.write("running")
        flying: dict[int, Candidate] = {}
        while True:
            while self.pool.busy < self.pool.slots:
                candidate = self.points.next(self._in_the_making(flying))
                if candidate is None:
                    break
                if self._settled(candidate):
                    continue
                flying[candidate.number] = candidate
                self._begin(candidate)
            if not flying:
                break
            number, outcome = self.pool.wait()
            candidate = flying.pop(number)
            if outcome.lost and candidate.attempts < ATTEMPTS:
                self.progress(f"trial {number}: {outcome.reason or 'its worker is gone'}: tried again")
                flying[number] = again = dataclasses.replace(candidate, attempts=candidate.attempts + 1)
                self._begin(again)
                continue
            self._end(candidate, outcome)
        final_round(self.plan, self.book, self.pool, self._job, self.progress)

    def _in_the_making(self, flying: dict[int, Candidate]) -> set[str]:
        """Digests of artifacts that a trial makes now, as far as this machine can see."""
        digests = {one.digest for one in flying.values()}
        return {one for one in digests if not (folder_of(self.shelf, one) / "manifest.json").is_file()}

    def _baselines(self) -> None:
        """Make and measure each device's baseline, once in the sweep's life."""
        recipe = baseline_recipe(self.plan)
        devices = self.plan.space.devices
        for index, device in enumerate(devices):
            if device in self.book.baselines:
                continue
            self.progress(f"baseline on {device}: {recipe.model}")
            subject = Subject(digest_of(recipe), baseline_engine())
            job = self._job("baseline", subject, recipe, device)
            for _ in range(ATTEMPTS):
                self.pool.submit(-1 - index, job, self.plan.timeout_s)
                _, found = self.pool.wait()
                if not found.lost:
                    break
            if found.state != "complete" or found.machine is None:
                raise SweepError(f"the baseline on {device} is {found.state}: {found.reason}")
            self.book.machines[device], self.book.tools = found.machine, found.tools
            artifact = found.artifact or ""
            made = Baseline(artifact, subject.engine, device, found.measures, right=found.right)
            self.book.put_baseline(made)

    def _job(self, kind: str, subject: Subject, recipe: Recipe, device: str) -> Job:
        base = self.book.baselines.get(device)
        against = None
        if base is not None:
            against = Subject(digest_of(baseline_recipe(self.plan)), base.engine)
        return Job(
            kind=kind,
            shelf=self.shelf,
            settings=self.plan.settings(),
            subject=subject,
            recipe=dump_recipe(recipe),
            baseline=against,
            device=device,
            energy=self.energy,
            before=None if base is None else base.right,
            right=self.points.answers_of(subject.key),
            allow=self.plan.allow,
            patience_s=patience_s(self.energy),
        )

    def _settled(self, candidate: Candidate) -> bool:
        """End a trial without a process that cannot be, or could not be converted before."""
        if candidate.reason:
            self._end(candidate, Outcome(IMPOSSIBLE, candidate.reason, "recipe"))
            return True
        earlier = self.points.refused_before(candidate)
        if earlier is None:
            return False
        reason = f"as trial {earlier.number}: {earlier.reason}"
        self._end(candidate, Outcome(earlier.state, reason, earlier.stage))
        return True

    def _begin(self, candidate: Candidate) -> None:
        assert candidate.recipe is not None
        self.book.put(candidate.trial("running", "", "recipe"))
        subject = Subject(candidate.digest, candidate.engine)
        job = self._job("trial", subject, candidate.recipe, candidate.device)
        self.pool.submit(candidate.number, job, self.plan.timeout_s)
        self.book.write("running")

    def _end(self, candidate: Candidate, found: Outcome) -> None:
        trial = dataclasses.replace(
            candidate.trial(found.state, found.reason, found.stage),
            artifact=found.artifact,
            measures=found.measures,
            right=found.right,
            seconds=found.seconds,
            worker=found.worker,
            noise=found.noise,
        )
        if found.machine is not None:
            self.book.machines.setdefault(candidate.device, found.machine)
        if found.log:
            folder = self.book.folder / "logs"
            folder.mkdir(exist_ok=True)
            (folder / f"trial-{trial.number}.txt").write_text(found.log + "\n", encoding="utf-8")
        self.book.put(trial)
        self.points.tell(candidate, trial)
        self.book.write("running")
        self.progress(told(trial, self.book))


def told(trial: Trial, book: Book) -> str:
    """A trial in one line."""
    from paring_profiles.sweep import MEASURES
    from paring_profiles.sweep.choose import interval

    of, never = book.plan.space.count(), len(book.trials) - book.counted()
    ended = sum(one.state not in ("running", IMPOSSIBLE) for one in book.trials.values())
    whole = min(book.plan.trials, of - never) if of is not None else book.plan.trials
    start = f"{ended}/{whole}  trial {trial.number}  {shown(trial.params)}"
    if trial.state != "complete":
        return f"{start}: {trial.state}: {trial.reason}"
    figures = []
    for objective in book.objectives:
        found = trial.measure(objective.measure)
        if found is not None:
            word = "drop" if objective.measure == "drop" else objective.name
            figures.append(f"{word} {interval(found, MEASURES[objective.measure])}")
    return f"{start}: {', '.join(figures)}  [{trial.seconds:.0f} s]"


def shown(params: dict[str, object]) -> str:
    """A point in a few words."""
    return " ".join(f"{name}={value}" for name, value in params.items())
