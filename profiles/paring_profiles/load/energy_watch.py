"""Energy of the samples that a run answered, by whatever meter is here, idle subtracted.

Meters are read while the load runs, in windows one after another, with the idle machine before and after it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from paring_profiles.energy import windows
from paring_profiles.energy.choose import choose
from paring_profiles.energy.meter import Mark, Meter
from paring_profiles.energy.summary import summarise
from paring_profiles.energy.windows import FEWEST_ROUNDS, Rounds, Window
from paring_profiles.load.result import LoadSettings
from paring_profiles.result import Energy, MeterState, Settings
from paring_profiles.statistics import Series

MOST_WINDOWS = 60
Marks = Mapping[str, Mark]


@dataclass(frozen=True)
class Reading:
    """Marks of one run: the idle machine before and after it, and moments within it, in order."""

    before: tuple[Marks, Marks]
    within: list[Marks]
    after: tuple[Marks, Marks]


class EnergyWatch:
    """Measures energy run by run.

    Raises:
        InputError: a meter that was asked for is not there.
    """

    def __init__(self, settings: LoadSettings) -> None:
        told = Settings(
            energy=settings.energy,
            energy_csv=settings.energy_csv,
            energy_csv_offset_s=settings.energy_csv_offset_s,
        )
        chosen = choose(told)
        self._meters, self._absent, self._seed = chosen.present, chosen.absent, settings.seed

    @contextmanager
    def running(self, settle_s: float) -> Iterator[Callable[[], Reading | None]]:
        """Read the meters around what is done inside; call what is given afterwards for what they read.

        Without a meter nothing is read. `settle_s`: rest before the idle machine is measured.
        """
        if not self._meters:
            yield lambda: None
            return
        window_s = self._window_s()
        with ExitStack() as stack:
            for meter in self._meters.values():
                stack.enter_context(meter)
            found: list[Reading] = []
            before = self._idle(settle_s, window_s)
            marker = _Marker(self._meters, window_s)
            try:
                yield lambda: found[0] if found else None
            finally:
                within = marker.stop()
            found.append(Reading(before, within, self._idle(settle_s, window_s)))
            for meter in self._meters.values():
                meter.wait_for(meter.mark())

    def _window_s(self) -> float:
        return max(windows.needed_s(meter) for meter in self._meters.values())

    def _idle(self, settle_s: float, window_s: float) -> tuple[Marks, Marks]:
        time.sleep(settle_s)
        begin = marks(self._meters)
        time.sleep(window_s)
        return begin, marks(self._meters)

    def conclude(
        self, read: Reading | None, done_s: Series, begin_s: float, name: str
    ) -> tuple[list[Energy], list[MeterState]]:
        """Return a sample's energy by each meter that can tell, and what every meter said.

        Args:
            read: what the meters read; None without a meter.
            done_s: when each sample was answered, s from the run's begin.
            begin_s: of the run, by `time.perf_counter`.
            name: of the run, in sentences.
        """
        energies, states = [], list(self._absent)
        for meter_name, meter in self._meters.items():
            if read is None:
                continue
            rounds = _rounds(read, meter_name, done_s + begin_s)
            if (count := len(rounds.loads[0])) < FEWEST_ROUNDS:
                why_not = (
                    f"{count} windows of {self._window_s():g} s lie within the run, {FEWEST_ROUNDS} needed"
                )
                states.append(MeterState(meter_name, meter.facts.covers, why_not))
                continue
            made = summarise(meter_name, meter, rounds, (1, None), [name], self._seed)
            told = MeterState(meter_name, meter.facts.covers, made.refused, list(made.said))
            states.append(told)
            if made.energies is not None:
                energies += [replace(one, method=_method(meter, one)) for one in made.energies]
        return energies, sorted(states, key=lambda state: state.name)


def marks(meters: Mapping[str, Meter]) -> dict[str, Mark]:
    """Mark a moment on every meter."""
    return {name: meter.mark() for name, meter in meters.items()}


class _Marker:
    """A thread that marks moments, a window apart; windows grow where a run is long."""

    def __init__(self, meters: Mapping[str, Meter], window_s: float) -> None:
        self._meters, self._window_s = meters, window_s
        self._taken: list[Marks] = [marks(meters)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paring-windows", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._window_s):
            self._taken.append(marks(self._meters))
            if len(self._taken) > MOST_WINDOWS:
                self._taken = self._taken[::2]
                self._window_s *= 2

    def stop(self) -> list[Marks]:
        self._stop.set()
        self._thread.join()
        return self._taken


def _rounds(read: Reading, meter: str, done_at_s: Series) -> Rounds:
    """Return windows within the run, each with the samples answered in it, and idle around them.

    There is no idle between windows of a load: the first half is held against the idle machine before the
    run, the second against that after it. A window in which nothing was answered is joined to the next.
    """
    done = np.sort(done_at_s[~np.isnan(done_at_s)])
    kept, loads = [read.within[0]], []
    for _, end in pairwise(read.within):
        edges = np.searchsorted(done, [kept[-1][meter].at_s, end[meter].at_s])
        calls = int(edges[1] - edges[0])
        if calls > 0:
            loads.append(Window(kept[-1], end, calls))
            kept.append(end)
    before, after = (Window(begin, end, 0) for begin, end in (read.before, read.after))
    half = (len(loads) + 1) // 2
    return Rounds(idle=[before] * (half + 1) + [after] * (len(loads) - half), loads=[loads])


def _method(meter: Meter, energy: Energy) -> str:
    facts = meter.facts
    return (
        f"{facts.method}; step {facts.resolution_j:.2g} J, new every {facts.update_period_s:g} s; "
        f"{len(energy.rounds_mj)} windows while the load ran, idle power before and after it subtracted"
    )
