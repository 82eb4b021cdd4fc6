"""What a sweep found, as plain data: `sweep.json`. Written whole after every trial: read it any time.

Units are in the names of measures. "measured" and "modelled" never share a name: what a meter says is
`energy_measured_mj`, what the ledger says is `energy_modelled_uj`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from paring_profiles.result import Machine

SCHEMA_VERSION = 1
FILE_NAME = "sweep.json"

IMPOSSIBLE = "impossible"
# How a trial ended. Only "complete" ones have all objectives and can be on the front.
STATES = {
    "complete": "converted, verified and measured",
    "refused": "the recipe, a transform, the exporter or the engine says why it cannot be",
    "gate": "converted, but a gate of the recipe failed",
    "pruned": "given up early: its first images show a drop far above the limit",
    "failed": "its process crashed, ran out of time or out of memory",
    IMPOSSIBLE: "engine, format and the other keys contradict each other: not begun, none of those asked for",
    "running": "begun and not ended; in a sweep that was killed, what goes on first",
}
# Where a trial stands: see `front.py`.
PLACES = ("on", "maybe", "dominated")


@dataclass(frozen=True)
class Measure:
    """One figure of one trial.

    Attributes:
        value: the point estimate, in the unit.
        low: lower end of its 95 % interval; the value itself where it is exact (a size, a modelled energy).
        high: upper end.
        unit: "ms", "x baseline", "share", "bytes", "uJ", "mJ", "1/s".
        provenance: "measured" or "modelled".
        method: how, in words: engine, threads, batch, what it was timed with.
        round: "trial" (timed in turns with the baseline alone) or "final" (all candidates of the front timed
            in turns in one process); "" for what does not depend on time.
    """

    value: float
    low: float
    high: float
    unit: str
    provenance: str
    method: str
    round: str = ""


@dataclass(frozen=True)
class Objective:
    """What is made small (or large)."""

    name: str  # as on the command line: "latency", "accuracy"
    measure: str  # the key of `Trial.measures`: "latency_relative", "drop"
    minimise: bool
    title: str  # "latency against the baseline"
    unit: str
    provenance: str


@dataclass(frozen=True)
class Trial:
    """One point of the space, and what became of it.

    Attributes:
        number: counted from 0, stays the same however often the sweep is resumed.
        params: the point: a parameter's name -> its value; of alternatives the name.
        overrides: "KEY=VALUE" texts that make the sweep's recipe into this one, as for `--set`.
        recipe_digest: SHA-256 over the whole recipe; trials with the same one share an artifact.
        artifact: where it lies, relative to the sweep's folder or a URL; None where there is none.
        engine: what it was measured on.
        device: kind of device that it was measured on; a front is made for each.
        state: a key of `STATES`.
        reason: why it is not complete, in words; "" if it is.
        stage: what was being done when it ended: "recipe", "prune", "convert", "profile", "energy", "done".
        measures: by name, of the trial's own round; see `names.MEASURES`.
        final: those of the final round, which replace them; empty if it was not in it.
        right: which images were answered rightly: base64 of packed bits, the first image in the highest bit.
        seconds: wall time of its last attempt, waiting for the machine included.
        attempts: how often it was begun: 2 when the first was killed with its worker.
        worker: what ran it: "process 4711", "ray worker 3f2a on 10.0.0.3".
    """

    number: int
    params: dict[str, Any]
    overrides: list[str]
    recipe_digest: str | None
    artifact: str | None
    engine: str
    device: str
    state: str
    reason: str = ""
    stage: str = "done"
    measures: dict[str, Measure] = field(default_factory=dict)
    final: dict[str, Measure] = field(default_factory=dict)
    right: str | None = None
    seconds: float = 0.0
    attempts: int = 1
    worker: str = ""
    noise: list[str] = field(default_factory=list)

    def measure(self, name: str) -> Measure | None:
        """The figure of the final round where there is one, else of the trial's own."""
        return self.final.get(name) or self.measures.get(name)


@dataclass(frozen=True)
class Baseline:
    """The untransformed model in fp32, which every trial is timed against. One a kind of device."""

    artifact: str
    engine: str
    device: str
    measures: dict[str, Measure]
    final: dict[str, Measure] = field(default_factory=dict)
    right: str | None = None


@dataclass(frozen=True)
class Standing:
    """Where one complete trial stands among those of its device.

    Attributes:
        trial: its number.
        place: "on" (on the front in at least 97.5 % of the resamples), "dominated" (in at most 2.5 %),
            "maybe" (between: the intervals do not decide).
        probability: share of resamples in which nothing dominates it.
        point: whether nothing dominates it when intervals are ignored.
        dominated_by: trials that dominate it most often, the most frequent first, three at most.
    """

    trial: int
    place: str
    probability: float
    point: bool
    dominated_by: list[int]


@dataclass(frozen=True)
class SweepSettings:
    """How trials are measured."""

    batch: int
    threads: int
    min_runs: int
    min_seconds: float
    seed: int
    sampler: str
    trials: int
    prune_drop: float | None  # give up where the first images' interval lies wholly above this drop
    prune_images: int
    timeout_s: float


@dataclass(frozen=True)
class Sweep:
    """One sweep.

    Attributes:
        created: UTC, ISO 8601.
        updated: the last write.
        state: "running", "complete".
        machine: by kind of device.
        tools: versions.
        recipe: that every trial's overrides apply to, every default written out.
        space: as in its file.
        points: how many points the space has; None where it has no end.
        objectives: the front's axes.
        settings: how trials are measured.
        baselines: one a kind of device.
        trials: by number.
        front: complete trials, the likeliest on the front first; dominated ones too.
        left_out: what the space names and this machine lacks, with the reason: "engine tvm: ...".
        notes: sentences for the reader.
        seconds: wall time, over all times that it was resumed.
        resumed: how often it was taken up again.
        storage: "" for the sweep's own folder, else the URL that artifacts are in.
    """

    created: str
    updated: str
    state: str
    machine: dict[str, Machine]
    tools: dict[str, str]
    recipe: dict[str, Any]
    space: dict[str, Any]
    points: int | None
    objectives: list[Objective]
    settings: SweepSettings
    baselines: list[Baseline]
    trials: list[Trial]
    front: list[Standing] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    resumed: int = 0
    storage: str = ""
    schema_version: int = SCHEMA_VERSION

    def trial(self, number: int) -> Trial:
        """The trial of that number."""
        return next(one for one in self.trials if one.number == number)
