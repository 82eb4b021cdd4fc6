"""Windows and what is concluded from them, in a world whose power is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from paring_profiles.energy import windows
from paring_profiles.energy.meter import Facts, Mark, Meter, Refused
from paring_profiles.energy.summary import summarise
from paring_profiles.energy.windows import Clock, Plan
from paring_profiles.report import energy

IDLE_W, WORK_W, CALL_S = 10.0, 40.0, 0.002


class World:
    """Time goes on when something sleeps or works; the energy that both take is known."""

    def __init__(self, idle_w: Callable[[float], float] = lambda _now: IDLE_W) -> None:
        self.now_s, self.joules, self.idle_w = 100.0, 0.0, idle_w
        self.clock = Clock(now=lambda: self.now_s, sleep=self.rest)

    def rest(self, seconds: float) -> None:
        self.joules += seconds * self.idle_w(self.now_s)
        self.now_s += seconds

    def call(self, seconds: float, watts: float) -> None:
        self.joules += seconds * (self.idle_w(self.now_s) + watts)
        self.now_s += seconds


class Simulated(Meter):
    """Reads the world's energy; what `broken` says is refused."""

    def __init__(
        self,
        world: World,
        period_s: float = 0.01,
        resolution_j: float = 1e-4,
        broken: Callable[[float], bool] = lambda _at_s: False,
    ) -> None:
        self._world, self._broken, self._taken = world, broken, dict[float, float]()
        self.facts = Facts(
            "a world", ("all", "half"), ("all",), resolution_j, period_s, 50, "by definition"
        )  # fmt: skip

    def mark(self) -> Mark:
        self._taken[self._world.now_s] = self._world.joules
        return Mark(self._world.now_s, self._world.now_s)

    def joules(self, begin: Mark, end: Mark) -> dict[str, float]:
        if self._broken(begin.at_s):
            raise Refused("broken")
        drawn = self._taken[end.at_s] - self._taken[begin.at_s]
        return {"all": drawn, "half": drawn / 2}


def _measured(world, meter, calls=None, plan=None):
    calls = calls or [lambda: world.call(CALL_S, WORK_W), lambda: world.call(CALL_S / 2, WORK_W)]
    found = plan or windows.plan({"m": meter}, len(calls), 0.0, 120.0)[0]
    rounds = windows.run(calls, {"m": meter}, found, 0, clock=world.clock)
    names = ["base", "half", "third"][: len(calls)]
    return rounds, summarise("m", meter, rounds, (4, None), names, 0)


def test_idle_is_subtracted_and_told():
    world = World()
    rounds, told = _measured(world, Simulated(world))
    base, half = told.energies
    assert base.mj == pytest.approx(1e3 * WORK_W * CALL_S / 4)  # a call of four
    assert half.mj == pytest.approx(base.mj / 2)
    assert base.gross_mj == pytest.approx(1e3 * (WORK_W + IDLE_W) * CALL_S / 4)
    assert base.domains == {"all": pytest.approx(base.mj), "half": pytest.approx(base.mj / 2)}
    assert base.idle_watts == pytest.approx(IDLE_W)
    assert base.mj_ci95[0] <= base.mj <= base.mj_ci95[1]
    assert (len(base.rounds_mj), base.place, base.provenance) == (8, (4, None), "measured")
    assert base.window_seconds >= 50 * 0.01
    assert base.calls == sum(window.calls for window in rounds.loads[0])
    assert told.said == []
    assert len(rounds.idle) == 9


def test_a_step_of_idle_power_moves_no_figure_and_is_told():
    world = World(lambda now_s: IDLE_W if now_s < 107 else 2 * IDLE_W)
    _, told = _measured(world, Simulated(world))
    assert told.energies[0].mj == pytest.approx(1e3 * WORK_W * CALL_S / 4, rel=0.05)
    assert any("idle power drifted from 10 W to 20 W" in one for one in told.said)
    assert told.energies[0].idle_watts_range == (pytest.approx(10), pytest.approx(20))


def test_what_does_not_stand_out_from_idle_is_told():
    world = World()
    _, told = _measured(world, Simulated(world), [lambda: world.call(CALL_S, 0.0)])
    assert told.energies[0].mj == pytest.approx(0.0, abs=1e-9)
    assert any("does not stand out from that of the idle machine" in one for one in told.said)


def test_windows_grow_until_the_meter_is_fine_enough():
    world = World()
    coarse = Simulated(world, resolution_j=0.5)  # 1 % of 50 J: a second at 50 W, not half of one
    rounds, told = _measured(world, coarse)
    assert all(0.99 < window.seconds("m") < 1.3 for window in rounds.loads[0])
    assert told.energies[0].mj == pytest.approx(1e3 * WORK_W * CALL_S / 4)


def test_a_meter_that_is_too_coarse_is_refused():
    world = World()
    rounds, told = _measured(world, Simulated(world, resolution_j=50.0))
    assert told.energies is None
    assert "base: 0 of 8 windows can be used, 6 needed: the meter's step of 50 J is over 1 %" in told.refused
    assert rounds.loads[0][0].seconds("m") == pytest.approx(4 * 0.5, rel=0.3)


def test_a_lost_window_is_left_out_and_too_many_are_refused():
    world = World()
    _, told = _measured(world, Simulated(world, broken=lambda at_s: 102 < at_s < 103.4))
    base, half = told.energies
    assert base.mj == pytest.approx(1e3 * WORK_W * CALL_S / 4)
    lost = [base.rounds_mj.count(None), half.rounds_mj.count(None)]
    assert 0 < sum(lost) <= 4
    assert len(base.rounds_mj) == len(half.rounds_mj) == 8  # those lost keep their places
    assert energy.saving(base, half)[0] == pytest.approx(2)
    assert any("windows left out: broken" in one for one in told.said)
    world = World()
    _, told = _measured(world, Simulated(world, broken=lambda at_s: at_s > 104))
    assert told.energies is None
    assert "windows can be used, 6 needed: broken" in told.refused


def test_savings_need_rounds_that_pair_and_stand_out():
    world = World()
    base, half = _measured(world, Simulated(world))[1].energies
    assert energy.saving(base, None) is None
    few = replace(half, rounds_mj=[None, None, None, *half.rounds_mj[3:]])
    assert energy.saving(base, few) is None
    one_bad = replace(half, rounds_mj=[-1.0, *half.rounds_mj[1:]])
    assert energy.saving(base, one_bad)[0] == pytest.approx(2)
    assert energy.saving(base, replace(half, mj_ci95=(-0.1, half.mj))) is None


def test_one_long_call_is_a_window():
    world = World()
    rounds, told = _measured(world, Simulated(world), [lambda: world.call(3.0, WORK_W)])
    assert {window.calls for window in rounds.loads[0]} == {1}
    assert told.energies[0].mj == pytest.approx(1e3 * WORK_W * 3 / 4)


def test_a_plan_is_for_the_meters_that_fit():
    world = World()
    quick, slow = Simulated(world, period_s=0.001), Simulated(world, period_s=1.0)
    plan, refused = windows.plan({"quick": quick, "slow": slow}, 2, 0.1, 120.0)
    assert plan == Plan(window_s=0.5, lead_in_s=0.1, rounds=8)
    assert refused["slow"].startswith("its windows take 50 s, and 6 rounds of them do not fit into the 120 s")
    asked = float(refused["slow"].split("--max-seconds ")[1].split()[0])
    plan, refused = windows.plan({"quick": quick, "slow": slow}, 2, 0.1, asked)
    assert (plan.window_s, plan.lead_in_s, plan.rounds, refused) == (50.0, 2.0, 6, {})
    plan, refused = windows.plan({"quick": quick}, 2, 0.1, 5.0)
    assert plan is None
    assert set(refused) == {"quick"}


def test_every_candidate_has_a_window_in_every_round():
    world = World()
    order = []
    calls = [lambda i=i: (order.append(i), world.call(0.3, WORK_W)) for i in range(3)]
    rounds, _ = _measured(world, Simulated(world), calls, Plan(0.5, 0.0, 6))
    assert [len(of) for of in rounds.loads] == [6, 6, 6]
    turns = [i for i, last in zip(order, [None, *order], strict=False) if i != last]
    assert len(set(map(tuple, zip(*[iter(turns)] * 3, strict=False)))) > 1  # not always in one order
    begins = [window.begin["m"].at_s for window in rounds.idle]
    assert all(
        begins[i] < of[i].begin["m"].at_s < begins[i + 1] for of in rounds.loads for i in range(6)
    )  # fmt: skip
