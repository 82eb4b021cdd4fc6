"""`load_test`: put artifacts under load, one after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from paring_profiles import machine, noise
from paring_profiles.candidates import artifact_digest, default_names, size_bytes
from paring_profiles.generation.measure import is_generative
from paring_profiles.load import pinning, starts
from paring_profiles.load.drive import Conditions, drive
from paring_profiles.load.energy_watch import EnergyWatch
from paring_profiles.load.result import Artifact, LoadResult, LoadRun, LoadSettings, Starts
from paring_profiles.load.scenarios import find
from paring_runtimes.artifact import read_manifest
from paring_runtimes.errors import InputError

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class _Subject:
    name: str
    path: Path
    engine: str | None


def load_test(
    paths: Sequence[str | Path],
    settings: LoadSettings,
    *,
    names: Sequence[str] | None = None,
    engines: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> LoadResult:
    """Run every scenario on every artifact, one after another, and measure cold and warm starts.

    Args:
        paths: artifact folders or bare model files.
        settings: what load to make.
        names: one a path; by default the files' and folders' own.
        engines: one a path; by default the one that runs the artifact's format.
        progress: called with what is being done and how much of all is done, 0 to 1.

    Raises:
        InputError: settings that no run can have, CPUs or a node that are not there, language models.
        ArtifactError, EngineError, MissingExtraError: see `paring_runtimes.load`.
    """
    _check(paths, settings, names, engines)
    say = progress or (lambda _what, _share: None)
    cpus = pinning.choose(settings.cpus, settings.numa)
    energy = EnergyWatch(settings)
    conditions = Conditions(settings, cpus, machine.describe())
    chosen: Sequence[str | None] = engines or [None] * len(paths)
    subjects = [
        _Subject(name, Path(path), engine)
        for name, path, engine in zip(names or default_names(paths, engines), paths, chosen, strict=True)
    ]
    artifacts: list[Artifact] = []
    runs: list[LoadRun] = []
    parts = len(subjects) * len(settings.scenarios)
    for subject in subjects:
        say(f"starting {subject.name} in fresh processes", len(runs) / parts)
        artifacts.append(_artifact(subject, settings, cpus))
        for scenario in settings.scenarios:
            tell = _Tell(say, f"{subject.name}, {find(scenario).TITLE.lower()}", len(runs) / parts, 1 / parts)
            runs.append(drive(subject.name, subject.path, subject.engine, scenario, conditions, energy, tell))
    say("done", 1.0)
    return LoadResult(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=conditions.machine,
        settings=settings,
        tools=machine.tool_versions(),
        artifacts=artifacts,
        runs=runs,
        noise=noise.in_surroundings(
            settings.threads * settings.workers,
            len(cpus) or machine.usable_cores(),
            conditions.machine.load_1m,
            conditions.machine.cores_logical,
        ),
    )


class _Tell:
    """Progress of one run, told twice a second at most: it is called after every query."""

    def __init__(self, say: Progress, what: str, begin: float, share: float) -> None:
        self._say, self._what, self._begin, self._share = say, what, begin, share
        self._next_s = 0.0

    def __call__(self, done: float, more: str = "") -> None:
        now_s = time.perf_counter()
        if now_s >= self._next_s:
            self._next_s = now_s + 0.5
            self._say(self._what + more, self._begin + self._share * min(done, 1.0))


def _artifact(subject: _Subject, settings: LoadSettings, cpus: Sequence[int]) -> Artifact:
    path = subject.path
    manifest = read_manifest(path) if path.is_dir() else None
    found: Starts | None = None
    if settings.starts:
        with pinning.pinned(cpus):  # which new processes inherit
            found = starts.measure(path, subject.engine, settings)
    return Artifact(
        name=subject.name,
        path=str(path),
        digest=artifact_digest(path, manifest),
        size_bytes=size_bytes(path, manifest),
        starts=found,
    )


def _check(
    paths: Sequence[str | Path],
    settings: LoadSettings,
    names: Sequence[str] | None,
    engines: Sequence[str] | None,
) -> None:
    if isinstance(paths, str | Path) or not paths:
        raise InputError(f"load-test: expected a list of at least one path, given {paths!r}")
    for what, given in (("names", names), ("engines", engines)):
        if given is not None and len(given) != len(paths):
            raise InputError(f"load-test: {len(paths)} paths and {len(given)} {what}; give one a path")
    if names is not None and len(set(names)) < len(names):
        raise InputError(f"load-test: names must differ, given {', '.join(names)}")
    _check_numbers(settings)
    if not settings.scenarios:
        raise InputError("scenario: expected at least one")
    for name in settings.scenarios:
        if reason := find(name).refuse(settings):
            raise InputError(f"{name}: {reason}")
    for path in paths:
        if is_generative(path):
            raise InputError(
                f"{path}: a language model answers token by token, which load-test does not time: "
                "`paring profile` measures its phases, `paring generate` runs it"
            )


def _check_numbers(settings: LoadSettings) -> None:
    least = {
        "queries": (settings.queries, 1),
        "samples_per_query": (settings.samples_per_query, 1),
        "batch": (settings.batch, 1),
        "threads": (settings.threads, 1),
        "workers": (settings.workers, 1),
        "starts": (settings.starts, 0),
    }
    for name, (value, lowest) in least.items():
        if value is not None and value < lowest:
            raise InputError(f"{name}: expected a whole number of at least {lowest}, given {value}")
    for name, number in (("qps", settings.qps), ("latency_bound_ms", settings.latency_bound_ms)):
        if number is not None and not 0 < number < float("inf"):
            raise InputError(f"{name}: expected a number above 0, given {number:g}")
    if not 0 <= settings.duration_s <= settings.max_seconds < float("inf"):
        raise InputError(
            f"duration_s: expected 0 to max_seconds ({settings.max_seconds:g}), given {settings.duration_s:g}"
        )
    if settings.max_seconds <= 0:
        raise InputError(f"max_seconds: expected a number above 0, given {settings.max_seconds:g}")
