"""`profile` for language models: candidates answer the same prompts in turn, each phase is timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import paring_runtimes
from paring_profiles import machine, memory, noise, openings
from paring_profiles.candidates import candidate, default_names
from paring_profiles.compare import ratio_of_macs
from paring_profiles.energy.stage import Energies
from paring_profiles.generation import cost, prompts, timing
from paring_profiles.generation.run import Answer, AnswerRun
from paring_profiles.generation.stages import stages
from paring_profiles.result import (
    NOT_MEASURED,
    Answered,
    Candidate,
    Case,
    Comparison,
    Energy,
    Latency,
    Profile,
    Settings,
    Stage,
)
from paring_runtimes import GenerativeSession, read_manifest
from paring_runtimes.errors import InputError
from paring_runtimes.generation.language_model import TASKS, language_model

Progress = Callable[[str, float], None]


@dataclass
class _Subject:
    """One artifact on its way to a `Candidate`."""

    name: str
    path: Path
    session: GenerativeSession
    threads: int
    memory: memory.MemoryUse
    latency: list[Latency] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    rounds_ms: dict[Case, list[NDArray[np.float64]]] = field(default_factory=dict)  # by opening
    last: dict[tuple[int, int], tuple[AnswerRun, Answer]] = field(default_factory=dict)
    energies: list[Energy] = field(default_factory=list)

    def reopen(self) -> None:
        """Open a closed session anew."""
        self.session = _load(self.path, self.threads)

    def close(self) -> None:
        """Close the session that is open now."""
        self.session.close()


def is_generative(path: str | Path) -> bool:
    """Whether a path is the artifact of a language or a vision-language model."""
    return Path(path).is_dir() and read_manifest(Path(path)).graph.get("task") in TASKS


def profile_generation(
    paths: Sequence[str | Path],
    settings: Settings,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Measure language models' artifacts against the first of them; see `paring_profiles.profile`.

    For each batch size and each length of prompts every candidate gives whole answers, in turns. Memory is
    measured before, in processes of their own; multiply-accumulates are counted after.

    Raises:
        InputError: a path is no language model's artifact, prompts are longer than a model reads, or a meter
            of energy that was asked for is not there.
    """
    for path in paths:
        if not is_generative(path):
            raise InputError(f"{path}: no language model's artifact; those are measured among themselves")
        model = language_model(Path(path), read_manifest(path))
        for tokens in settings.prompt_tokens:
            prompts.check(model, Path(path), tokens, settings)
    say = progress or (lambda _what, _share: None)
    energies = Energies(settings)
    here = machine.describe()
    said = noise.in_surroundings(settings.threads, machine.usable_cores(), here.load_1m, here.cores_logical)
    with ExitStack() as stack:
        subjects = _open(stack, paths, names or default_names(paths), settings, say)
        cases = [(batch, tokens) for batch in settings.batch_sizes for tokens in settings.prompt_tokens]
        for number, case in enumerate(cases):
            tell = partial(_tell, say, case, number / len(cases), 1 / len(cases))
            said += _time(subjects, case, settings, here.cores_logical or 1, tell)
            _measure_energy(subjects, case, settings, energies, say)
        for subject in subjects:
            say(f"counting multiply-accumulates of {subject.name}", 0.9)
            _count(subject, settings)
    candidates = [_candidate(subject) for subject in subjects]
    say("done", 1.0)
    return Profile(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=here,
        settings=settings,
        tools=machine.tool_versions(),
        candidates=candidates,
        comparisons=_comparisons(subjects, candidates, settings),
        noise=said,
        meters=energies.states(),
    )


def _open(
    stack: ExitStack, paths: Sequence[str | Path], names: Sequence[str], settings: Settings, say: Progress
) -> list[_Subject]:
    """Memory first: nothing else should be open meanwhile."""
    longest = {"batch_size": max(settings.batch_sizes), "prompt_tokens": max(settings.prompt_tokens)}
    keys = ("threads", "seed", "new_tokens", "text", "image")
    request = {**longest, **{key: getattr(settings, key) for key in keys}}
    uses = []
    for name, path in zip(names, paths, strict=True):
        say(f"measuring memory of {name}", 0.0)
        uses.append(memory.measure_apart(path, request))
    subjects = []
    for name, path, use in zip(names, paths, uses, strict=True):
        subjects.append(_Subject(name, Path(path), _load(path, settings.threads), settings.threads, use))
        stack.callback(subjects[-1].close)
    return subjects


def _load(path: str | Path, threads: int) -> GenerativeSession:
    session = paring_runtimes.load(path, threads=threads)
    assert isinstance(session, GenerativeSession)  # by its task
    return session


def _tell(say: Progress, case: tuple[int, int], begin: float, share: float, done: float) -> None:
    what = f"timing at batch size {case[0]}, prompts of {case[1]} tokens"
    say(what, 0.1 + 0.8 * (begin + share * min(done, 1.0)))


def _time(
    subjects: Sequence[_Subject],
    case: tuple[int, int],
    settings: Settings,
    cores: int,
    tell: Callable[[float], None],
) -> list[str]:
    """Time every subject in one case; return what was noisy."""
    tell(0.0)
    runs = [AnswerRun(subject.session, *case, settings) for subject in subjects]
    every = [timing.warm(run, settings) for run in runs]
    with noise.Watch() as watch:
        settle_s = _opening_anew(subjects, every, case, settings, tell)
    said = []
    where = f"batch size {case[0]}, {case[1]} prompt tokens"
    for subject, answers in zip(subjects, every, strict=True):
        title = f"{subject.name}, {where}"
        if not answers.settled:
            said.append(f"{title}: {answers.warmup_runs} warm-up runs did not settle.")
        subject.latency += timing.latencies(answers, settings, settle_s)
        subject.last[case] = answers.run, answers.turns[-1]
        for found in subject.latency:
            rounds = answers.rounds_ms(found.phase) if found.case[:2] == case else None
            if rounds is not None:
                subject.rounds_ms[found.case] = rounds
        for phase, what in (("first_token", "time to first token"), ("decode", "decoding")):
            said += noise.in_series(np.concatenate(subject.rounds_ms[(*case, phase)]), f"{title}, {what}")
    told = watch.sentences(settings.threads, cores)
    return said + [f"{where[0].upper()}{where[1:]}: {s[0].lower()}{s[1:]}" for s in told]


def _opening_anew(
    subjects: Sequence[_Subject],
    every: Sequence[timing.Answers],
    case: tuple[int, int],
    settings: Settings,
    tell: Callable[[float], None],
) -> float:
    """Add turns of subjects that are opened anew several times; return the wait before each turn, s."""
    settle_s = 0.0
    reopen = partial(_reopened, subjects, case, settings)
    for one, runs in openings.open_anew(len(subjects), settings, reopen):
        for answers, run in zip(every, runs, strict=True):
            answers.open_again(run)
        settle_s = timing.interleave(every, one.settings, partial(one.tell, tell))
    return settle_s


def _reopened(
    subjects: Sequence[_Subject], case: tuple[int, int], settings: Settings, order: list[int]
) -> list[AnswerRun]:
    """Open the subjects anew, in an order; what is timed, after a whole answer that is not."""
    for subject in subjects:
        subject.close()

    def opened(index: int) -> AnswerRun:
        subjects[index].reopen()
        run = AnswerRun(subjects[index].session, *case, settings)
        run()
        return run

    return openings.in_order(order, opened)


def _measure_energy(
    subjects: Sequence[_Subject], case: tuple[int, int], settings: Settings, energies: Energies, say: Progress
) -> None:
    """Whole answers; an inference is the answer to one prompt."""
    calls, names = [subject.last[case][0] for subject in subjects], [subject.name for subject in subjects]
    where = f"batch size {case[0]}, {case[1]} prompt tokens"
    tell, reopen = partial(say, f"measuring energy at {where}"), partial(_reopened, subjects, case, settings)
    found = energies.measure(calls, names, case, where, tell, reopen)
    for subject, own in zip(subjects, found, strict=True):
        subject.energies += own


def _count(subject: _Subject, settings: Settings) -> None:
    for (batch, tokens), (run, answer) in subject.last.items():
        found = cost.count(run, answer)
        subject.unknown |= found.unknown
        held, image = answer.after_prompt, run.model.image
        subject.answered.append(
            Answered(
                batch_size=batch,
                prompt_tokens=tokens,
                read_tokens=len(answer.read[0]) + (image.tokens - 1 if image else 0),
                macs=dict(found.macs),
                cache_rows=held.rows,
                cache_bytes=held.rows_bytes,
                buffer_bytes=answer.at_end.buffer_bytes,
                stages=_stages(subject.session, tokens),
                kept_text=_kept_text(subject.session, answer, settings),
            )
        )


def _stages(session: GenerativeSession, tokens: int) -> list[Stage]:
    assert session.manifest is not None
    return stages(session.path, session.manifest.transforms, session.model, tokens)


def _kept_text(session: GenerativeSession, answer: Answer, settings: Settings) -> str | None:
    if answer.kept is None or settings.text is None:
        return None
    return session.tokenizer.decode(answer.read[0])


def _candidate(subject: _Subject) -> Candidate:
    return candidate(
        subject.name,
        subject.path,
        subject.session.manifest,
        macs={},
        macs_unknown=sorted(subject.unknown),
        peak_memory_bytes=subject.memory.peak_bytes,
        load_ms=subject.memory.load_ms,
        latency=subject.latency,
        operators={},
        answered=subject.answered,
        engine=subject.session.engine,
        energy="measured" if subject.energies else NOT_MEASURED,
        energies=subject.energies,
    )


def _comparisons(
    subjects: Sequence[_Subject], candidates: Sequence[Candidate], settings: Settings
) -> list[Comparison]:
    """Every phase that both the baseline and a candidate have."""
    base = subjects[0]
    return [
        _compare(case, subjects, candidates, index, settings.seed)
        for case in base.rounds_ms
        for index in range(1, len(subjects))
        if case in subjects[index].rounds_ms
    ]


def _compare(
    case: Case, subjects: Sequence[_Subject], candidates: Sequence[Candidate], index: int, seed: int
) -> Comparison:
    rounds = [subject.rounds_ms.get(case, []) for subject in subjects]
    found = openings.against(rounds, index, seed)
    mac_ratio = ratio_of_macs(candidates[0], candidates[index], case)
    return Comparison(
        baseline=candidates[0].name,
        candidate=candidates[index].name,
        batch_size=case[0],
        latency_ratio=found.ratio,
        latency_ratio_ci95=found.ci95,
        mac_ratio=mac_ratio,
        realised=found.ratio / mac_ratio if mac_ratio else None,
        verdict=found.verdict,
        p_value=found.p_value,
        prompt_tokens=case[1],
        phase=case[2],
    )
