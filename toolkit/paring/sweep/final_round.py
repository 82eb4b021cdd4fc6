"""The final round: the front's candidates timed together, in turns in one process, with the baseline.

Each trial was timed against the baseline alone, at its own time. What the machine did meanwhile is in the
absolute figures, and half of it in the ratios' spread. Here all have the same minutes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from statistics import median

from paring.recipe import Recipe
from paring_profiles.sweep import Baseline, Measure, Trial, front

from .book import Book
from .jobs import Job, Outcome, Subject
from .plan import Plan, baseline_recipe
from .pools import Pool

MakeJob = Callable[[str, Subject, Recipe, str], Job]
Say = Callable[[str], None]
Finals = Mapping[str, Mapping[str, Measure]]  # by number of the trial
Width = Callable[[Finals], float]
LATENCIES = ("latency_relative", "latency_p50_ms")  # what constraints are of, whatever the objectives
FEWEST = 2  # one candidate alone was timed against the baseline already
WIDENED = 1.5  # times as wide as their own round's are, and intervals decide nothing any more
NARROW = 0.03  # of the figure: an interval that decides what there is to decide
PATIENCE_S = 60.0  # for a quiet machine, before a noisy round is timed once more
ADVICE = "it was noisy; the same command again times it once more, and nothing else"


def final_round(plan: Plan, book: Book, pool: Pool, make_job: MakeJob, progress: Say) -> None:
    """Time those that are, or may be, on the front, a device at a time; write their figures down.

    A noisy round is timed once more. One that was noisy twice, or failed, is timed again when the sweep is
    taken up again.
    """
    if plan.final < FEWEST:
        return
    for device, baseline in list(book.baselines.items()):
        wanted, title = _finalists(plan, book, device), f"final round on {device}: "
        before = {one.number for one in book.trials.values() if one.final and one.device == device}
        same = {trial.number for trial in wanted} == before
        if len(wanted) < FEWEST or (same and title + ADVICE not in book.notes):
            continue
        progress(f"{title}{len(wanted)} trials of the front in turns")
        width = partial(_width, wanted, {*LATENCIES, *(one.measure for one in book.objectives)})
        job = _job(plan, make_job, wanted, baseline)
        found = _timed(pool, job, plan.timeout_s, width, partial(_tell, progress, title))
        if same and _no_better(found, wanted, width):
            progress(f"{title}no better than the one before, which stays")
            continue
        book.notes = [sentence for sentence in book.notes if not sentence.startswith(title)]
        complete = found.state == "complete"
        for sentence in found.noise if complete else [f"{found.state}: {found.reason}"]:
            book.note(title + sentence)
        if not complete:
            continue
        if width(found.of_finalists) > WIDENED:
            book.note(title + ADVICE)
        _write(book, wanted, baseline, found)


def _tell(progress: Say, title: str, sentence: str) -> None:
    progress(title + sentence)


def _job(plan: Plan, make_job: MakeJob, wanted: Sequence[Trial], baseline: Baseline) -> Job:
    made = make_job("final", Subject("", baseline.engine), baseline_recipe(plan), baseline.device)
    finalists = {str(trial.number): Subject(trial.recipe_digest or "", trial.engine) for trial in wanted}
    return dataclasses.replace(made, finalists=finalists, right="")


def _timed(pool: Pool, job: Job, timeout_s: float, width: Width, say: Say) -> Outcome:
    """The round; where it was noisy, the narrower of two."""
    pool.submit(-1, job, timeout_s)
    _, first = pool.wait()
    if first.state != "complete" or width(first.of_finalists) <= WIDENED:
        return first
    why = first.noise[0] if first.noise else "wide intervals"
    say(f"noisy, once more when the machine is quiet: {why}")
    pool.submit(-1, dataclasses.replace(job, patience_s=PATIENCE_S), timeout_s + PATIENCE_S)
    _, second = pool.wait()
    better = second.state == "complete" and width(second.of_finalists) < width(first.of_finalists)
    return second if better else first


def _width(wanted: Sequence[Trial], measures: Set[str], finals: Finals) -> float:
    """How wide the intervals of the measure that suffered most are, against those of the trials' own rounds.

    Of each measure it is the median over trials. An own interval counts as `NARROW` at least: what is a
    little wider than a very narrow one decides still.
    """
    widest = 0.0
    for name in measures:
        ratios = []
        for trial in wanted:
            own, last = trial.measures.get(name), finals[str(trial.number)].get(name)
            if own is not None and last is not None and own.value:
                before = max(own.high - own.low, NARROW * abs(own.value))
                ratios.append((last.high - last.low) / before)
        widest = max(widest, median(ratios) if ratios else 0.0)
    return widest


def _no_better(found: Outcome, wanted: Sequence[Trial], width: Width) -> bool:
    before = {str(trial.number): trial.final for trial in wanted}
    return found.state != "complete" or width(found.of_finalists) >= width(before)


def _write(book: Book, wanted: Sequence[Trial], baseline: Baseline, found: Outcome) -> None:
    """Write the round's figures down; those of an earlier round go."""
    chosen = {trial.number for trial in wanted}
    for trial in list(book.trials.values()):
        if trial.final and trial.device == baseline.device and trial.number not in chosen:
            book.put(dataclasses.replace(trial, final={}))
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
