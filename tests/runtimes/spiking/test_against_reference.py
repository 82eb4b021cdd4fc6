"""Every kind of node against the plain float64 reference: the same spikes at every step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from spiking_graphs import chain, convolution, fires, flatten, given, graph, pool, soft_reset, taken
from spiking_reference import Reference

from paring_runtimes.spiking import open_spiking

Write, Draw = Callable[..., Path], Callable[..., np.ndarray]
SPIKING = ("IF", "LIF", "CubaLIF", "Threshold")
IMAGE = (3, 8, 9)


def agree(
    path: Path, network: Any, shape: tuple[int, ...], late: set[tuple[str, str]] = frozenset(), **options: Any
) -> None:
    """Compare spikes exactly and outputs closely: for events, real values, and a constant current."""
    rng = np.random.default_rng(3)
    traced = [name for name, node in network.nodes.items() if type(node).__name__ in SPIKING]
    spikes = (rng.random((12, 2, *shape)) < 0.3).astype(np.float32)
    real = rng.standard_normal(spikes.shape).astype(np.float32)
    for threads in (1, 2):
        with open_spiking(path, threads=threads, **options) as session:
            for inputs, steps in ((spikes, None), (real, None), (real[0], 12)):
                whole = np.broadcast_to(inputs, spikes.shape)
                told = Reference(network, late, options.get("dt") or 1.0).run(whole)
                result = session.run(inputs, steps, trace=traced)
                fired = 0
                for name in traced:
                    np.testing.assert_array_equal(result.traces[name].dense(), told[name], name)
                    fired += result.traces[name].count
                for name, values in result.outputs.items():
                    np.testing.assert_allclose(values, told[name], atol=2e-4, rtol=1e-4)
                assert fired > 10 or not traced


def convolutions(draw: Draw) -> dict[str, Any]:
    two = np.array([2, 2])
    return {
        "dense-head": chain(
            given(*IMAGE), convolution(draw(20, 3, 3, 3), draw(20, by=0.05), padding=1), fires(20, 8, 9),
            flatten(20, 8, 9), nir.Linear(draw(7, 20 * 72, by=0.06)), fires(7), taken(7),
        ),
        "strides": chain(
            given(*IMAGE), convolution(draw(20, 3, 3, 2), stride=2, padding=1, dilation=2), fires(20, 3, 5),
            taken(20, 3, 5),
        ),
        "uneven": chain(
            given(*IMAGE),
            convolution(draw(5, 3, 2, 3), draw(5), stride=np.array([1, 2]), padding=np.array([0, 2])),
            fires(5, 7, 6), taken(5, 7, 6),
        ),
        "same": chain(
            given(*IMAGE), convolution(draw(33, 3, 3, 3), padding="same"), fires(33, 8, 9),
            taken(33, 8, 9),
        ),
        "groups": chain(
            given(*IMAGE), convolution(draw(6, 1, 3, 3), padding=1, groups=3), fires(6, 8, 9),
            convolution(draw(6, 1, 3, 3, by=0.6), groups=6), fires(6, 6, 7), taken(6, 6, 7),
        ),
        "average-pool": chain(
            given(*IMAGE), convolution(draw(20, 3, 3, 3), padding=1), fires(20, 8, 9),
            pool(nir.AvgPool2d, 2, 2), convolution(draw(18, 20, 3, 3), size=(4, 4)), fires(18, 2, 2),
            taken(18, 2, 2),
        ),
        "overlapping-sum-pool": chain(
            given(*IMAGE), nir.SumPool2d(two + 1, two, two - 1), convolution(draw(5, 3, 3, 3), size=(4, 5)),
            fires(5, 2, 3), taken(5, 2, 3),
        ),
        "pool-of-currents": chain(
            given(*IMAGE), convolution(draw(20, 3, 3, 3, by=1), draw(20), padding=1),
            pool(nir.AvgPool2d, 2, 2), fires(20, 4, 4), taken(20, 4, 4),
        ),
        "one-dimension": chain(
            given(3, 9), nir.Conv1d(9, draw(20, 3, 3), 1, 1, 1, 1, draw(20)), fires(20, 9), flatten(20, 9),
            nir.Scale(np.full(180, 0.5)), nir.Linear(draw(4, 180)), nir.Scale(np.full(4, 0.7)), fires(4),
            taken(4),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(convolutions(lambda *s, by=1: np.zeros(s, np.float32))))
def test_convolutions_and_pools(name: str, draw: Draw, write: Write) -> None:
    network = convolutions(draw)[name]
    shape = tuple(int(n) for n in network.nodes["n0"].input_type["input"])
    if name == "same":  # the reference takes numbers
        path = write(network)
        network.nodes["n1"].padding = (1, 1)
        agree(path, network, shape)
    else:
        agree(write(network), network, shape)


def matrices(draw: Draw) -> dict[str, Any]:
    n = 70
    few = draw(n, 100, by=2) * (np.random.default_rng(0).random((n, 100)) < 0.03)
    lif = nir.LIF(np.full(n, 4.0), np.linspace(3, 5, n), np.full(n, 0.05), np.linspace(0.5, 1, n))
    cuba = nir.CubaLIF(
        tau_syn=np.full(n, 2.0), tau_mem=np.full(n, 4.0), r=np.full(n, 4.0), v_leak=np.full(n, 0.1),
        v_threshold=np.ones(n), w_in=np.full(n, 2.0),
    )  # fmt: skip
    return {
        "few-weights": chain(given(100), nir.Linear(few), fires(n), taken(n)),
        "lif": chain(given(12), nir.Affine(draw(n, 12), draw(n)), lif, nir.Linear(draw(3, n)), taken(3)),
        "cuba": chain(given(12), nir.Affine(draw(n, 12), draw(n, by=0.1)), cuba, taken(n)),
        "integrators": chain(
            given(12), nir.Linear(draw(n, 12)), nir.LI(np.full(n, 3.0), np.full(n, 2.0), np.full(n, 0.1)),
            nir.Threshold(np.full(n, 0.4)), nir.Linear(draw(4, n)), nir.I(np.ones(4)), taken(4),
        ),
        "delays": chain(
            given(12), nir.Delay(np.arange(12) % 4 * 1.0), nir.Affine(draw(n, 12), draw(n, by=0.1)), fires(n),
            nir.Delay(np.full(n, 2.0)), nir.Linear(draw(4, n)), fires(4), taken(4),
        ),
        "no-weights": chain(given(12), nir.Scale(np.linspace(0.3, 2, 12)), fires(12), taken(12)),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(matrices(lambda *s, by=1: np.zeros(s, np.float32))))
def test_matrices_and_neurons(name: str, draw: Draw, write: Write) -> None:
    network = matrices(draw)[name]
    agree(write(network), network, (100,) if name == "few-weights" else (12,))


def test_many_events_go_source_by_source_to_the_same_spikes(draw: Draw, write: Write) -> None:
    network = chain(given(40), nir.Linear(draw(130, 40)), fires(130), taken(130))
    rng = np.random.default_rng(0)
    inputs = (rng.random((200, 3, 40)) < 0.5).astype(np.float32)
    with open_spiking(write(network), threads=2) as session:
        found = session.run(inputs, trace=["n2"]).traces["n2"].dense()
    np.testing.assert_array_equal(found, Reference(network).run(inputs)["n2"])


@pytest.mark.parametrize("share", [0.01, 0.5])
@pytest.mark.parametrize("channels", [20, 32, 64, 70])
def test_scattered_and_gathered_events_give_the_same_spikes(
    share: float, channels: int, draw: Draw, write: Write
) -> None:
    """Few events go out from where they are, many are collected where they arrive."""
    network = chain(
        given(4, 8, 9), convolution(draw(channels, 4, 3, 3), padding=1, stride=2), fires(channels, 4, 5),
        taken(channels, 4, 5),
    )  # fmt: skip
    inputs = (np.random.default_rng(0).random((30, 2, 4, 8, 9)) < share).astype(np.float32)
    with open_spiking(write(network), threads=2) as session:
        found = session.run(inputs, trace=["n2"]).traces["n2"]
    np.testing.assert_array_equal(found.dense(), Reference(network).run(inputs)["n2"])
    assert found.count > 0


def test_several_edges_into_a_node_are_summed(draw: Draw, write: Write) -> None:
    size = (20, 8, 9)
    nodes = {
        "in": given(*IMAGE), "c1": convolution(draw(20, 3, 3, 3), padding=1), "a": fires(*size),
        "c2": convolution(draw(20, 20, 3, 3, by=0.1), draw(20, by=0.1), padding=1), "b": fires(*size),
        "c3": convolution(draw(20, 20, 3, 3, by=0.1), padding=1), "skip": convolution(draw(20, 20, 1, 1)),
        "d": fires(*size), "out": taken(*size),
    }  # fmt: skip
    edges = [
        ("in", "c1"), ("c1", "a"), ("a", "c2"), ("c2", "b"), ("b", "c3"), ("a", "skip"), ("c3", "d"),
        ("skip", "d"), ("a", "d"), ("d", "out"), ("a", "out"),
    ]  # fmt: skip
    network = graph(nodes, edges)
    agree(write(network), network, IMAGE)


def test_a_cycle_is_delayed_by_one_step(draw: Draw, write: Write) -> None:
    n = 30
    lif = nir.LIF(np.full(n, 4.0), np.full(n, 4.0), np.full(n, 0.05), np.ones(n))
    nodes = {
        "in": given(12), "w": nir.Affine(draw(n, 12), draw(n, by=0.1)), "lif": lif,
        "again": nir.Linear(draw(n, n)), "head": nir.Linear(draw(4, n)), "out": taken(4),
    }  # fmt: skip
    forth = [("in", "w"), ("w", "lif"), ("lif", "head"), ("head", "out")]
    edges = [*forth, ("lif", "again"), ("again", "lif")]
    network = graph(nodes, edges)
    agree(write(network), network, (12,), late={("again", "lif")})


@pytest.mark.parametrize("fused", [True, False])
def test_soft_reset_is_what_subtraction_gives(fused: bool, draw: Draw, write: Write) -> None:
    threshold = np.random.default_rng(0).uniform(0.3, 0.8, (20, 1, 1))
    weight = convolution(draw(20, 3, 3, 3), draw(20, by=0.1), padding=1)
    network = soft_reset(IMAGE, weight, threshold, (20, 8, 9))
    path = write(network)
    rng = np.random.default_rng(3)
    inputs = (rng.random((12, 2, *IMAGE)) < 0.3).astype(np.float32)
    told = Reference(network, {("back", "membrane")}).run(inputs)["spike"]
    with open_spiking(path, threads=2, fuse_resets=fused) as session:
        assert ("spike" in session.nodes) is not fused
        found = session.run(inputs, trace=["spike"])
    np.testing.assert_array_equal(found.traces["spike"].dense(), told)
    assert found.counts.spikes["spike"].sum() == told.sum() > 100


def test_a_loop_and_a_fused_neuron_differ_in_no_bit(draw: Draw, write: Write) -> None:
    """v - threshold + x, in this order, in both: also where sums fall on a threshold."""
    path = write(soft_reset((6,), nir.Affine(draw(40, 6), draw(40, by=0.1)), 0.1, (40,)))
    inputs = np.full((1, 6), 0.1, np.float32)
    both = []
    for fused in (True, False):
        with open_spiking(path, threads=1, fuse_resets=fused) as session:
            result = session.run(inputs, 200, trace=["spike"])
            both.append((result.traces["spike"].dense(), session.save().membranes["membrane"]))
    np.testing.assert_array_equal(both[0][0], both[1][0])
    level = np.float32(0.1)
    np.testing.assert_array_equal(both[0][1], both[1][1] - level * both[1][0][-1])


def below(threshold: float) -> np.float32:
    """What NIR's strict comparison needs so that equality fires."""
    return np.nextafter(np.float32(threshold), np.float32(0))


def test_rates_of_a_constant_current(write: Write) -> None:
    """Threshold 1, 8 steps: .3, .5, .99 and 1.4; half a threshold to begin with turns floor into rounding."""
    currents = np.array([[0.3, 0.5, 0.99, 1.4]], np.float32)
    for initial, rates in ((0.0, (0.25, 0.5, 0.875, 1.0)), (0.5, (0.25, 0.5, 1.0, 1.0))):
        network = soft_reset((4,), nir.Linear(np.eye(4, dtype=np.float32)), 1.0, (4,))
        network.nodes["spike"].threshold[:] = below(1 - initial)  # the membrane is counted from its start
        with open_spiking(write(network)) as session:
            np.testing.assert_array_equal(session.run(currents, 8).outputs["output"].mean(0)[0], rates)


def test_hand_computed_lif(write: Write) -> None:
    """tau 2, threshold 1: v = v + (x - v) / 2."""
    lif = nir.LIF(np.full(1, 2.0), np.ones(1), np.zeros(1), np.full(1, below(1)))
    with open_spiking(write(chain(given(1), lif, taken(1)))) as session:
        given_currents = np.array([1.5, 1.5, 1.5, 0.2, 3, -1, 2.5], np.float32).reshape(7, 1, 1)
        spikes, membranes = [], []
        for x in given_currents:
            spikes.append(session.step(x)["n2"][0, 0])
            membranes.append(session.save().membranes["n1"][0, 0])
        assert spikes == [0, 1, 0, 0, 1, 0, 1]
        np.testing.assert_allclose(membranes, [0.75, 0, 0.75, 0.475, 0, -0.5, 0], rtol=1e-6)
        constant = np.full((1, 1), 2.0, np.float32)
        assert session.run(constant, 6).outputs["n2"].ravel().tolist() == [1] * 6
        assert session.run(constant - np.float32(0.01), 6).outputs["n2"].ravel().tolist() == [0, 1] * 3


def test_equality_does_not_fire(write: Write) -> None:
    """NIR: z = 1 where v > v_threshold."""
    network = chain(given(1), fires(1), taken(1))
    with open_spiking(write(network)) as session:
        assert session.run(np.ones((1, 1), np.float32), 3).outputs["n2"].ravel().tolist() == [0, 1, 0]


def test_a_delay_within_a_cycle_gives_before_it_takes(write: Write) -> None:
    """One spike goes round in three steps: the delay's; the cycle has no other."""
    nodes = {
        "in": given(1), "cell": fires(1, threshold=0.5), "wait": nir.Delay(np.full(1, 3.0)), "out": taken(1),
    }  # fmt: skip
    network = graph(nodes, [("in", "cell"), ("cell", "wait"), ("wait", "cell"), ("cell", "out")])
    inputs = np.zeros((10, 1, 1), np.float32)
    inputs[0] = 1
    with open_spiking(write(network)) as session:
        found = session.run(inputs).outputs["out"].ravel()
    assert np.flatnonzero(found).tolist() == [0, 3, 6, 9]
