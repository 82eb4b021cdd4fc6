"""When the final round is timed once more, with rounds made by hand and a pool that hands them out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paring.sweep.book import Book
from paring.sweep.final_round import ADVICE, PATIENCE_S, final_round
from paring.sweep.jobs import Job, Outcome, Shelf, Subject
from paring.sweep.plan import Plan, check, dump_recipe
from paring_profiles.sweep import Baseline, Measure, Trial

TITLE = "final round on cpu: "
LOUD = "Other processes used 1.00 cores during the timed part."


def figure(half: float) -> dict[str, Measure]:
    return {"latency_relative": Measure(0.5, 0.5 - half, 0.5 + half, "x baseline", "measured", "given")}


def outcome(half: float, noise: list[str] | None = None) -> Outcome:
    return Outcome(
        "complete", of_finalists=dict.fromkeys(("0", "1", "baseline"), figure(half)), noise=noise or []
    )


class Rounds:
    """A pool whose jobs end as was written down."""

    slots, busy = 1, 0

    def __init__(self, *outcomes: Outcome) -> None:
        self.jobs: list[Job] = []
        self._outcomes = list(outcomes)

    def submit(self, number: int, job: Job, timeout_s: float) -> None:
        self.jobs.append(job)

    def wait(self) -> tuple[int, Outcome]:
        return -1, self._outcomes.pop(0)

    def close(self) -> None: ...


@pytest.fixture
def sweep(plan: Callable[..., Plan]) -> Callable[..., tuple[Book, Rounds]]:
    """Runs a final round over two trials whose own intervals are 0.02 wide; goes on in the same folder."""
    made = plan(final=4, objectives=("latency",))

    def last(*outcomes: Outcome) -> tuple[Book, Rounds]:
        made.output.mkdir(exist_ok=True)
        book, pool = Book(made, check(made), ""), Rounds(*outcomes)
        book.open()
        for number in () if book.trials else (0, 1):
            fields: dict[str, Any] = {"state": "complete", "measures": figure(0.01)}
            book.put(Trial(number, {}, [], str(number) * 64, None, "onnxruntime", "cpu", **fields))
            book.put_baseline(Baseline("", "onnxruntime", "cpu", {}))

        def job(kind: str, subject: Subject, recipe: Any, device: str) -> Job:
            return Job(kind, Shelf(""), made.settings(), subject, dump_recipe(recipe), subject, device)

        final_round(made, book, pool, job, lambda _sentence: None)
        book.write("complete")
        return book, pool

    return last


def half_of(book: Book) -> float:
    [found] = {trial.final["latency_relative"].high - 0.5 for trial in book.trials.values()}
    return round(found, 6)


def test_a_round_that_is_as_narrow_as_the_trials_own_is_timed_once(sweep: Callable[..., Any]) -> None:
    book, pool = sweep(outcome(0.012, ["one spread by 11 %"]))
    assert (len(pool.jobs), half_of(book)) == (1, 0.012)
    assert book.notes == [f"{TITLE}one spread by 11 %"]
    book, pool = sweep()  # the same command again
    assert pool.jobs == []


def test_a_noisy_round_is_timed_once_more_when_the_machine_is_quiet(sweep: Callable[..., Any]) -> None:
    book, pool = sweep(outcome(0.2, [LOUD]), outcome(0.01))
    assert [job.patience_s for job in pool.jobs] == [0.0, PATIENCE_S]
    assert (half_of(book), book.notes) == (0.01, [])
    assert sweep()[1].jobs == []


def test_the_latency_in_milliseconds_counts_too(sweep: Callable[..., Any], tmp_path: Path) -> None:
    wide = {"latency_p50_ms": Measure(8.0, 4.0, 9.0, "ms", "measured", "given")}
    sweep(outcome(0.01))
    for number in (0, 1):  # their own rounds: 8.0 (7.9 to 8.1) ms
        file = tmp_path / "sweep" / "trials" / f"{number}.json"
        told = json.loads(file.read_text())
        own = {**told["measures"]["latency_relative"], "value": 8.0, "low": 7.9, "high": 8.1, "unit": "ms"}
        told["measures"]["latency_p50_ms"], told["final"] = own, {}
        file.write_text(json.dumps(told))
    both = {**figure(0.01), **wide}
    loud = Outcome("complete", of_finalists=dict.fromkeys(("0", "1", "baseline"), both), noise=[LOUD])
    near = {**figure(0.01), "latency_p50_ms": Measure(8.0, 7.85, 8.2, "ms", "measured", "given")}
    calm = Outcome("complete", of_finalists=dict.fromkeys(("0", "1", "baseline"), near))
    book, pool = sweep(loud, calm)
    assert len(pool.jobs) == 2
    assert book.notes == []  # 0.35 ms are wider than 0.2 ms, and narrow still


def test_one_that_stays_noisy_is_told_and_timed_again_by_the_same_command(sweep: Callable[..., Any]) -> None:
    book, pool = sweep(outcome(0.2, [LOUD]), outcome(0.3, [LOUD]))
    assert (len(pool.jobs), half_of(book)) == (2, 0.2)  # the narrower one
    assert book.notes == [TITLE + LOUD, TITLE + ADVICE]
    book, pool = sweep(outcome(0.4), outcome(0.5))
    assert (len(pool.jobs), half_of(book)) == (2, 0.2)  # no better: the old one stays, and its notes
    assert book.notes == [TITLE + LOUD, TITLE + ADVICE]
    book, pool = sweep(outcome(0.011))
    assert {job.kind for job in pool.jobs} == {"final"}
    assert (half_of(book), book.notes) == (0.011, [])
    assert sweep()[1].jobs == []


def test_one_that_failed_leaves_the_trials_own_figures_and_is_timed_again(sweep: Callable[..., Any]) -> None:
    book, _ = sweep(Outcome("failed", "its process was killed"))
    assert all(not trial.final for trial in book.trials.values())
    assert book.notes == [f"{TITLE}failed: its process was killed"]
    book, _ = sweep(outcome(0.2, [LOUD]), Outcome("failed", "out of time"))
    assert half_of(book) == 0.2
    book, _ = sweep(outcome(0.01))
    assert (half_of(book), book.notes) == (0.01, [])


def test_finalists_that_changed_are_timed_together(sweep: Callable[..., Any]) -> None:
    book, _ = sweep(outcome(0.01))
    book.put(dataclasses.replace(book.trials[1], final={}))
    assert len(sweep(outcome(0.01))[1].jobs) == 1
