"""What is handed to a worker and what comes back: plain data, so that it can cross processes and machines."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from paring_profiles.records import decode
from paring_profiles.result import Machine
from paring_profiles.sweep import Measure, SweepSettings


@dataclass(frozen=True)
class Shelf:
    """Where artifacts lie. `folder`: on the worker's machine; `url`: the storage that all share, or ""."""

    folder: str
    url: str = ""


@dataclass(frozen=True)
class Subject:
    """An artifact and what runs it. `key` is its recipe's digest."""

    key: str
    engine: str


@dataclass(frozen=True)
class Job:
    """One piece of work for one process.

    Attributes:
        kind: "baseline", "trial" or "final".
        shelf: where artifacts lie.
        settings: how to measure.
        subject: what is made and measured; the baseline itself for "baseline".
        recipe: the subject's, every default written out.
        baseline: what it is timed against; None for "baseline".
        device: kind of device.
        energy: "" for none, "modelled", or the meter that measures it.
        before: which images the baseline answers rightly, see `front.pack_answers`.
        right: which ones the subject does, where an earlier trial told.
        finalists: of "final": what is timed together, by number of the trial.
        allow: risks allowed by name.
        patience_s: how long to wait for a quiet machine before measuring.
    """

    kind: str
    shelf: Shelf
    settings: SweepSettings
    subject: Subject
    recipe: dict[str, Any]
    baseline: Subject | None = None
    device: str = "cpu"
    energy: str = ""
    before: str | None = None
    right: str | None = None
    finalists: dict[str, Subject] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    patience_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """What became of a job. Names as in `paring_profiles.sweep.Trial`.

    `of_finalists` are the measures of the final round by number of the trial; "baseline" is the baseline's.
    `lost` says that the process was gone before it could tell, or the machine too loud for a meter: the job
    may be tried again. `log` is the end of what a process wrote that failed.
    """

    state: str
    reason: str = ""
    stage: str = "done"
    artifact: str | None = None
    measures: dict[str, Measure] = field(default_factory=dict)
    right: str | None = None
    seconds: float = 0.0
    worker: str = ""
    noise: list[str] = field(default_factory=list)
    of_finalists: dict[str, dict[str, Measure]] = field(default_factory=dict)
    machine: Machine | None = None
    tools: dict[str, str] = field(default_factory=dict)
    lost: bool = False
    log: str = ""


def job_from(data: dict[str, Any]) -> Job:
    """A job from its JSON form."""
    job: Job = decode(Job, data)
    return job


def outcome_from(data: dict[str, Any]) -> Outcome:
    """An outcome from its JSON form."""
    outcome: Outcome = decode(Outcome, data)
    return outcome
