"""Answers of several language models in turn, and the statistics of each phase."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from paring_profiles.generation.run import Answer, AnswerRun
from paring_profiles.latency import MAX_ROUNDS, summarise, warm_up, without_collection
from paring_profiles.result import PHASES, Latency, Settings


@dataclass
class Answers:
    """All turns of one model in one case, a list for each time that it was opened anew."""

    run: AnswerRun
    openings: list[list[Answer]]
    warmup_runs: int
    settled: bool
    linger_s: float

    @property
    def turns(self) -> list[Answer]:
        """Of all openings."""
        return [turn for turns in self.openings for turn in turns]

    def rounds_ms(self, phase: str) -> list[NDArray[np.float64]] | None:
        """One value a turn, by opening: of decoding the median step; None where the phase does not occur."""
        if phase == "decode":
            return [np.array([np.median(turn.steps_ms) for turn in turns]) for turns in self.openings]
        if phase not in self.openings[0][0].phases_ms:
            return None
        return [np.array([turn.phases_ms[phase] for turn in turns]) for turns in self.openings]

    def open_again(self, run: AnswerRun) -> None:
        """Go on with a model that was opened anew, and is warm."""
        self.run = run
        self.openings.append([])


def warm(run: AnswerRun, settings: Settings) -> Answers:
    """Settle on short answers, then give a whole one, which is not timed."""
    found = warm_up(run.short(), settings.max_seconds / 8)
    run()
    return Answers(run, [], found.runs + 1, found.settled, found.linger_s)


def interleave(every: Sequence[Answers], settings: Settings, progress: Callable[[float], None]) -> float:
    """Add turns to this opening in rounds of random order; return the wait for the others' threads, s.

    Before each turn short answers are given, untimed: they bring the weights back into the caches and let
    the threads of the one before go to sleep. Ends as `latency.interleave` does; a turn is a run.
    """
    settle_s = max(answers.linger_s for answers in every) if len(every) > 1 else 0.0
    calls = [(answers, answers.run.short()) for answers in every]
    shuffler, begin = random.Random(settings.seed), time.perf_counter()
    with without_collection():
        for count in range(1, MAX_ROUNDS + 1):
            shuffler.shuffle(calls)
            for answers, short in calls:
                awake = time.perf_counter() + settle_s
                short()
                while time.perf_counter() < awake:
                    short()
                answers.openings[-1].append(answers.run())
            done = _share_done(every, count, settings, time.perf_counter() - begin)
            progress(done)
            if done >= 1:
                break
    return settle_s


def _share_done(every: Sequence[Answers], rounds: int, settings: Settings, elapsed_s: float) -> float:
    timed_s = min(sum(map(_seconds, answers.openings[-1])) for answers in every)
    goal = min(rounds / max(settings.min_runs, 1), timed_s / max(settings.min_seconds, 1e-9))
    return max(goal, elapsed_s / settings.max_seconds)


def _seconds(turn: Answer) -> float:
    return (turn.phases_ms["first_token"] + sum(turn.steps_ms)) / 1e3


def latencies(answers: Answers, settings: Settings, settle_s: float) -> list[Latency]:
    """Return the statistics of every phase that occurs."""
    run, found = answers.run, []
    for phase in PHASES:
        rounds = answers.rounds_ms(phase)
        if rounds is None:
            continue
        samples = np.concatenate(rounds)
        if phase == "decode":
            samples = np.array([step for turn in answers.turns for step in turn.steps_ms])
        medians = [float(np.median(one)) for one in rounds]
        method = _method(run, settings, settle_s)
        made = summarise(samples, run.batch, answers.warmup_runs, settings.seed, method, medians)
        found.append(replace(made, prompt_tokens=run.prompt_tokens, phase=phase))
    return found


def _method(run: AnswerRun, settings: Settings, settle_s: float) -> str:
    form = "in-place" if run.graphs.in_place is not None else "growing"
    return (
        f"{run.session.engine}, {'+'.join(run.session.providers)}, {settings.threads} threads, {form} cache,"
        f" perf_counter_ns around each phase of whole answers, greedy, {settings.new_tokens} tokens,"
        " tokenizing and image preparation left out, all opened anew several times, in turns, random order"
        f" (after short answers of {settle_s * 1e3:.0f} ms)"
    )
