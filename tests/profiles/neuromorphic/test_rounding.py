"""Whole numbers of one unit a layer; a rounded graph computes what integers would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paring_profiles.neuromorphic.chip import chip
from paring_profiles.neuromorphic.network import network
from paring_profiles.neuromorphic.refusal import ChipRefused
from paring_profiles.neuromorphic.rounding import best_unit, input_unit, rounded
from paring_runtimes.nir import Graph, write
from paring_runtimes.nir import nodes as nir
from paring_runtimes.spiking import open_spiking

from .conftest import dense_graph, soft_reset


def integers(first: np.ndarray, level: int, second: np.ndarray, x: np.ndarray, steps: int) -> tuple[Any, Any]:
    """Reference in int64: spikes [T, N] of a layer with soft reset, and outputs [T, M]."""
    v, spikes, outputs = np.zeros(len(first), np.int64), [], []
    for _ in range(steps):
        v = v + first @ x
        fired = v >= level
        v = v - level * fired
        spikes.append(fired)
        outputs.append(second @ fired.astype(np.int64))
    return np.array(spikes), np.array(outputs)


@pytest.mark.parametrize("name", ["loihi", "generic_45nm", "truenorth"])
def test_a_rounded_graph_computes_what_integers_do(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(30, 12)), rng.normal(size=(5, 30))
    found = network(dense_graph(first, second, level=2.0))
    image = rng.random(12).astype(np.float32)
    unit = input_unit(image)
    result = rounded(found, chip(name), {"input": unit})
    nodes = result.graph.nodes
    most = 2 ** (chip(name).limits.weight_bits.value - 1) - 1
    for weight, layer, real, gain in (("fc0", "n0", first, unit), ("fc1", "output", second, 1.0)):
        whole = nodes[weight].weight  # type: ignore[union-attr]
        assert np.array_equal(whole, np.round(whole))
        assert np.abs(whole).max() <= most
        inside = np.abs(real * gain) <= most * result.layers[layer].unit
        error = np.abs(whole * result.layers[layer].unit - real * gain)[inside]
        assert error.max() <= result.layers[layer].unit / 2 * (1 + 1e-6)
    level = int(-nodes["n0_back"].scale[0])  # type: ignore[union-attr]
    assert nodes["n0_spikes"].threshold[0] == level - 0.5  # type: ignore[union-attr]
    assert level == round(2.0 / result.layers["n0"].unit)
    x = np.round(image / unit).astype(np.int64)
    spikes, outputs = integers(
        nodes["fc0"].weight.astype(np.int64),
        level,
        nodes["fc1"].weight.astype(np.int64),
        x,
        20,  # type: ignore[union-attr]
    )
    assert 0 < spikes.mean() < 1
    file = tmp_path / "rounded.nir"
    write(file, result.graph)
    with open_spiking(file, threads=1) as session:
        run = session.run(x[None].astype(np.float32), 20, trace=("n0_spikes",))
    assert np.array_equal(run.traces["n0_spikes"].dense()[:, 0], spikes)
    assert np.array_equal(run.outputs["output"][:, 0], outputs)
    assert result.output_units == {"output": result.layers["output"].unit}


def test_powers_of_two_where_the_chip_shifts() -> None:
    found = network(dense_graph(np.random.default_rng(0).normal(size=(9, 9)), np.ones((2, 9))))
    for layer in rounded(found, chip("loihi"), {"input": 1.0}).layers.values():
        assert np.log2(layer.unit) == round(np.log2(layer.unit))


def test_more_bits_leave_less_error() -> None:
    weights = [np.random.default_rng(0).normal(size=10_000)]
    errors = []
    for bits in (2, 3, 4, 6, 8):
        most = 2 ** (bits - 1) - 1
        unit = best_unit(weights, most, power_of_two=False)
        errors.append(np.square(np.clip(np.round(weights[0] / unit), -most, most) * unit - weights[0]).mean())
    assert errors == sorted(errors, reverse=True)
    # The best ternary quantiser of a normal distribution (Max 1960) leaves 0.1902 of its power.
    assert errors[0] == pytest.approx(0.19, abs=0.01)
    assert errors[-1] < 2e-4


def test_equal_weights_are_exact() -> None:
    unit = best_unit([np.full(4, 0.3), np.array([-0.3, 0.0])], 1, power_of_two=False)
    assert unit == pytest.approx(0.3)


def test_spikes_keep_their_size_and_pictures_get_8_bits() -> None:
    assert input_unit(np.array([0.0, 2.5, -2.5])) == 2.5
    assert input_unit(np.array([0.0, 0.5, -2.54])) == pytest.approx(0.02)
    assert input_unit(np.zeros(3)) == 1.0


def test_biases_first_membranes_and_pools(tmp_path: Path) -> None:
    """A mean over windows before the weights, a bias, and a membrane that starts at half a threshold."""
    nodes: dict[str, Any] = {"input": nir.Input((1, 4, 4))}
    edges = [("input", "pool"), ("pool", "conv"), ("conv", "n")]
    nodes["pool"] = nir.AvgPool2d((2, 2), (2, 2), (0, 0))
    weight = np.array([[[[0.5]]], [[[-1.0]]]], np.float32)
    nodes["conv"] = nir.Conv2d(weight, np.array([0.25, 2.0], np.float32), (1, 1), (0, 0), (1, 1), 1)
    sender = soft_reset(nodes, edges, "n", (2, 2, 2), initial=0.5)
    nodes["output"] = nir.Output((2, 2, 2))
    edges.append((sender, "output"))
    result = rounded(network(Graph(nodes, tuple(edges))), chip("generic_45nm"), {"input": 1.0})
    unit = result.layers["n"].unit
    held = result.graph.nodes
    # A spike at the pool's input weighs a quarter: the membrane gets weight / 4 of it.
    assert np.array_equal(held["conv"].weight, np.round(weight / 4 / unit) * 4)  # type: ignore[union-attr]
    assert np.array_equal(held["conv"].bias, np.round(np.array([0.25, 2.0]) / unit))  # type: ignore[union-attr]
    assert np.unique(held["n_back"].scale).tolist() == [-round(1 / unit)]  # type: ignore[union-attr]
    assert np.unique(held["n_spikes"].threshold).tolist() == [round(0.5 / unit) - 0.5]  # type: ignore[union-attr]
    file = tmp_path / "rounded.nir"
    write(file, result.graph)
    x = np.zeros((3, 1, 1, 4, 4), np.float32)
    x[0, 0, 0, 0, :2] = 1  # two of the four of the first window
    with open_spiking(file, threads=1) as session:
        spikes = session.run(x, trace=("n_spikes",)).traces["n_spikes"].dense()[:, 0, :, 0, 0]
    # Channel 0: 0.5 + 0.25 + 0.25 fires, then 0.25, 0.5. Channel 1: 0.5 - 0.5 + 2, then 3, 4: one spike each.
    assert spikes.tolist() == [[1, 1], [0, 1], [0, 1]]


def test_a_scale_alone_is_a_weight() -> None:
    nodes: dict[str, Any] = {"input": nir.Input((3,)), "scale": nir.Scale(np.full(3, 0.5, np.float32))}
    edges = [("input", "scale"), ("scale", "n")]
    nodes["output"] = nir.Output((3,))
    edges.append((soft_reset(nodes, edges, "n", (3,)), "output"))
    result = rounded(network(Graph(nodes, tuple(edges))), chip("generic_45nm"), {"input": 1.0})
    added = result.graph.nodes["scale_to_n"].scale  # type: ignore[union-attr]
    assert added[0] * result.layers["n"].unit == pytest.approx(0.5)
    assert result.graph.nodes["scale"].scale.tolist() == [1, 1, 1]  # type: ignore[union-attr]


def test_scales_that_differ_are_refused() -> None:
    nodes: dict[str, Any] = {"input": nir.Input((2,)), "scale": nir.Scale(np.array([0.5, 1.0], np.float32))}
    edges = [("input", "scale"), ("scale", "n")]
    nodes["output"] = nir.Output((2,))
    edges.append((soft_reset(nodes, edges, "n", (2,)), "output"))
    with pytest.raises(ChipRefused, match=r"scale: scale has 2 values, from 0\.5 to 1; one is needed"):
        rounded(network(Graph(nodes, tuple(edges))), chip("loihi"), {"input": 1.0})


def test_how_wide_a_membrane_can_get() -> None:
    # 100 weights of the largest level 127, and a threshold of 127: 12,827 < 2^14, and a sign.
    found = network(dense_graph(np.ones((1, 100)), np.ones((1, 1)), level=1.0))
    nodes = dict(found.flat.nodes)
    assert nodes
    spikes = {"input": 1.0}
    result = rounded(found, chip("generic_45nm"), spikes)
    whole = float(result.graph.nodes["fc0"].weight[0, 0])  # type: ignore[union-attr]
    drive = 127 * 100 * whole  # an input may be as large as 8 bits tell
    assert result.layers["n0"].needs_bits == int(np.ceil(np.log2(drive + whole + 1))) + 1


def test_time_in_seconds_becomes_time_in_steps(tmp_path: Path) -> None:
    """A file of another simulator: dt = 1e-4, r = 1 / dt. Each step adds the current once."""
    nodes: dict[str, Any] = {"input": nir.Input((1,)), "fc": nir.Linear(np.array([[0.25]], np.float32))}
    nodes["n"] = nir.IF(np.full(1, 1e4, np.float32), np.full(1, 0.7, np.float32))
    nodes["output"] = nir.Output((1,))
    graph = Graph(nodes, (("input", "fc"), ("fc", "n"), ("n", "output")), {"dt": 1e-4})
    result = rounded(network(graph), chip("generic_45nm"), {"input": 1.0}, graph.metadata)
    assert result.layers["n"].unit * result.graph.nodes["fc"].weight[0, 0] == pytest.approx(0.25)  # type: ignore[union-attr]
    file = tmp_path / "rounded.nir"
    write(file, result.graph)
    with open_spiking(file, threads=1) as session:
        assert session.run(np.ones((6, 1, 1), np.float32)).counts.spikes["n"].tolist() == [0, 0, 1, 0, 0, 1]


def test_leaks_stay_as_they_are(tmp_path: Path) -> None:
    tau, r = np.full(1, 2e-3, np.float32), np.full(1, 2.0, np.float32)
    zero, level = np.zeros(1, np.float32), np.full(1, 0.9, np.float32)
    nodes: dict[str, Any] = {"input": nir.Input((1,)), "fc": nir.Linear(np.array([[0.5]], np.float32))}
    nodes |= {"n": nir.LIF(tau, r, zero, level, zero), "output": nir.Output((1,))}
    graph = Graph(nodes, (("input", "fc"), ("fc", "n"), ("n", "output")), {"dt": 1e-3})
    result = rounded(network(graph), chip("generic_45nm"), {"input": 1.0}, graph.metadata)
    counts = []
    for name, one in (("real", graph), ("rounded", result.graph)):
        file = tmp_path / f"{name}.nir"
        write(file, one)
        with open_spiking(file, threads=1) as session:
            counts.append(session.run(np.ones((12, 1, 1), np.float32)).counts.spikes["n"].tolist())
    assert counts[0] == counts[1]
    assert counts[0][:8] == [0, 0, 0, 1, 0, 0, 0, 1]  # 0.5, 0.75, 0.875, 0.9375
