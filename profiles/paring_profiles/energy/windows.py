"""Windows of energy: rounds in which every candidate has one, between windows of an idle machine.

Idle is measured before the first round and after each, so that every round has its own idle on both sides:
a machine that warms up, or a neighbour that comes, moves both. Candidates are opened anew for each round, for
two openings of one model differ, see `paring_profiles.openings`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from paring_profiles.energy.meter import Mark, Meter, Refused
from paring_profiles.latency import without_collection
from paring_profiles.openings import orders

Call = Callable[[], object]
Reopen = Callable[[list[int]], Sequence[Call]]  # in the order given; the calls are in the candidates' order

SHORTEST_S = 0.5  # of a window: below, a single burst of another process is all there is
RESOLUTION_SHARE = 0.01  # of a window's energy: what the meter's smallest step may be
FEWEST_ROUNDS, MOST_ROUNDS = 6, 8  # fewer than six values hold no 95 % interval of a median
_LONGEST_STRETCH = 4  # a window grows up to so many times its length until the resolution is fine enough
_LEAD_IN_PERIODS = 2  # of the slowest sensor: until what it shows is no longer of before


@dataclass(frozen=True)
class Window:
    """What happened between two moments of each meter (by name), and how many calls were made meanwhile."""

    begin: Mapping[str, Mark]
    end: Mapping[str, Mark]
    calls: int

    def seconds(self, meter: str) -> float:
        """Its length as that meter saw it."""
        return self.end[meter].at_s - self.begin[meter].at_s


@dataclass
class Rounds:
    """Windows in order: `idle` has one more than each candidate has rounds."""

    idle: list[Window] = field(default_factory=list)
    loads: list[list[Window]] = field(default_factory=list)  # [candidate][round]


@dataclass(frozen=True)
class Plan:
    """How long, how often. `lead_in_s` is untimed work (or rest) before each window."""

    window_s: float
    lead_in_s: float
    rounds: int


@dataclass(frozen=True)
class Clock:
    """Time and rest; tests bring their own."""

    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep


def needed_s(meter: Meter) -> float:
    """How long a window of a meter must be."""
    return max(SHORTEST_S, meter.facts.updates_a_window * meter.facts.update_period_s)


def plan(
    meters: Mapping[str, Meter], candidates: int, settle_s: float, max_seconds: float
) -> tuple[Plan | None, dict[str, str]]:
    """Return windows that suit as many meters as fit into `max_seconds`, and why others do not.

    A plan is None where no meter is left.
    """
    refused: dict[str, str] = {}
    left = dict(sorted(meters.items(), key=lambda item: needed_s(item[1])))
    while left:
        slowest = list(left)[-1]
        window_s = needed_s(left[slowest])
        period_s = max(meter.facts.update_period_s for meter in left.values())
        lead_in_s = max(settle_s, _LEAD_IN_PERIODS * period_s)
        a_window_s, a_round = window_s + lead_in_s, candidates + 1
        rounds = int((max_seconds / a_window_s - 1) / a_round)
        if rounds >= FEWEST_ROUNDS:
            return Plan(window_s, lead_in_s, min(rounds, MOST_ROUNDS) // 2 * 2), refused
        asked_s = math.ceil(1.05 * (FEWEST_ROUNDS * a_round + 1) * a_window_s)
        refused[slowest] = (
            f"its windows take {window_s:g} s, and {FEWEST_ROUNDS} rounds of them do not fit into the "
            f"{max_seconds:g} s that a measurement may take: --max-seconds {asked_s} would do"
        )
        del left[slowest]
    return None, refused


def run(
    calls: Sequence[Call],
    meters: Mapping[str, Meter],
    plan: Plan,
    seed: int,
    progress: Callable[[float], None] | None = None,
    clock: Clock = Clock(),
    reopen: Reopen | None = None,
) -> Rounds:
    """Measure every candidate in rounds of random order, idle before, between and after them.

    With `reopen`, candidates are opened anew for each round.
    """
    found = Rounds(loads=[[] for _ in calls])
    with without_collection():
        found.idle.append(_idle(meters, plan, clock))
        for number, order in enumerate(orders(len(calls), plan.rounds, seed)):
            calls = reopen(order) if reopen is not None else calls
            for index in order:
                found.loads[index].append(_load(calls[index], meters, plan, clock))
            found.idle.append(_idle(meters, plan, clock))
            if progress is not None:
                progress((number + 1) / plan.rounds)
    for meter in meters.values():
        meter.wait_for(meter.mark())
    return found


def _idle(meters: Mapping[str, Meter], plan: Plan, clock: Clock) -> Window:
    clock.sleep(plan.lead_in_s)
    begin = _marks(meters)
    clock.sleep(plan.window_s)
    return Window(begin, _marks(meters), 0)


def _load(call: Call, meters: Mapping[str, Meter], plan: Plan, clock: Clock) -> Window:
    """Call until the window is long enough, and the meters have seen enough of it."""
    ready_s = clock.now() + plan.lead_in_s
    call()
    while clock.now() < ready_s:
        call()
    begin, begin_s, calls, asked_s = _marks(meters), clock.now(), 0, plan.window_s
    while True:
        call()
        calls += 1
        spent_s = clock.now() - begin_s
        if spent_s < asked_s:
            continue
        end = _marks(meters)
        fine = all(_fine_enough(meters[name], begin[name], end[name]) for name in meters)
        if fine or spent_s >= _LONGEST_STRETCH * plan.window_s:
            return Window(begin, end, calls)
        asked_s = spent_s + plan.window_s / 2


def _marks(meters: Mapping[str, Meter]) -> dict[str, Mark]:
    return {name: meter.mark() for name, meter in meters.items()}


def _fine_enough(meter: Meter, begin: Mark, end: Mark) -> bool:
    """Whether the meter's smallest step is small beside the window's energy; yes where it cannot tell yet."""
    try:
        found = meter.joules(begin, end)
    except Refused:
        return True  # judged when all windows are there
    return meter.facts.resolution_j <= RESOLUTION_SHARE * sum(found[name] for name in meter.facts.total)
