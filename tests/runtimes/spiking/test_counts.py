"""Counts, against numbers counted by hand and against sums over dense tensors; by core too."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from spiking_graphs import chain, convolution, fires, flatten, given, graph, pool, soft_reset, taken

from paring_runtimes import InputError
from paring_runtimes.spiking import Placement, open_spiking

Draw, Write = Callable[..., np.ndarray], Callable[..., Path]


def test_a_small_network_counted_by_hand(write: Write) -> None:
    """3 inputs, 2 neurons, 2 outputs; one weight is missing."""
    first = np.array([[1, 1, 0], [1, 1, 1]], np.float32)  # input 2 has one connection, 0 and 1 have two
    second = np.array([[1, 1], [1, 0]], np.float32)  # neuron 0 has two, neuron 1 has one
    path = write(
        chain(given(3), nir.Linear(first), fires(2, threshold=1.5), nir.Linear(second), fires(2), taken(2))
    )
    inputs = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0]], np.float32)[:, None]
    with open_spiking(path) as session:
        counts = session.run(inputs).counts
    # Step 1: inputs 0 and 2 make currents 1 and 2: neuron 1 fires. Step 3: 0 and 1 bring 2 to each, so that
    # both fire.
    assert counts.spikes["n0"].tolist() == [2, 0, 2]
    assert counts.synops["n1"].tolist() == [2 + 1, 0, 2 + 2]
    assert counts.spikes["n2"].tolist() == [1, 0, 2]
    assert counts.synops["n3"].tolist() == [1, 0, 2 + 1]
    assert counts.neuron_updates["n2"].tolist() == [2, 0, 2]
    # Neuron 1 brings 1 to output 0 only, which is not above its threshold; at step 3 it has 3, the other 1.
    assert counts.spikes["n4"].tolist() == [0, 0, 1]
    assert counts.spikes_per_neuron["n2"].tolist() == [1, 2]
    assert counts.total_synops == 3 + 4 + 1 + 3
    assert counts.total_macs == 0


def test_a_convolution_counted_by_hand(write: Write) -> None:
    """3 x 3 over 3 x 3 with padding, 2 channels out: a corner reaches 4 places, an edge 6, the middle 9."""
    weight = np.ones((2, 1, 3, 3), np.float32)
    weight[1, 0, 1, 1] = 0  # the second channel lacks its middle
    path = write(
        chain(given(1, 3, 3), convolution(weight, padding=1, size=(3, 3)), fires(2, 3, 3), taken(2, 3, 3))
    )
    inputs = np.zeros((3, 1, 1, 3, 3), np.float32)
    inputs[0, 0, 0, 0, 0] = inputs[1, 0, 0, 0, 1] = inputs[2, 0, 0, 1, 1] = 1
    with open_spiking(path) as session:
        counts = session.run(inputs).counts
    assert counts.synops["n1"].tolist() == [4 + 3, 6 + 5, 9 + 8]
    assert counts.neuron_updates["n2"].tolist() == [8, 12, 18]


def test_real_inputs_are_multiplications(write: Write, draw: Draw) -> None:
    path = write(chain(given(5), nir.Affine(draw(7, 5), draw(7)), fires(7), nir.Linear(draw(2, 7)), taken(2)))
    real = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)
    with open_spiking(path) as session:
        each = session.run(real).counts
        once = session.run(real[0], 4).counts
    assert each.macs["n1"].tolist() == [7 * 5 * 3] * 4
    assert once.macs["n1"].tolist() == [7 * 5 * 3, 0, 0, 0]
    assert each.synops["n1"].sum() == once.synops["n1"].sum() == 0
    assert once.synops["n3"].sum() == once.spikes["n2"].sum() * 2 > 0
    assert once.neuron_updates["n2"].tolist() == [7 * 3] * 4


def _network(draw: Draw) -> Any:
    nodes = {
        "in": given(2, 8, 9), "c1": convolution(draw(6, 2, 3, 3), padding=1), "a": fires(6, 8, 9),
        "depth": convolution(draw(6, 1, 3, 3), padding=1, groups=6), "b": fires(6, 8, 9),
        "pool": pool(nir.SumPool2d, 2, 2), "flat": flatten(6, 4, 4), "d": nir.Linear(draw(70, 96)),
        "e": fires(70), "few": nir.Linear(draw(40, 70) * (np.random.default_rng(0).random((40, 70)) < 0.03)),
        "f": fires(40, threshold=0.1), "out": taken(40),
    }  # fmt: skip
    names = list(nodes)
    return graph(nodes, list(itertools.pairwise(names)))


def _dense_operations(weight: Any, spikes: np.ndarray, target: np.ndarray, cores: int) -> np.ndarray:
    """Operations [T, cores], by torch's own convolution of spikes with (weight != 0)."""
    torch = pytest.importorskip("torch")
    there = torch.from_numpy((weight.weight != 0).astype(np.float64))
    steps, batch = spikes.shape[:2]
    flat = torch.from_numpy(spikes.astype(np.float64)).flatten(0, 1)
    if there.ndim == 4:
        groups = int(weight.groups)
        reached = torch.nn.functional.conv2d(flat, there, padding=1, groups=groups)
    else:
        reached = flat.flatten(1) @ there.T
    each = reached.reshape(steps, batch, -1).sum(1).numpy()
    return np.stack([each[:, target == core].sum(1) for core in range(cores)], 1).astype(np.int64)


def test_by_core_it_is_what_dense_tensors_say(draw: Draw, write: Write) -> None:
    network, cores = _network(draw), 5
    rng = np.random.default_rng(2)
    inputs = (rng.random((6, 3, 2, 8, 9)) < 0.2).astype(np.float32)
    with open_spiking(write(network), threads=2) as session:
        shapes = session.neuron_shapes()
        core = {name: rng.integers(0, cores, int(np.prod(s))).astype(np.int32) for name, s in shapes.items()}
        result = session.run(inputs, placement=Placement(core, cores), trace=list(shapes))
    counts = result.counts
    dense = {name: events.dense() for name, events in result.traces.items()}
    pooled = dense["b"].reshape(6, 3, 6, 4, 2, 9)[..., :8].reshape(6, 3, 6, 4, 2, 4, 2).sum((4, 6))
    fed = {"c1": (inputs, "a"), "depth": (dense["a"], "b"), "d": (pooled, "e"), "few": (dense["e"], "f")}
    expected = np.zeros((6, cores), np.int64)
    for weight, (spikes, target) in fed.items():
        by_core = _dense_operations(network.nodes[weight], spikes, core[target], cores)
        np.testing.assert_array_equal(counts.synops[weight], by_core.sum(1), weight)
        expected += by_core
    np.testing.assert_array_equal(counts.core_synops, expected)
    sent = np.zeros((6, cores), np.int64)
    for name, spikes in dense.items():
        each = spikes.reshape(6, 3, -1).sum(1)
        sent += np.stack([each[:, core[name] == k].sum(1) for k in range(cores)], 1).astype(np.int64)
        np.testing.assert_array_equal(counts.spikes_per_neuron[name], each.sum(0))
    np.testing.assert_array_equal(counts.core_spikes, sent)
    assert all(counts.spikes[name].sum() > 0 for name in dense)
    updates = sum(series for series in counts.neuron_updates.values())
    np.testing.assert_array_equal(counts.core_updates.sum(1), updates)


def test_a_fused_loop_counts_under_both_names(draw: Draw, write: Write) -> None:
    path = write(soft_reset((5,), nir.Affine(draw(8, 5), draw(8)), 0.5, (8,)))
    inputs = np.ones((4, 1, 5), np.float32)
    with open_spiking(path) as session:
        placement = Placement({"membrane": np.zeros(8, np.int32)}, 1)
        counts = session.run(inputs, placement=placement).counts
    assert set(counts.spikes) == {"spike", "input"}
    assert set(counts.neuron_updates) == {"membrane"}
    assert counts.core_spikes.sum() == counts.spikes["spike"].sum() > 0
    assert counts.core_updates.tolist() == [[8]] * 4


@pytest.mark.parametrize(
    ("core", "match"),
    [
        ({"n9": np.zeros(4, np.int32)}, "no neuron node"),
        ({"n2": np.zeros(3, np.int32)}, r"needs int32 \[4\]"),
        ({"n2": np.zeros(4, np.int64)}, "needs int32"),
        ({"n2": np.full(4, 2, np.int32)}, "cores 2 to 2 of 2"),
    ],
)
def test_a_placement_that_does_not_fit_is_refused(core: Any, match: str, draw: Draw, write: Write) -> None:
    path = write(chain(given(3), nir.Linear(draw(4, 3)), fires(4), taken(4)))
    with open_spiking(path) as session, pytest.raises(InputError, match=match):
        session.run(np.ones((2, 1, 3), np.float32), placement=Placement(core, 2))
