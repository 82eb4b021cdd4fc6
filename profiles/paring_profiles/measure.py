"""`profile`: measure candidates against a baseline on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import paring_runtimes
from paring_profiles import inputs, latency, machine, macs, memory, noise, openings, operators
from paring_profiles.agreement import agreement, same_source
from paring_profiles.candidates import candidate, check, default_names
from paring_profiles.compare import ratio_of_macs
from paring_profiles.energy.stage import Energies
from paring_profiles.generation.measure import is_generative, profile_generation
from paring_profiles.modelled import modelled_energy
from paring_profiles.result import (
    NOT_MEASURED,
    Agreement,
    Candidate,
    Comparison,
    Energy,
    Latency,
    ModelledEnergy,
    OperatorTime,
    Profile,
    Settings,
)
from paring_runtimes.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Progress = Callable[[str, float], None]


@dataclass
class _Subject:
    """One artifact on its way to a `Candidate`. `session` is opened anew time and again."""

    name: str
    path: Path
    session: paring_runtimes.Session
    engine: str | None
    threads: int
    feeds: dict[int, dict[str, NDArray[Any]]] = field(default_factory=dict)  # by batch size
    counts: dict[int, macs.MacCount] = field(default_factory=dict)
    memory: memory.MemoryUse | None = None
    agreement: Agreement | None = None
    latency: list[Latency] = field(default_factory=list)
    operators: dict[str, list[OperatorTime]] = field(default_factory=dict)
    rounds_ms: dict[int, list[NDArray[np.float64]]] = field(default_factory=dict)  # by opening
    energies: list[Energy] = field(default_factory=list)
    modelled: list[ModelledEnergy] = field(default_factory=list)

    @property
    def is_onnx(self) -> bool:
        """Whether there is an ONNX graph to look into."""
        manifest = self.session.manifest
        return self.path.suffix.lower() == ".onnx" if manifest is None else manifest.format == "onnx"

    def reopened(self, batch_size: int) -> Callable[[], object]:
        """Open the closed session anew, and return the call that is timed."""
        self.session = paring_runtimes.load(self.path, engine=self.engine, threads=self.threads)
        return self.call(batch_size)

    def close(self) -> None:
        """Close the session that is open now."""
        self.session.close()

    def call(self, batch_size: int) -> Callable[[], object]:
        """What is timed: the open session on inputs of its own, in new memory."""
        feeds = {name: value.copy() for name, value in self.feeds[batch_size].items()}
        return partial(self.session.run, feeds)

    @property
    def model_file(self) -> Path:
        """The file that the engine opens."""
        manifest = self.session.manifest
        return self.path if manifest is None else self.path / manifest.entry


def profile(
    paths: Sequence[str | Path],
    settings: Settings = Settings(),  # noqa: B008  frozen
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
    engines: Sequence[str] | None = None,
) -> Profile:
    """Measure artifacts (or bare ONNX files) against the first of them.

    All sessions are open in this process, with the same threads. At each batch size they are opened anew
    several times, warmed up and timed in turns, in random order; then, where there is a meter, their energy
    is measured in turns. Before, MACs are counted and memory is measured (at the largest batch size, in
    processes of their own); after, operators are timed. Language models are measured by
    `generation.measure`, phase by phase.

    Args:
        paths: the baseline, then the candidates.
        settings: how to measure.
        names: one a path; by default from the file names.
        progress: called with what is being done and how much of all is done, 0 to 1.
        engines: one a path; by default the one that runs the artifact's format.

    Raises:
        InputError: nothing to measure, names that clash, a size that a model does not take, language models
            beside others, or an engine for one; a meter of energy that was asked for and is not there.
        ArtifactError, EngineError, MissingExtraError: see `paring_runtimes.load`.
    """
    check(paths, settings, names, engines)
    if any(is_generative(path) for path in paths):
        if engines is not None:
            raise InputError("engines: a language model runs on the engine of its format")
        return profile_generation(paths, settings, names, progress)
    say = progress or (lambda _what, _share: None)
    energies = Energies(settings)
    here = machine.describe()
    cores = machine.usable_cores()
    sentences = noise.in_surroundings(settings.threads, cores, here.load_1m, here.cores_logical)
    with ExitStack() as stack:
        subjects = _open(stack, paths, names, engines, settings)
        for subject in subjects:
            say(f"counting multiply-accumulates of {subject.name}", 0.0)
            _prepare(subject, settings)
        for subject in subjects:
            say(f"measuring memory of {subject.name}", 0.05)
            subject.memory = memory.measure(
                subject.path,
                max(settings.batch_sizes),
                settings.threads,
                settings.dims,
                engine=subject.engine,
                values=settings.values,
            )
        for subject in subjects[1:]:
            say(f"comparing the outputs of {subject.name}", 0.1)
            _compare_outputs(subjects[0], subject, settings)
        for number, batch_size in enumerate(settings.batch_sizes):
            share = 1 / len(settings.batch_sizes)
            tell = partial(_tell, say, batch_size, number * share, share)
            sentences += _time(subjects, batch_size, settings, here.cores_logical or 1, tell)
            _measure_energy(subjects, batch_size, energies, say)
        for subject in subjects:
            say(f"timing operators of {subject.name}", 0.9)
            _time_operators(subject, settings)
    candidates = [_candidate(subject) for subject in subjects]
    comparisons = _comparisons(subjects, candidates, settings)
    say("done", 1.0)
    return Profile(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=here,
        settings=settings,
        tools=machine.tool_versions(),
        candidates=candidates,
        comparisons=comparisons,
        noise=sentences,
        meters=energies.states(),
    )


def _open(
    stack: ExitStack,
    paths: Sequence[str | Path],
    names: Sequence[str] | None,
    engines: Sequence[str] | None,
    settings: Settings,
) -> list[_Subject]:
    chosen: Sequence[str | None] = engines or [None] * len(paths)
    subjects = []
    for name, path, engine in zip(names or default_names(paths, engines), paths, chosen, strict=True):
        session = paring_runtimes.load(path, engine=engine, threads=settings.threads)
        subjects.append(_Subject(name, Path(path), session, engine, settings.threads))
        stack.callback(subjects[-1].close)
    return subjects


def _prepare(subject: _Subject, settings: Settings) -> None:
    """Make the inputs and count the multiply-accumulates, for every batch size."""
    specs = subject.session.inputs
    for batch_size in settings.batch_sizes:
        shapes = inputs.concrete_shapes(specs, batch_size, settings.dims, subject.path)
        subject.feeds[batch_size] = inputs.make(specs, shapes, settings.seed, settings.values)
        if subject.is_onnx:
            subject.counts[batch_size] = macs.count(subject.model_file, shapes)
            subject.modelled.append(modelled_energy(subject.model_file, shapes, batch_size))


def _compare_outputs(baseline: _Subject, subject: _Subject, settings: Settings) -> None:
    if same_source(baseline.session, subject.session):
        largest = max(settings.batch_sizes)
        subject.agreement = agreement(baseline.session, subject.session, largest, settings, subject.path)


def _tell(say: Progress, batch_size: int, begin: float, share: float, done: float) -> None:
    say(f"timing at batch size {batch_size}", 0.1 + 0.8 * (begin + share * min(done, 1.0)))


def _time(
    subjects: Sequence[_Subject],
    batch_size: int,
    settings: Settings,
    cores: int,
    tell: Callable[[float], None],
) -> list[str]:
    """Time every subject at one batch size; return what was noisy."""
    tell(0.0)
    warmups = [latency.warm_up(subject.call(batch_size), settings.max_seconds / 4) for subject in subjects]
    settle_s = max(w.linger_s for w in warmups) if len(warmups) > 1 else 0.0
    with noise.Watch() as watch:
        rounds = _opening_anew(subjects, batch_size, settings, settle_s, tell)
    sentences = []
    for subject, warmup, turns in zip(subjects, warmups, zip(*rounds, strict=True), strict=True):
        title = f"{subject.name}, batch size {batch_size}"
        if not warmup.settled:
            sentences.append(f"{title}: {warmup.runs} warm-up runs did not settle.")
        subject.rounds_ms[batch_size] = [np.asarray(turn.rounds_ms) for turn in turns]
        method = _method(subject, settings, settle_s)
        subject.latency.append(
            latency.summarise_openings(turns, batch_size, warmup.runs, settings.seed, method)
        )
        sentences += noise.in_series(np.concatenate(subject.rounds_ms[batch_size]), title)
    return sentences + [
        f"Batch size {batch_size}: {s[0].lower()}{s[1:]}" for s in watch.sentences(settings.threads, cores)
    ]


def _opening_anew(
    subjects: Sequence[_Subject],
    batch_size: int,
    settings: Settings,
    settle_s: float,
    tell: Callable[[float], None],
) -> list[list[latency.Turns]]:
    """Time the subjects in turns, opened anew several times; of each opening the turns of each subject."""
    return [
        latency.interleave(calls, one.settings, settle_s, partial(one.tell, tell))
        for one, calls in openings.open_anew(
            len(subjects), settings, partial(_reopened, subjects, batch_size)
        )
    ]


def _reopened(subjects: Sequence[_Subject], batch_size: int, order: list[int]) -> list[latency.Call]:
    """Open the subjects anew, in an order; the calls that are timed, warm."""
    for subject in subjects:
        subject.close()

    def opened(index: int) -> latency.Call:
        call = subjects[index].reopened(batch_size)
        latency.warm_again(call)
        return call

    return openings.in_order(order, opened)


def _measure_energy(subjects: Sequence[_Subject], batch_size: int, energies: Energies, say: Progress) -> None:
    calls, names = [s.call(batch_size) for s in subjects], [s.name for s in subjects]
    where = f"batch size {batch_size}"
    tell, reopen = partial(say, f"measuring energy at {where}"), partial(_reopened, subjects, batch_size)
    found = energies.measure(calls, names, (batch_size, None), where, tell, reopen)
    for subject, own in zip(subjects, found, strict=True):
        subject.energies += own


def _method(subject: _Subject, settings: Settings, settle_s: float) -> str:
    session = subject.session
    settling = f"{settle_s * 1e3:.0f} ms each, after as long untimed" if settle_s else "after an untimed call"
    return (
        f"{session.engine}, {'+'.join(session.providers)}, {settings.threads} threads, "
        f"perf_counter_ns around run, all opened anew several times, in turns in random order ({settling})"
    )


def _time_operators(subject: _Subject, settings: Settings) -> None:
    if subject.is_onnx and subject.session.engine.startswith("onnxruntime "):
        for batch_size in settings.batch_sizes:
            subject.operators[str(batch_size)] = operators.measure(
                subject.path, subject.feeds[batch_size], settings.threads
            )


def _candidate(subject: _Subject) -> Candidate:
    counts = subject.counts
    return candidate(
        subject.name,
        subject.path,
        subject.session.manifest,
        parameters=next(iter(counts.values())).parameters if counts else None,
        macs={str(batch): count.total for batch, count in counts.items()},
        macs_unknown=sorted({name for count in counts.values() for name in count.unknown}),
        peak_memory_bytes=subject.memory.peak_bytes if subject.memory else None,
        load_ms=subject.memory.load_ms if subject.memory else None,
        latency=subject.latency,
        operators=subject.operators,
        engine=subject.session.engine,
        agreement=subject.agreement,
        energy="measured" if subject.energies else NOT_MEASURED,
        energies=subject.energies,
        modelled_energies=subject.modelled,
    )


def _comparisons(
    subjects: Sequence[_Subject], candidates: Sequence[Candidate], settings: Settings
) -> list[Comparison]:
    return [
        _compare_at(subjects, candidates, index, batch_size, settings.seed)
        for batch_size in settings.batch_sizes
        for index in range(1, len(subjects))
    ]


def _compare_at(
    subjects: Sequence[_Subject],
    candidates: Sequence[Candidate],
    index: int,
    batch_size: int,
    seed: int,
) -> Comparison:
    found = openings.against([subject.rounds_ms[batch_size] for subject in subjects], index, seed)
    mac_ratio = ratio_of_macs(candidates[0], candidates[index], (batch_size, None, ""))
    return Comparison(
        baseline=candidates[0].name,
        candidate=candidates[index].name,
        batch_size=batch_size,
        latency_ratio=found.ratio,
        latency_ratio_ci95=found.ci95,
        mac_ratio=mac_ratio,
        realised=found.ratio / mac_ratio if mac_ratio else None,
        verdict=found.verdict,
        p_value=found.p_value,
    )
