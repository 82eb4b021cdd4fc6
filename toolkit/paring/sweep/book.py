"""The sweep's folder: what was asked, every trial by itself, and `sweep.json`, which is made of them.

Each trial is a small file of its own, written whole when it begins and when it ends. `sweep.json` can be made
from those at any time, so a process killed between two writes leaves nothing that disagrees.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import shutil
import time
from pathlib import Path
from typing import TypeVar

from paring.recipe import dump_recipe
from paring_profiles.records import decode, write_whole
from paring_profiles.result import Machine
from paring_profiles.sweep import (
    IMPOSSIBLE,
    Baseline,
    Objective,
    Sweep,
    Trial,
    front,
    read_sweep,
    write_sweep,
)
from paring_profiles.sweep.result import FILE_NAME
from paring_runtimes.errors import ArtifactError, OutputError

from .plan import Plan, differences, identity

Record = TypeVar("Record", Trial, Baseline)
ASKED = "asked.json"
SHOWN_DIFFERENCES = 12


class Book:
    """The trials of one folder."""

    def __init__(self, plan: Plan, objectives: list[Objective], storage: str) -> None:
        self.plan, self.objectives, self.storage = plan, objectives, storage
        self.folder = plan.output
        self.trials: dict[int, Trial] = {}
        self.baselines: dict[str, Baseline] = {}
        self.machines: dict[str, Machine] = {}
        self.tools: dict[str, str] = {}
        self.notes: list[str] = []
        self.resumed, self._before_s, self.created = 0, 0.0, now()
        self.space_changed = False
        self._begin = time.monotonic()

    def open(self) -> None:
        """Begin in a new folder, or take up what is there.

        Raises:
            OutputError: the folder holds something else, or a sweep of another recipe or space.
            ArtifactError: a file of it is damaged.
        """
        for name in ("trials", "baselines", "artifacts"):
            (self.folder / name).mkdir(exist_ok=True)
        asked = self.folder / ASKED
        if asked.is_file():
            self._take_up(json.loads(asked.read_text(encoding="utf-8")))
        write_whole(asked, json.dumps(identity(self.plan), indent=1) + "\n")
        for draft in (self.folder / "artifacts").glob(".*.tmp"):  # of a process that was killed
            shutil.rmtree(draft, ignore_errors=True)

    def _take_up(self, before: dict[str, object]) -> None:
        changed = differences(before, json.loads(json.dumps(identity(self.plan))))
        beside = [line for line in changed if not line.startswith("space")]
        self.space_changed = bool(changed)
        if beside or (changed and not self.plan.extend):
            way = (
                "give another --output"
                if beside
                else "--extend goes on in the new space, or give another --output"
            )
            listed = "\n  ".join(changed[:SHOWN_DIFFERENCES])
            raise OutputError(
                f"{self.folder}: holds a sweep that was asked something else; {way}. Changed:\n  {listed}"
            )
        for file in sorted((self.folder / "trials").glob("*.json")):
            trial = self._read(Trial, file)
            self.trials[trial.number] = trial
        for file in sorted((self.folder / "baselines").glob("*.json")):
            base = self._read(Baseline, file)
            self.baselines[base.device] = base
        if (self.folder / FILE_NAME).is_file():
            old = read_sweep(self.folder)
            self._before_s, self.created, self.resumed = old.seconds, old.created, old.resumed + 1
            self.machines, self.tools, self.notes = dict(old.machine), old.tools, list(old.notes)

    def _read(self, kind: type[Record], file: Path) -> Record:
        try:
            found: Record = decode(kind, json.loads(file.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ArtifactError(f"{file}: damaged: {error}") from None
        return found

    def counted(self) -> int:
        """How many trials there are, of those that were asked for: points that cannot be are none."""
        return sum(trial.state != IMPOSSIBLE for trial in self.trials.values())

    def put(self, trial: Trial) -> None:
        """Write down how a trial stands now."""
        self.trials[trial.number] = trial
        write_whole(self.folder / "trials" / f"{trial.number}.json", _json(trial))

    def put_baseline(self, baseline: Baseline) -> None:
        """Write down a device's baseline."""
        self.baselines[baseline.device] = baseline
        write_whole(self.folder / "baselines" / f"{baseline.device}.json", _json(baseline))

    def note(self, sentence: str) -> None:
        """Add a sentence for the reader, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def write(self, state: str) -> Sweep:
        """Write `sweep.json` from what is known now."""
        trials = [self.trials[number] for number in sorted(self.trials)]
        baselines = list(self.baselines.values())
        sweep = Sweep(
            created=self.created,
            updated=now(),
            state=state,
            machine=self.machines,
            tools=self.tools,
            recipe=dump_recipe(self.plan.recipe),
            space=dict(self.plan.space.written),
            points=self.plan.space.count(),
            objectives=self.objectives,
            settings=self.plan.settings(),
            baselines=baselines,
            trials=trials,
            front=front(trials, baselines, self.objectives, self.plan.seed),
            left_out=list(self.plan.space.left_out),
            notes=self.notes,
            seconds=self._before_s + time.monotonic() - self._begin,
            resumed=self.resumed,
            storage=self.storage,
        )
        write_sweep(sweep, self.folder)
        return sweep


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def check_folder(folder: Path) -> None:
    """Make the sweep's folder, or see that it is one.

    Raises:
        OutputError: something else is there.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: no folder")
    if folder.is_dir() and not (folder / ASKED).is_file():
        others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        if set(others) - {"trials", "baselines", "artifacts"}:
            raise OutputError(f"{folder}: holds {others[0]} and no sweep: choose another --output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from None


def _json(value: Trial | Baseline) -> str:
    return json.dumps(dataclasses.asdict(value), indent=1, allow_nan=False) + "\n"
