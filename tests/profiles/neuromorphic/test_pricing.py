"""Prices against sums by hand, and against what was measured on chips."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from paring_profiles.neuromorphic.chip import chip
from paring_profiles.neuromorphic.load import Load
from paring_profiles.neuromorphic.mapper import place
from paring_profiles.neuromorphic.network import network
from paring_profiles.neuromorphic.pricing import Latency, Range, energy, latency
from paring_profiles.neuromorphic.rival import against_dense, dense_macs

from .conftest import dense_graph

NO_TIME = Latency(None, None, ())


def load(**changes: Any) -> Load:
    """Nothing, but for what is told."""
    nothing = np.zeros((1, 1, 1))
    told: dict[str, Any] = {
        "steps": 1, "samples": 1, "synops": {}, "macs": {}, "spikes": {}, "active": {}, "inactive": {},
        "chip_synops": 0.0, "chip_macs": 0.0, "chip_active": 0.0, "chip_inactive": 0.0, "messages": 0.0,
        "hops_x": 0.0, "hops_y": 0.0, "core_synops": nothing, "core_active": nothing,
        "core_inactive": nothing, "idle_cores": 0.0,
    }  # fmt: skip
    return Load(**{**told, **changes})


def test_parts_by_hand() -> None:
    did = load(
        chip_synops=1000.0, chip_active=100.0, chip_inactive=10.0, messages=50.0, hops_x=30.0, hops_y=20.0
    )
    spent = energy(chip("loihi"), did, Latency(Range(10.0, 10.0, 10.0), None, ()))
    by_hand = {
        "synaptic operations": 23.6, "active updates": 8.1, "inactive updates": 0.52, "spikes sent": 0.085,
        "hops": 0.09 + 0.08, "static": 1044.0,
    }  # fmt: skip
    assert {part: found.value for part, found in spent.parts.items()} == pytest.approx(by_hand)
    assert spent.total is not None
    assert spent.total.value == pytest.approx(sum(by_hand.values()))
    assert spent.total.low < spent.total.value < spent.total.high
    assert spent.missing == ()


def test_loihi_lands_near_what_was_measured() -> None:
    """Frady et al. 2020 (arXiv 2004.12691), Table 2: 1.33 mJ of the cores a query of 76,800 patterns.

    667 to 750 spikes (section 3: a quarter to a third of 1,000 are removed) reach every pattern's neuron, and
    each of those neurons is updated at 60 steps. The published figure was not fitted: the constants are those
    of another paper.
    """
    for spikes in (667, 750):
        did = load(chip_synops=spikes * 76_800.0, chip_inactive=60 * 76_800.0)
        total = energy(chip("loihi"), did, NO_TIME).total
        assert total is not None
        assert total.value / 1e6 == pytest.approx(1.33, rel=0.25)


def test_truenorth_lands_near_what_was_measured() -> None:
    """Merolla et al. 2014, p. 7: 72 mW at 20 Hz and 128 synapses, from constants of Akopyan et al. 2015."""
    a_tick = load(chip_synops=1_048_576 * 128 * 20 / 1000)
    total = energy(chip("truenorth"), a_tick, Latency(Range(1000.0, 1000.0, 1000.0), None, ())).total
    assert total is not None
    assert total.value / 1e3 == pytest.approx(72, rel=0.03)  # nJ in 1 ms: microwatts


def test_what_has_no_price_is_named() -> None:
    did = load(chip_synops=10.0, chip_macs=5.0, chip_active=2.0, messages=3.0)
    spent = energy(chip("loihi2"), did, NO_TIME)
    assert spent.total is None
    assert spent.missing == (
        "synaptic operations", "multiply-accumulates", "active updates", "spikes sent", "hops",
        "static power",
    )  # fmt: skip
    # TrueNorth's slope has updates and routing inside; products it does not do.
    assert energy(chip("truenorth"), did, NO_TIME).missing == ("multiply-accumulates", "static power")


def test_a_step_lasts_as_long_as_its_slowest_core() -> None:
    placed = place(network(dense_graph(np.ones((2000, 2)), np.ones((1, 2000)))), chip("loihi"))
    cores = len(placed.cores)
    synops = np.zeros((1, 2, cores))
    synops[0, 0, :2] = (1000, 4000)  # the second core is the slowest
    synops[0, 1, 0] = 1000
    active = np.zeros_like(synops)
    active[0, 0, 1] = 10
    inactive = np.zeros_like(synops)
    inactive[0, :, 0] = 100
    time = latency(placed, load(steps=2, core_synops=synops, core_active=active, core_inactive=inactive))
    routers = len({core.router for core in placed.cores})
    x, y = placed.farthest
    each = 113 + (routers - 1) / 31 * (465 - 113) + 4.1 * x + 6.5 * y
    steps = [4000 * 3.5 + 10 * 8.4 + each, 1000 * 3.5 + 100 * 5.3 + each]
    assert time.total is not None
    assert time.slowest_step is not None
    assert time.total.value == pytest.approx(sum(steps) / 1e3)
    assert time.slowest_step.value == pytest.approx(steps[0] / 1e3)


def test_a_clocked_chip_takes_its_step() -> None:
    placed = place(network(dense_graph(np.ones((4, 2)), np.ones((1, 4)))), chip("truenorth"))
    time = latency(placed, load(steps=32))
    assert time.total == Range(32_000.0, pytest.approx(32 * 47.6), 32_000.0)


def test_the_break_even_rate_makes_both_cost_the_same() -> None:
    placed = place(network(dense_graph(np.ones((50, 20)), np.ones((10, 50)))), chip("loihi"))
    assert dense_macs(placed) == 50 * 20 + 10 * 50
    real = load(
        steps=4, macs={"fc0": 1000.0}, synops={"fc0": 0.0, "fc1": 100.0}, active={"n0": 200.0, "output": 40.0}
    )
    first = against_dense(placed, real)
    assert first.rate == pytest.approx(100 / (4 * 500))
    assert first.dense.value == pytest.approx(1500 * 1.08 / 1e3)
    assert first.spiking.value == pytest.approx((100 * 6.35 + 240 * 5.2 + 1000 * 1.08) / 1e3)
    # At the break-even rate there would be so many synaptic operations:
    for end in ("value", "low", "high"):
        even = getattr(first.break_even, end) * 4 * 500
        synop, update, mac = {
            "value": (6.35, 5.2, 1.08), "low": (30.1, 20.2, 0.28), "high": (1.35, 5.2, 3.43),
        }[end]  # fmt: skip
        assert even * synop + 240 * update + 1000 * mac == pytest.approx(1500 * mac)
    assert first.break_even.low < 0 < first.break_even.high  # the updates alone may cost more
    assert first.printed_ratio == pytest.approx((100 * 0.9 + 1000 * 4.6) / (1500 * 4.6))


def test_twice_the_steps_halve_the_break_even_rate() -> None:
    placed = place(network(dense_graph(np.ones((50, 20)), np.ones((10, 50)))), chip("generic_45nm"))
    short = load(steps=4, synops={"fc0": 10.0, "fc1": 10.0})
    long = replace(short, steps=8)
    assert against_dense(placed, short).break_even.value == pytest.approx(
        2 * against_dense(placed, long).break_even.value
    )
    # Without updates: 1.08 / 6.35 of a dense network's connections, over 4 steps.
    assert against_dense(placed, short).break_even.value == pytest.approx(1.08 / 6.35 / 4)
