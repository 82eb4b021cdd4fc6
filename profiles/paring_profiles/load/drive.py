"""One artifact in one scenario: open, warm up, find the rate where asked, run, conclude."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from paring_profiles import latency, noise
from paring_profiles.load import memory_watch, pinning, summary
from paring_profiles.load.early_stopping import over_allowed, queries_needed
from paring_profiles.load.energy_watch import EnergyWatch, Reading
from paring_profiles.load.find_rate import PRECISION, find_rate
from paring_profiles.load.interference import Interference, late_takers
from paring_profiles.load.memory_watch import MemoryWatch
from paring_profiles.load.parts import rate_ci95
from paring_profiles.load.result import (
    LoadRun,
    LoadSettings,
    MemoryPoint,
    Placement,
    Probe,
    Search,
    Verdict,
)
from paring_profiles.load.scenarios import Plan, Scenario, find
from paring_profiles.load.system import Ready, opened
from paring_profiles.load.timeline import Timeline
from paring_profiles.result import Machine
from paring_runtimes.errors import InputError

PROBE_SECONDS = 30.0
TRIES = 2  # runs of a rate before it is given up
CONFIRMATIONS = 10  # runs that may try to confirm a rate that was found; given up, it is lowered ever more
FEWEST_BOUNDS = 60.0  # a run must last so many times its bound: in a short one no queue grows over it


class Tell(Protocol):
    """Told the share of a run that is done, and what is being done beside its name."""

    def __call__(self, done: float, more: str = "") -> None:
        """Tell."""
        ...


@dataclass(frozen=True)
class Conditions:
    """What is the same for all runs: settings, CPUs that were chosen (empty: any), the machine."""

    settings: LoadSettings
    cpus: Sequence[int]
    machine: Machine


@dataclass(frozen=True)
class _Measured:
    """One run and what was watched meanwhile."""

    plan: Plan
    timeline: Timeline
    memory: list[MemoryPoint]
    energy: Reading | None
    noise: list[str]


@dataclass(frozen=True)
class _Bench:
    """An open system in one scenario."""

    ready: Ready
    scenario: Scenario
    conditions: Conditions
    energy: EnergyWatch
    tell: Tell

    def run(self, plan: Plan, more: str = "") -> Timeline:
        """Make the load, and nothing beside.

        Raises:
            InputError: the run was over before anything was answered.
        """
        settings = self.conditions.settings
        with latency.without_collection():
            made = self.scenario.run(self.ready.system, settings, plan, lambda done: self.tell(done, more))
        if made.answered() == 0:
            raise InputError(
                f"max_seconds: nothing was answered within {settings.max_seconds:g} s: allow more"
            )
        return made

    def measure(self, plan: Plan) -> _Measured:
        """Make the load, watched."""
        settings, here = self.conditions.settings, self.conditions.machine
        threads, cores = settings.threads * settings.workers, float(here.cores_logical or 1)
        with (
            self.energy.running(self.ready.linger_s) as read,
            MemoryWatch() as watch,
            Interference(threads, cores, self.conditions.cpus) as interference,
        ):
            timeline = self.run(plan)
        return _Measured(plan, timeline, watch.points(timeline.begin_s), read(), interference.sentences())

    def judge(self, timeline: Timeline, plan: Plan) -> Verdict | None:
        """Return whether the bound was kept, where there is one."""
        bound_ms, rank = self.conditions.settings.latency_bound_ms, self.scenario.RANK
        if not self.scenario.BY_RATE or bound_ms is None or rank is None:
            return None
        return summary.verdict(timeline, rank / 100, bound_ms, plan.seconds)


def drive(
    name: str,
    path: Path,
    engine: str | None,
    scenario: str,
    conditions: Conditions,
    energy: EnergyWatch,
    tell: Tell,
) -> LoadRun:
    """Put one artifact under one load.

    Args:
        name: of the artifact.
        path: its folder, or a bare model file.
        engine: None for the one that runs its format.
        scenario: name.
        conditions: of all runs.
        energy: the meters.
        tell: the progress.
    """
    module, settings, cpus = find(scenario), conditions.settings, conditions.cpus
    batch = module.batch(settings)
    places = pinning.shares(cpus, settings.workers)
    tell(0.0, ": warming up")
    with (
        pinning.pinned(cpus),
        pinning.memory_of(settings.numa) as memory,
        opened(path, engine, settings, batch, places) as ready,
    ):
        placement = Placement(
            cpus=list(cpus),
            workers=[list(place) for place in places] if cpus else [],
            threads=len(pinning.threads()),
            astray=pinning.astray(cpus) if cpus else 0,
            memory=memory,
        )
        bench = _Bench(ready, module, conditions, energy, tell)
        plan = _plan(module, settings, ready, batch)
        if settings.find_qps and module.BY_RATE:
            search, measured = _found(bench, plan)
        else:
            search, measured = None, bench.measure(plan)
    return _conclude(name, scenario, bench, placement, search, measured)


def _plan(module: Scenario, settings: LoadSettings, ready: Ready, batch: int) -> Plan:
    """Return as many queries as the percentile needs, or as were asked for."""
    needed = 1 if module.RANK is None else queries_needed(module.RANK / 100, module.OVER)
    likely = settings.duration_s * settings.workers * batch / ready.call_s
    bound_s = (settings.latency_bound_ms or 0.0) / 1e3 if module.BY_RATE else 0.0
    return Plan(
        queries=settings.queries or needed,
        seconds=min(max(settings.duration_s, FEWEST_BOUNDS * bound_s), settings.max_seconds),
        likely=math.ceil(1.1 * likely),
        batch=batch,
        qps=settings.qps or 0.0,
        seed=settings.seed,
    )


def _found(bench: _Bench, plan: Plan) -> tuple[Search, _Measured]:
    """Look for the greatest rate, and confirm it by a watched run of other arrivals.

    A rate is given up when each of `TRIES` runs does not keep the bound: a burst of something else on the
    machine, or of arrivals, is no limit of the system. Where no rate keeps it, the slowest that was tried is
    run again, until that is plain.
    """
    every: list[Probe] = []

    def probe(qps: float) -> Probe:
        for number in range(TRIES):
            tried = replace(_may_end_early(bench.scenario, plan, qps), seed=plan.seed + number)
            timeline = bench.run(tried, f", {len(every) + 1}. run: {qps:.4g} queries/s")
            every.append(summary.probe(timeline, qps, _told(bench, timeline, tried)))
            if every[-1].passed:
                break
        return every[-1]

    settings = bench.conditions.settings
    guess = settings.workers * plan.batch / bench.ready.call_s
    _check_time(bench.scenario, settings, guess)
    search = find_rate(probe, guess)
    if search.qps is None:
        slowest = min(one.qps for one in every)
        measured = bench.measure(_may_end_early(bench.scenario, plan, slowest))
        return replace(search, probes=every), measured
    qps, failed = search.qps, search.failed_qps
    for number in range(CONFIRMATIONS):
        measured = bench.measure(replace(plan, qps=qps, seed=plan.seed + TRIES + number))
        told = _told(bench, measured.timeline, measured.plan)
        every.append(summary.probe(measured.timeline, qps, told))
        if told.valid:
            return Search(qps, failed, every), measured
        if number % TRIES == TRIES - 1:
            failed, qps = qps, qps / (1 + PRECISION) ** (1 + number)
    return Search(None, failed, every), measured


def _check_time(module: Scenario, settings: LoadSettings, guess_qps: float) -> None:
    """Check that a run of a search can have the queries that it needs at all."""
    fewest = queries_needed((module.RANK or 0.0) / 100, 0)
    if fewest > guess_qps * settings.max_seconds:
        raise InputError(
            f"find_qps: {fewest} queries take some {fewest / guess_qps:.0f} s here, and a run may last "
            f"{settings.max_seconds:g} s: allow more by --max-duration"
        )


def _may_end_early(module: Scenario, plan: Plan, qps: float) -> Plan:
    """Return the plan of a probe: it ends once more queries are over than may be, however many arrive.

    At low rates it has as many queries as come in `PROBE_SECONDS`, or those that show anything at all.
    """
    fewest = queries_needed((module.RANK or 0.0) / 100, 0)
    queries = min(plan.queries, max(fewest, math.ceil(qps * PROBE_SECONDS)))
    likely = max(queries, math.ceil(plan.seconds * qps))
    most_over = over_allowed((module.RANK or 0.0) / 100, math.ceil(1.2 * likely) + 10)
    return replace(plan, qps=qps, queries=queries, most_over=max(0, most_over))


def _told(bench: _Bench, timeline: Timeline, plan: Plan) -> Verdict:
    told = bench.judge(timeline, plan)
    assert told is not None, "a search has a bound: its scenario refuses settings without one"
    return told


def _conclude(
    name: str,
    scenario: str,
    bench: _Bench,
    placement: Placement,
    search: Search | None,
    measured: _Measured,
) -> LoadRun:
    """Put together what is told of a run."""
    module, settings, timeline = bench.scenario, bench.conditions.settings, measured.timeline
    done = timeline.done[~np.isnan(timeline.done)]
    samples = len(done) * timeline.samples_per_query
    told = None if module.RANK is None else summary.summarise(timeline, settings.seed)
    joules, meters = bench.energy.conclude(
        measured.energy, np.repeat(done, timeline.samples_per_query), timeline.begin_s, name
    )
    return LoadRun(
        artifact=name,
        scenario=scenario,
        judged=module.RANK,
        engine=bench.ready.engine,
        queries=len(done) if module.RANK is not None else 1,
        samples=samples,
        seconds=timeline.seconds,
        warmup_runs=bench.ready.warmup_runs,
        qps=measured.plan.qps if module.BY_RATE else None,
        throughput_per_s=samples / timeline.seconds,
        throughput_ci95_per_s=rate_ci95(done, timeline.samples_per_query),
        latency=told,
        verdict=bench.judge(timeline, measured.plan),
        search=search,
        calls={str(size): count for size, count in sorted(timeline.calls.items())},
        memory=memory_watch.summarise(measured.memory, timeline.done),
        placement=placement,
        energies=joules,
        meters=meters,
        noise=_noise(bench, placement, measured),
        method=_method(bench, measured.plan),
    )


def _noise(bench: _Bench, placement: Placement, measured: _Measured) -> list[str]:
    said, timeline = [], measured.timeline
    if not bench.ready.settled:
        said.append(f"{bench.ready.warmup_runs} warm-up runs did not settle.")
    if placement.astray:
        said.append(f"{placement.astray} of {placement.threads} threads may run on other CPUs too.")
    if timeline.seconds >= (longest := bench.conditions.settings.max_seconds):
        said.append(f"The run was ended at {longest:g} s.")
    if bench.scenario.RANK is not None and not bench.scenario.BY_RATE:
        found = noise.in_series(summary.latencies_ms(timeline), "")
        said += [sentence.removeprefix(": ").capitalize() for sentence in found]
    if bench.scenario.BY_RATE:
        said += late_takers(timeline, bench.conditions.settings.workers)
    return said + measured.noise


def _method(bench: _Bench, plan: Plan) -> str:
    settings, ready = bench.conditions.settings, bench.ready
    latencies = {
        True: "latency from the scheduled arrival to the answer",
        False: "latency from the question to the answer",
    }[bench.scenario.BY_RATE]
    return (
        f"{ready.engine}, {'+'.join(ready.providers)}, {settings.workers} "
        f"worker{'s' if settings.workers > 1 else ''} of {settings.threads} "
        f"thread{'s' if settings.threads > 1 else ''}, calls of up to {plan.batch} "
        f"sample{'s' if plan.batch > 1 else ''}; {bench.scenario.WHAT}; "
        f"{latencies + ', ' if bench.scenario.RANK is not None else ''}by perf_counter, putting batches "
        "together included"
    )
