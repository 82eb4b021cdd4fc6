"""What a worker does with one job: make the artifact, measure it, say what became of it."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paring.recipe import Recipe, build_recipe
from paring_profiles import machine, noise
from paring_profiles.records import decode
from paring_profiles.result import Profile, Settings
from paring_profiles.sweep import (
    MEASURED_ENERGY,
    MODELLED_ENERGY,
    Measure,
    pack_answers,
    unpack_answers,
)
from paring_profiles.sweep.measures import (
    Unresolved,
    metered_energy,
    modelled_energy,
    still_measures,
    timed_measures,
)
from paring_runtimes import read_manifest
from paring_runtimes.errors import (
    EngineError,
    ExportError,
    GateError,
    InputError,
    MissingExtraError,
    ParityError,
    RecipeError,
    SourceError,
    TransformRefused,
)

from .energy import meter_settings
from .fitting import ONNX
from .jobs import Job, Outcome, Subject
from .locks import converting, measuring
from .plan import MODELLED, RUNS_FOR_P99, digest_of
from .shelf import find, folder_of, publish

Say = Callable[[str], None]
# Of a trial's time limit: as long may its calls for a p99, or a slow meter's windows, take.
MEASURING_SHARE = 0.25
# These say why a variant cannot be. Whatever else is raised is a failure.
REFUSALS = (
    RecipeError,
    TransformRefused,
    ExportError,
    ParityError,
    EngineError,
    InputError,
    MissingExtraError,
    SourceError,
)


class _Stage:
    """Which step is being done, for the outcome of one that fails."""

    def __init__(self, say: Say) -> None:
        self.name, self._say = "recipe", say

    def __call__(self, name: str) -> None:
        self.name = name
        self._say(name)


def work(job: Job, say: Say = lambda stage: None) -> Outcome:
    """Do a job. Refusals and failed gates are outcomes; other exceptions are the caller's to record."""
    begin, stage = time.monotonic(), _Stage(say)
    try:
        found = KINDS[job.kind](job, stage)
    except GateError as error:
        found = Outcome("gate", str(error), stage.name)
    except Unresolved as error:
        found = Outcome("failed", str(error), stage.name, lost=True)
    except REFUSALS as error:
        found = Outcome("refused", str(error), stage.name)
    return dataclasses.replace(
        found, seconds=time.monotonic() - begin, worker=found.worker or f"process {os.getpid()}"
    )


def _baseline(job: Job, stage: _Stage) -> Outcome:
    recipe = build_recipe(job.recipe)
    if find(job.shelf, job.subject.key) is None:
        stage("convert")
        _convert(job, recipe, None, stage)
    right = job.right or _answers(job, recipe, folder_of(job.shelf, job.subject.key))
    location = publish(job.shelf, job.subject.key)
    stage("profile")
    profile = _profile(job, {"baseline": job.subject})
    measures = timed_measures(profile, 0, "trial") | still_measures(profile.candidates[0], job.settings.batch)
    measures |= _energy(job, profile, 0, "trial", stage)
    return _outcome(location, measures, right, profile)


def _trial(job: Job, stage: _Stage) -> Outcome:
    assert job.baseline is not None
    recipe = build_recipe(job.recipe)
    right = job.right
    if find(job.shelf, job.subject.key) is None:
        settings = job.settings
        if settings.prune_drop is not None:
            stage("prune")
            with converting():
                from .early import hopeless

                allowed = frozenset(job.allow)
                reason = hopeless(recipe, settings.prune_drop, settings.prune_images, allowed, stage._say)
            if reason is not None:
                return Outcome("pruned", reason, stage.name)
        stage("convert")
        right = _convert(job, recipe, job.before, stage)
    elif right is None:
        right = _answers(job, recipe, folder_of(job.shelf, job.subject.key))
    location = publish(job.shelf, job.subject.key)
    stage("profile")
    profile = _profile(job, {"baseline": job.baseline, "variant": job.subject})
    measures = timed_measures(profile, 1, "trial") | still_measures(profile.candidates[1], job.settings.batch)
    measures |= _energy(job, profile, 1, "trial", stage)
    return _outcome(location, measures, right, profile)


def _final(job: Job, stage: _Stage) -> Outcome:
    assert job.baseline is not None
    stage("profile")
    profile = _profile(job, {"baseline": job.baseline, **job.finalists})
    names = [candidate.name for candidate in profile.candidates]
    found = {
        name: timed_measures(profile, index, "final") | _energy(job, profile, index, "final", stage)
        for index, name in enumerate(names)
    }
    return dataclasses.replace(_outcome(None, {}, None, profile), of_finalists=found)


KINDS: dict[str, Callable[[Job, _Stage], Outcome]] = {
    "baseline": _baseline,
    "trial": _trial,
    "final": _final,
}


def _convert(job: Job, recipe: Recipe, before: str | None, stage: _Stage) -> str | None:
    """Make the artifact on this machine; say which images it answers rightly."""
    from paring.pipeline import convert

    told: list[Any] = []
    # Under corruptions the baseline must answer again, which is not in what is known of it.
    known = None if before is None or recipe.robustness is not None else unpack_answers(before)
    with converting():
        convert(
            recipe,
            folder_of(job.shelf, job.subject.key),
            allow=frozenset(job.allow),
            progress=stage._say,
            before=known,
            answered=told.append,
        )
    return pack_answers(told[0]) if told else None


def _answers(job: Job, recipe: Recipe, folder: Path) -> str | None:
    """Which images an artifact answers rightly that was made by a process that could not tell any more."""
    if recipe.data is None:
        return None
    import paring_runtimes
    from paring.data import Preprocess
    from paring.opening import open_images
    from paring.quality import correct

    told = json.loads(json.dumps(read_manifest(folder).source["preprocess"]))
    preprocess: Preprocess = decode(Preprocess, told)
    with converting(), paring_runtimes.load(folder) as session:
        data = open_images(recipe.data.source, recipe.data.limit, preprocess, recipe.model, lambda _: None)
        return pack_answers(correct(session, data, preprocess))


def _profile(job: Job, subjects: dict[str, Subject]) -> Profile:
    """Time subjects in turns, with the machine to themselves."""
    from paring_profiles import profile

    paths = []
    for name, subject in subjects.items():
        found = find(job.shelf, subject.key)
        if found is None:
            raise EngineError(f"{name}: its artifact is gone: {folder_of(job.shelf, subject.key)}")
        paths.append(found)
    wanted = job.settings
    settings = Settings(
        batch_sizes=(wanted.batch,),
        threads=wanted.threads,
        min_runs=wanted.min_runs,
        min_seconds=wanted.min_seconds,
        seed=wanted.seed,
        **meter_settings(job.energy),
    )
    if settings.energy != "none" or wanted.min_runs >= RUNS_FOR_P99:
        longer_s = max(settings.max_seconds, MEASURING_SHARE * wanted.timeout_s)
        settings = dataclasses.replace(settings, max_seconds=longer_s)
    with measuring():
        if job.patience_s:
            noise.wait_until_quiet(wanted.threads, machine.usable_cores(), job.patience_s)
        engines = [subject.engine for subject in subjects.values()]
        return profile(paths, settings, names=list(subjects), engines=engines)


def _energy(job: Job, profile: Profile, index: int, round_: str, stage: _Stage) -> dict[str, Measure]:
    """Of one candidate, the meter's or the ledger's as the sweep decided; {} where none is wanted.

    Raises:
        Unresolved: the machine is not quiet enough for the meter.
        InputError: the meter could not tell.
    """
    if not job.energy:
        return {}
    stage("energy")
    if job.energy != MODELLED:
        return {MEASURED_ENERGY: metered_energy(profile, index, round_)}
    if round_ == "final":  # a model has no spread: as in the trial's own round
        return {}
    folder = folder_of(job.shelf, job.subject.key)
    manifest = read_manifest(folder)
    if manifest.format == ONNX:
        return {MODELLED_ENERGY: modelled_energy(folder / manifest.entry, job.settings.batch)}
    twin = _in_onnx(job, stage)
    found = modelled_energy(twin / read_manifest(twin).entry, job.settings.batch)
    return {MODELLED_ENERGY: dataclasses.replace(found, method=f"{found.method}, of the same model as ONNX")}


def _in_onnx(job: Job, stage: _Stage) -> Path:
    """The same model as ONNX, which is what the ledger reads: another trial's artifact, or made here."""
    recipe = build_recipe(job.recipe, "recipe", [f"export.format={ONNX}", "gates=[]"])
    twin = dataclasses.replace(job, subject=Subject(digest_of(recipe), job.subject.engine))
    if find(twin.shelf, twin.subject.key) is None:
        _convert(twin, recipe, job.before, stage)
        publish(twin.shelf, twin.subject.key)
    return folder_of(twin.shelf, twin.subject.key)


def _outcome(
    location: str | None, measures: dict[str, Measure], right: str | None, profile: Profile
) -> Outcome:
    return Outcome(
        "complete",
        artifact=location,
        measures=measures,
        right=right,
        noise=[*profile.noise, *_doubts(profile)],
        machine=profile.machine,
        tools=profile.tools,
    )


def _doubts(profile: Profile) -> list[str]:
    """What meters said of their figures, and why there is no p99 where enough calls for it were wanted."""
    said = [f"{meter.name}: {one}" for meter in profile.meters for one in meter.said]
    if profile.settings.min_runs < RUNS_FOR_P99:
        return said
    for candidate in profile.candidates:
        reasons = [one.refused["p99_ms"] for one in candidate.latency if "p99_ms" in one.refused]
        said += [f"{candidate.name}: no p99: {reason}: a longer --timeout allows more" for reason in reasons]
    return said
