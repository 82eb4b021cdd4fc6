"""The final round: the front's candidates timed together, in turns in one process, with the baseline.

Each trial was timed against the baseline alone, at its own time. What the machine did meanwhile is in the
absolute figures, and half of it in the ratios' spread. Here all have the same minutes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from paring.recipe import Recipe
from paring_profiles.sweep import Trial, front

from .book import Book
from .jobs import Job, Subject
from .plan import Plan, baseline_recipe
from .pools import Pool

MakeJob = Callable[[str, Subject, Recipe, str], Job]
FEWEST = 2  # one candidate alone was timed against the baseline already


def final_round(
    plan: Plan, book: Book, pool: Pool, make_job: MakeJob, progress: Callable[[str], None]
) -> None:
    """Time those that are, or may be, on the front, a device at a time; write their figures down."""
    if plan.final < FEWEST:
        return
    for device, baseline in list(book.baselines.items()):
        wanted = _finalists(plan, book, device)
        timed_before = {
            trial.number for trial in book.trials.values() if trial.final and trial.device == device
        }
        if len(wanted) < FEWEST or {trial.number for trial in wanted} == timed_before:
            continue
        progress(f"final round on {device}: {len(wanted)} trials of the front in turns")
        base = Subject("", baseline.engine)
        job = dataclasses.replace(
            make_job("final", base, baseline_recipe(plan), device),
            finalists={
                str(trial.number): Subject(trial.recipe_digest or "", trial.engine) for trial in wanted
            },
            right="",
        )
        pool.submit(-1, job, plan.timeout_s)
        _, found = pool.wait()
        if found.state != "complete":
            book.note(f"the final round on {device} is {found.state}: {found.reason}")
            continue
        title = f"final round on {device}: "
        book.notes = [sentence for sentence in book.notes if not sentence.startswith(title)]
        for sentence in found.noise:
            book.note(title + sentence)
        for number in timed_before - {trial.number for trial in wanted}:
            book.put(dataclasses.replace(book.trials[number], final={}))
        for trial in wanted:
            book.put(dataclasses.replace(trial, final=found.of_finalists[str(trial.number)]))
        book.put_baseline(dataclasses.replace(baseline, final=found.of_finalists["baseline"]))


def _finalists(plan: Plan, book: Book, device: str) -> list[Trial]:
    """The trials that may be on the front by their own round, the likeliest first, `plan.final` at most."""
    plain = [dataclasses.replace(one, final={}) for one in book.trials.values() if one.device == device]
    standings = front(plain, list(book.baselines.values()), book.objectives, plan.seed)
    numbers = [one.trial for one in standings if one.place != "dominated"]
    if len(numbers) > plan.final:
        book.note(
            f"on {device}, {len(numbers)} trials may be on the front; the final round timed the {plan.final}"
            " likeliest together"
        )
    return [book.trials[number] for number in numbers[: plan.final]]
