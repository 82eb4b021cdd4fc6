"""Joules from the readings of an energy counter: wraps, resets, standstill. Pure.

A counter of limited range begins again at zero. Between two readings it is only known modulo its range, so
the time between them decides: where one more wrap was possible at the most power that the domain can draw,
nothing can be told. A reading that went back and is no wrap is a reset: somebody wrote zero (Linux lets
root do that to `energy_uj`), or a driver was loaded anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from paring_profiles.energy.meter import Refused

STANDSTILL_PERIODS = 20  # update periods without a step: no counter of a thing that draws power rests so


@dataclass(frozen=True)
class Counter:
    """How to read a counter.

    Attributes:
        unit_j: joules of one step of the raw value.
        range: the raw value at which it begins again; None for one that does not in a machine's life.
        most_watts: more than this its domain cannot draw; a bound, not an estimate.
        update_period_s: how often the hardware adds to it.
        may_rest: whether it may stand still, as a part that is switched off does.
    """

    unit_j: float
    range: float | None
    most_watts: float
    update_period_s: float
    may_rest: bool = False

    @property
    def safe_gap_s(self) -> float:
        """The longest time between two readings in which it cannot wrap twice."""
        return float("inf") if self.range is None else self.range * self.unit_j / self.most_watts


@dataclass(frozen=True)
class Sample:
    """A raw value (or watts, see `power`) and when it was read, s."""

    at_s: float
    value: float


def joules(samples: Sequence[Sample], counter: Counter) -> float:
    """Return the energy between the first and the last reading, J.

    Raises:
        Refused: fewer than two readings, a reset, a jump, a gap in which it may have wrapped more than
            once, or a counter that stood still.
    """
    if len(samples) < 2:
        raise Refused(f"{len(samples)} readings of the counter, 2 needed")
    total = sum(_step(before, after, counter) for before, after in pairwise(samples))
    if not counter.may_rest:
        _check_moves(samples, counter)
    return total


def _step(before: Sample, after: Sample, counter: Counter) -> float:
    """Joules between two readings."""
    gap_s = after.at_s - before.at_s
    # The hardware adds a period's energy at once, which may have been drawn before the gap.
    most_j = counter.most_watts * (gap_s + 2 * counter.update_period_s)
    moved_j = (after.value - before.value) * counter.unit_j
    if counter.range is None:
        if moved_j < 0:
            raise Refused(f"the counter went back by {-moved_j:.3g} J: it was reset")
    else:
        range_j = counter.range * counter.unit_j
        if not (0 <= before.value <= counter.range and 0 <= after.value <= counter.range):
            raise Refused(f"a reading beyond the counter's range of {range_j:.0f} J")
        wrapped = moved_j < 0
        moved_j += range_j if wrapped else 0.0
        if wrapped and moved_j > most_j:
            raise Refused(
                f"the counter went back and did not wrap (that would be {moved_j:.0f} J in {gap_s:.2g} s): "
                "it was reset"
            )
        if moved_j + range_j <= most_j:
            raise Refused(
                f"no reading for {gap_s:.0f} s, in which the counter (range {range_j:.0f} J) may have "
                "wrapped more than once"
            )
    if moved_j > most_j:
        raise Refused(f"the counter jumped by {moved_j:.3g} J in {gap_s:.2g} s, more than can be drawn")
    return moved_j


def _check_moves(samples: Sequence[Sample], counter: Counter) -> None:
    moved_at_s = samples[0].at_s
    for before, after in pairwise(samples):
        stood_s = after.at_s - moved_at_s
        if after.value != before.value:
            moved_at_s = after.at_s
        elif stood_s > STANDSTILL_PERIODS * counter.update_period_s:
            raise Refused(
                f"the counter stood still for {stood_s:.2g} s; it should step every "
                f"{counter.update_period_s:g} s"
            )
