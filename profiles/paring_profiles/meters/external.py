"""An external meter, through the CSV log that its own program writes while paring measures.

The log has a header with the columns `time` (seconds since 1970, or ISO 8601 with a time zone) and `watts`;
others are ignored. It is there, with a few rows, before the measurement begins, and grows until after its
end. Its times are on this machine's clock, or `--energy-csv-offset` says how many seconds to add to them:
a log of the same machine needs none, one of another machine under NTP is milliseconds off.
"""

from __future__ import annotations

import csv
import math
import time
from bisect import bisect_left, bisect_right
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

from paring_profiles.energy import power
from paring_profiles.energy.counter import Sample
from paring_profiles.energy.kinds import POWER_UPDATES
from paring_profiles.energy.meter import Availability, Facts, Joules, Mark, Meter, Refused

COVERS = "what the external meter is plugged into; everything on it"
RESOLUTION = "as the log shows: its rows and the steps of its watts"
_FEWEST_ROWS = 3
_WAIT_S, _LOOK_AGAIN_S = 5.0, 0.2


def probe(choice: str = "") -> Availability:
    """Tell whether a log was given and can be read; `choice` is "PATH" or "PATH|OFFSET_S"."""
    if not choice:
        return Availability(COVERS, "no log was given", "--energy-csv FILE, see `paring profile --help`")
    try:
        open_meter(choice)
    except Refused as error:
        return Availability(COVERS, str(error))
    return Availability(f"{COVERS} ({Path(choice.partition('|')[0]).name})")


def read_log(path: Path) -> list[Sample]:
    """Return the samples of a log, in the order of their times. A last line without its end is left out.

    Raises:
        Refused: no such file, no such columns, or a row that is wrong; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: cannot be read ({error})") from None
    lines = text[: text.rfind("\n") + 1].splitlines()
    reader = csv.DictReader(lines, skipinitialspace=True)
    names = reader.fieldnames or []
    if "time" not in names or "watts" not in names:
        raise Refused(f"{path}: expected a header with the columns time and watts, given {', '.join(names)}")
    samples = []
    for row in reader:
        where = f"{path}:{reader.line_num}"
        samples.append(Sample(_seconds(row["time"] or "", where), _watts(row["watts"] or "", where)))
        if len(samples) > 1 and samples[-1].at_s <= samples[-2].at_s:
            raise Refused(f"{where}: its time is not after that of the row before")
    return samples


def _seconds(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise Refused(f"{where}: {text!r} is no time; seconds since 1970 or ISO 8601 are") from None
    if moment.tzinfo is None:
        raise Refused(f"{where}: {text!r} names no time zone, as 2026-01-31T12:00:00.5+01:00 does")
    return moment.timestamp()


def _watts(text: str, where: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise Refused(f"{where}: {text!r} is no number of watts")
    return found


def open_meter(choice: str = "") -> Meter:
    """Return the meter of a log, "PATH" or "PATH|OFFSET_S".

    Raises:
        Refused: see `read_log`; also a log of too few rows to know how often there is one.
    """
    path, _, offset = choice.partition("|")
    if not path:
        raise Refused("no log was given: --energy-csv FILE")
    return _Log(Path(path), float(offset or 0.0))


class _Log(Meter):
    """A log that is read again whenever its file has grown."""

    def __init__(self, path: Path, offset_s: float) -> None:
        self._path, self._offset_s = path, offset_s
        self._size, self._samples, self._times = -1, list[Sample](), list[float]()
        self._read_again()
        if len(self._samples) < _FEWEST_ROWS:
            raise Refused(
                f"{path}: {len(self._samples)} rows; at least {_FEWEST_ROWS} are needed before the start, "
                "to know how often the meter writes"
            )
        self._period_s = median(after - before for before, after in pairwise(self._times))
        steps = {abs(b.value - a.value) for a, b in pairwise(self._samples)} - {0.0}
        self.facts = Facts(
            covers=f"{COVERS} ({path.name})",
            domains=("meter",),
            total=("meter",),
            resolution_j=min(steps, default=0.0) * self._period_s,
            update_period_s=self._period_s,
            updates_a_window=POWER_UPDATES,
            method=f"an external meter's log ({path.name}), integrated",
        )

    def mark(self) -> Mark:
        """Return this moment; the log is read later."""
        return Mark(time.perf_counter(), time.time())

    def joules(self, begin: Mark, end: Mark) -> Joules:
        """Return the energy between two marks, from the rows around them; see `power.joules`."""
        self._read_again()
        first = max(0, bisect_right(self._times, begin.wall_s) - 1)
        last = bisect_left(self._times, end.wall_s) + 1
        if last > len(self._times):
            ended_s = end.wall_s - self._times[-1]
            raise Refused(f"{self._path} ends {ended_s:.1f} s before the window does: does it still grow?")
        near = self._samples[first:last]
        return {"meter": power.joules(near, begin.wall_s, end.wall_s, self._period_s)}

    def wait_for(self, end: Mark) -> None:
        """Wait for a row after a mark, five seconds at most and a few rows' time."""
        patient_s = time.perf_counter() + _WAIT_S + 3 * self._period_s
        while time.perf_counter() < patient_s:
            self._read_again()
            if self._times[-1] >= end.wall_s:
                return
            time.sleep(_LOOK_AGAIN_S)

    def _read_again(self) -> None:
        size = self._path.stat().st_size if self._path.exists() else -2
        if size != self._size:
            shift = self._offset_s
            self._samples = [Sample(one.at_s + shift, one.value) for one in read_log(self._path)]
            self._times = [one.at_s for one in self._samples]
            self._size = size
