"""NIR graphs as torch modules: the arithmetic of each node, cycles, delays, subgraphs, round trips."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("h5py")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from random_graphs import DT, graphs, same  # noqa: E402

from paring_exporters.nir_graph.discretisation import Reading  # noqa: E402
from paring_exporters.nir_graph.network import NirNetwork, spiking_nodes  # noqa: E402
from paring_runtimes.nir import Graph, NirRefused, read, write  # noqa: E402
from paring_runtimes.nir import nodes as nir  # noqa: E402

FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
ONE = np.ones(1, np.float32)


def chain(
    *middle: nir.Node, shape: tuple[int, ...] = (1,), given: tuple[int, ...] | None = None, **metadata
) -> Graph:
    nodes = {"in": nir.Input(shape), **{f"n{k}": node for k, node in enumerate(middle)}}
    nodes["out"] = nir.Output(given or shape)
    names = list(nodes)
    return Graph(nodes, tuple(itertools.pairwise(names)), metadata)


def answers(graph: Graph, values, reading: Reading | None = None):
    """[T] of one input -> [T] of one output."""
    network = NirNetwork(graph, reading)
    with torch.inference_mode():
        outputs, _ = network.run({"in": torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1)})
    return outputs["out"].flatten().tolist()


@FEW
@given(graph=graphs())
def test_a_graph_comes_back_from_torch_as_it_went_in(graph: Graph, tmp_path: Path) -> None:
    network = NirNetwork(graph)
    assert same(network.to_graph(), graph)
    write(tmp_path / "graph.nir", network.to_graph())
    again = NirNetwork(read(tmp_path / "graph.nir", own=True))
    assert network.dt == again.dt == DT
    generator = torch.Generator().manual_seed(0)
    inputs = {"in": torch.randn(6, 2, *network.shapes["in"][0], generator=generator)}
    with torch.inference_mode():
        wanted, seen = network.run(inputs, network.names)
        found, other = again.run(inputs, again.names)
    for name in network.names:
        assert torch.equal(seen[name], other[name]), name
        assert seen[name].shape[2:] == network.shapes[name][1]
    assert torch.equal(wanted["out"], found["out"])
    assert all(set(seen[name].unique().tolist()) <= {0.0, 1.0} for name in spiking_nodes(network))


@FEW
@given(graph=graphs())
def test_steps_are_the_run_and_keep_nothing(graph: Graph) -> None:
    network = NirNetwork(graph)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(5, 2, *network.shapes["in"][0], generator=generator)
    with torch.inference_mode():
        whole, _ = network.run({"in": inputs})
        state, kept = None, []
        for x in inputs:
            values, state = network.step({"in": x}, state)
            network.step({"in": x * 3}, state)  # another run from the same state changes nothing
            kept.append(values["out"])
        assert torch.equal(torch.stack(kept), whole["out"])


def test_trained_weights_go_back_into_the_graph() -> None:
    layer = nir.Affine(np.ones((1, 1)), np.zeros(1, np.float32))
    graph = chain(layer, nir.IF(ONE, ONE))
    network = NirNetwork(graph)
    with torch.no_grad():
        network.parts[1].bias.fill_(0.5)
    back = network.to_graph()
    assert back.nodes["n0"].bias.tolist() == [0.5]
    assert back.nodes["n0"].weight is layer.weight
    assert back.nodes["n1"] is graph.nodes["n1"]


def test_lif_by_hand() -> None:
    """v += dt/tau ((leak - v) + r x), then a spike and the reset."""
    two = 2 * ONE
    graph = chain(nir.LIF(two, ONE, 0 * ONE, np.nextafter(ONE, 0)), dt=1.0)
    # tau = 2, threshold 1 where equality fires: SpikeGPT's neuron
    assert answers(graph, [1.5, 1.5, 1.5, 0.2, 3, -1, 2.5]) == [0, 1, 0, 0, 1, 0, 1]
    assert answers(graph, [2.0] * 3) == [1, 1, 1]
    assert answers(graph, [1.99] * 4) == [0, 1, 0, 1]


def test_equality_does_not_fire_where_the_file_says_the_threshold_itself() -> None:
    assert answers(chain(nir.IF(ONE, ONE)), [0.5] * 6) == [0, 0, 1, 0, 0, 1]
    assert answers(chain(nir.IF(ONE, np.nextafter(ONE, 0))), [0.5] * 6) == [0, 1, 0, 1, 0, 1]


def test_cuba_lif_by_hand() -> None:
    four, eight = 4 * ONE, 8 * ONE
    graph = chain(nir.CubaLI(four, eight, eight, 0 * ONE, four), dt=1.0)
    i = v = 0.0
    wanted = []
    for x in (1.0, 0.0, 2.0, 0.0):
        i += (4 * x - i) / 4
        v += (8 * i - v) / 8
        wanted.append(v)
    assert answers(graph, [1.0, 0.0, 2.0, 0.0]) == pytest.approx(wanted, rel=1e-6)


def test_leak_resistance_and_reset_count() -> None:
    li = chain(nir.LI(2 * ONE, 3 * ONE, 1 * ONE), dt=1.0)
    assert answers(li, [1.0, 0.0]) == [2.0, 1.5]  # 0 + ((1 - 0) + 3)/2; 2 + ((1 - 2) + 0)/2
    hard = chain(nir.IF(ONE, ONE, -ONE), dt=1.0)
    assert answers(hard, [2.0, 1.5, 0.75]) == [1, 0, 1]  # from -1: 0.5, then 1.25


def test_files_without_v_reset_are_read_as_told() -> None:
    graph = chain(nir.IF(ONE, ONE), dt=1.0)
    values = [1.75, 0.5, 0.5]  # 0.75 is left by subtraction
    assert answers(graph, values) == [1, 0, 0]
    assert answers(graph, values, Reading(reset="subtract")) == [1, 1, 0]


def test_an_integrator_with_feedback_is_a_soft_reset_to_the_last_bit() -> None:
    """The loop against v += x; v -= threshold where v >= threshold, in float32."""
    rng = np.random.default_rng(0)
    size, threshold = 500, np.float32(0.3)
    values = rng.normal(0.15, 0.2, (200, size)).astype(np.float32)
    ones = np.ones(size, np.float32)
    nodes = {
        "in": nir.Input((size,)),
        "v": nir.I(ones),
        "s": nir.Threshold(np.nextafter(threshold * ones, 0)),
        "back": nir.Scale(-threshold * ones),
        "out": nir.Output((size,)),
    }
    edges = (("in", "v"), ("v", "s"), ("s", "back"), ("back", "v"), ("s", "out"))
    with torch.inference_mode():
        found, _ = NirNetwork(Graph(nodes, edges)).run({"in": torch.from_numpy(values)[:, None]})
    v = np.zeros(size, np.float32)
    for x, spikes in zip(values, found["out"][:, 0].numpy(), strict=True):
        v = v + x
        fired = v >= threshold
        v = np.where(fired, v - threshold, v)
        assert np.array_equal(spikes, fired)


def test_delays_count_steps_for_each_element() -> None:
    graph = chain(nir.Delay(np.array([0, 1e-4, 3e-4])), shape=(3,))
    network = NirNetwork(graph)
    x = torch.arange(1.0, 6.0).reshape(5, 1, 1).expand(5, 1, 3)
    outputs, _ = network.run({"in": x})
    assert outputs["out"][:, 0].T.tolist() == [[1, 2, 3, 4, 5], [0, 1, 2, 3, 4], [0, 0, 0, 1, 2]]


def test_a_delay_of_a_step_in_a_loop_is_one_step_and_not_two() -> None:
    nodes = {"in": nir.Input((1,)), "sum": nir.Scale(ONE), "d": nir.Delay(ONE), "out": nir.Output((1,))}
    edges = (("in", "sum"), ("sum", "d"), ("d", "sum"), ("sum", "out"))
    assert answers(Graph(nodes, edges, {"dt": 1.0}), [1, 0, 0, 2, 0]) == [1, 1, 1, 3, 3]


def test_edges_that_meet_are_summed_and_one_said_twice_counts_once() -> None:
    graph = chain(nir.Scale(2 * ONE), nir.Scale(ONE))
    edges = (*graph.edges, ("in", "n1"), ("in", "n1"))
    assert answers(replace(graph, edges=edges), [1.0]) == [3.0]


def test_pools_count_their_padding() -> None:
    for kind, wanted in ((nir.AvgPool2d, [0.25, 0.5, 0.25]), (nir.SumPool2d, [1.0, 2.0, 1.0])):
        graph = chain(kind((2, 2), (1, 1), (1, 1)), shape=(1, 2, 2), given=(1, 3, 3))
        outputs, _ = NirNetwork(graph).run({"in": torch.ones(1, 1, 1, 2, 2)})
        assert outputs["out"][0, 0, 0, 0].tolist() == wanted


@pytest.mark.parametrize(
    ("node", "metadata", "reading", "expected"),
    [
        (
            nir.LIF(1e-5 * ONE, ONE, ONE, ONE),
            {},
            None,
            "node n0: tau is 1e-05, shorter than a step, dt = 0.0001",
        ),
        (
            nir.Delay(0.00015 * ONE),
            {},
            None,
            r"node n0 \(Delay\): delay 0.00015, expected whole numbers of steps",
        ),
        (nir.Delay(-ONE), {"dt": 1.0}, None, "expected whole numbers of steps"),
        (
            nir.IF(10000 * ONE, ONE),
            {},
            None,
            "node n0: r is 10000, which speaks of a step in seconds.*dt=0.0001",
        ),
        (nir.IF(ONE, ONE), {"steps": 0}, None, "steps: 0, expected at least 1"),
        (nir.IF(ONE, ONE), {"steps": 4, "coding": "morse"}, None, "'morse', expected one of constant"),
        (nir.IF(ONE, ONE), {}, {"dt": -1.0}, "dt: -1.0, expected above 0"),
        (nir.IF(ONE, ONE), {}, {"reset": "soft"}, "reset: 'soft', expected one of zero, subtract"),
    ],
)
def test_what_no_step_fits_is_told(node, metadata, reading, expected) -> None:
    with pytest.raises(NirRefused, match=expected):
        NirNetwork(chain(node, **metadata), Reading(**reading) if reading else None)


def test_inputs_that_do_not_fit_are_told() -> None:
    network = NirNetwork(chain(nir.IF(ONE, ONE)))
    with pytest.raises(NirRefused, match=r"inputs \['x'\], expected \['in'\]"):
        network.run({"x": torch.zeros(1, 1, 1)})
    with pytest.raises(NirRefused, match=r"input in: \[1, 2\], expected \[B, \*\[1\]\]"):
        network.run({"in": torch.zeros(1, 1, 2)})
