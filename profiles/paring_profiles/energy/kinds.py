"""The two kinds of meter that read something: energy counters, and sensors of power."""

from __future__ import annotations

from collections.abc import Mapping

from paring_profiles.energy import counter, power
from paring_profiles.energy.counter import Counter
from paring_profiles.energy.meter import Facts, Joules, Mark, Meter, Refused
from paring_profiles.energy.recorder import Read, Recorder

COUNTER_UPDATES = 50  # an edge is known to one update: each moves the window's energy by 2 % at most
POWER_UPDATES = 20  # what leads in to a window lets the sensor's lag pass; updates inside still count
_LONGEST_POLL_S = 0.25
_SHORTEST_SAMPLE_S = 0.02


class _Recorded(Meter):
    """A meter whose readings a `Recorder` keeps."""

    def __init__(self, facts: Facts, read: Read, poll_s: float) -> None:
        self.facts, self._read, self._poll_s = facts, read, poll_s

    def start(self) -> None:
        """Begin to read."""
        self._recorder = Recorder(self._read, self._poll_s)
        self._recorder.start()

    def stop(self) -> None:
        """Stop reading."""
        self._recorder.stop()

    def mark(self) -> Mark:
        """Take a reading now."""
        return self._recorder.mark()


class CounterMeter(_Recorded):
    """A meter of energy counters, one a domain.

    Args:
        facts: its facts; `update_period_s` and the counters' agree.
        counters: how to read each domain.
        read: raw values by domain, now.
    """

    def __init__(self, facts: Facts, counters: Mapping[str, Counter], read: Read) -> None:
        safe_s = min(one.safe_gap_s for one in counters.values())
        super().__init__(facts, read, min(_LONGEST_POLL_S, safe_s / 4))
        self._counters = counters

    def joules(self, begin: Mark, end: Mark) -> Joules:
        """Return the energy between two marks, by domain; see `counter.joules`."""
        found = self._recorder.between(begin, end)
        told = {}
        for name, samples in found.items():
            try:
                told[name] = counter.joules(samples, self._counters[name])
            except Refused as error:
                raise Refused(f"{name}: {error}") from None
        return told


class PowerMeter(_Recorded):
    """A meter of power that is sampled and integrated, one sensor a domain.

    Args:
        facts: its facts.
        read: watts by domain, now.
        period_told: whether the sensor itself tells how often it updates. Otherwise `update_period_s`
            is an assumption, which the samples must bear out.
    """

    def __init__(self, facts: Facts, read: Read, period_told: bool) -> None:
        self._sample_s = max(_SHORTEST_SAMPLE_S, facts.update_period_s / 2)
        super().__init__(facts, read, self._sample_s)
        self._period_told = period_told

    def joules(self, begin: Mark, end: Mark) -> Joules:
        """Return the energy between two marks, by domain; see `power.joules`."""
        if not self._period_told:
            self._check_updates(end.at_s - begin.at_s)
        told = {}
        for name, samples in self._recorder.between(begin, end).items():
            try:
                told[name] = power.joules(samples, begin.at_s, end.at_s, self._sample_s)
            except Refused as error:
                raise Refused(f"{name}: {error}") from None
        return told

    def _check_updates(self, window_s: float) -> None:
        """Over all that was recorded, idle and at work, the reading must have changed often enough."""
        for name in self.facts.total:
            stood_s = power.longest_standing_s(self._recorder.every(name))
            if stood_s > window_s / 5:
                raise Refused(
                    f"{name}: the sensor kept one value for {stood_s:.1f} s, too slow for windows of "
                    f"{window_s:.1f} s"
                )
