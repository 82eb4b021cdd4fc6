"""Placement: reaches against brute force, limits to the bit, messages of a refusal, ways on the mesh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paring_profiles.neuromorphic.chip import Chip, chip
from paring_profiles.neuromorphic.mapper import place
from paring_profiles.neuromorphic.network import network
from paring_profiles.neuromorphic.reach import members, reach, size, whole
from paring_profiles.neuromorphic.refusal import ChipRefused
from paring_runtimes.nir import Graph
from paring_runtimes.nir import nodes as nir

from .conftest import dense_graph, soft_reset

Make = Callable[..., Chip]


def conv(weight: np.ndarray, stride: int, padding: int, groups: int = 1, dilation: int = 1) -> nir.Conv2d:
    bias = np.zeros(len(weight), np.float32)
    return nir.Conv2d(weight, bias, (stride, stride), (padding, padding), (dilation, dilation), groups)


def chain(shape: tuple[int, int, int], *steps: Any) -> tuple[Graph, tuple[int, ...]]:
    """Input -> steps -> IF neurons -> output."""
    nodes: dict[str, Any] = {"input": nir.Input(shape)}
    edges, before = [], "input"
    for number, step in enumerate(steps):
        nodes[f"s{number}"] = step
        edges.append((before, f"s{number}"))
        before = f"s{number}"
    from paring_runtimes.nir import flatten, node_shapes

    probe = Graph({**nodes, "output": nir.Output((1,))}, (*edges,))
    out = node_shapes(flatten(Graph(nodes, tuple(edges))))[before][1]
    del probe
    nodes["n"] = nir.IF(np.ones(out, np.float32), np.ones(out, np.float32))
    nodes["output"] = nir.Output(out)
    return Graph(nodes, (*edges, (before, "n"), ("n", "output"))), out


def heard(graph: Graph, shape: tuple[int, int, int]) -> np.ndarray:
    """[targets, senders] bool by pushing single ones through torch's layers."""
    import torch
    from torch.nn import functional

    x = torch.eye(int(np.prod(shape))).reshape(-1, *shape)
    for name in (n for n in graph.nodes if n.startswith("s")):
        node = graph.nodes[name]
        if isinstance(node, nir.Conv2d):
            weight = torch.ones(node.weight.shape)
            x = functional.conv2d(x, weight, None, node.stride, node.padding, node.dilation, node.groups)
        else:
            assert isinstance(node, nir.AvgPool2d)
            x = functional.avg_pool2d(x, node.kernel_size, node.stride, node.padding)
    return (x.reshape(len(x), -1) != 0).numpy().T


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_reaches_are_those_of_the_layers(data: st.DataObject) -> None:
    side, channels = data.draw(st.integers(5, 9)), data.draw(st.sampled_from([1, 2, 4]))
    steps: list[Any] = []
    if data.draw(st.booleans()):
        window = data.draw(st.integers(1, 2))
        steps.append(nir.AvgPool2d((window, window), (window, window), (0, 0)))
    groups = data.draw(st.sampled_from([g for g in (1, 2) if channels % g == 0]))
    kernel, stride = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    padding = data.draw(st.integers(0, kernel // 2))
    if side // 2 + 2 * padding < kernel:
        return
    steps.append(conv(np.ones((4, channels // groups, kernel, kernel), np.float32), stride, padding, groups))
    graph, out = chain((channels, side, side), *steps)
    found = network(graph)
    one = reach(found, found.layers["n"].paths[0], out)
    truth = heard(graph, (channels, side, side))
    assert one.connections(whole(out)) == truth.sum()
    assert one.fan_in() == truth.sum(axis=1).max()
    box = tuple(sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)))) for n in out)
    block = tuple((a, b + 1) for a, b in box)
    targets = members(block, out)
    assert one.connections(block) == truth[targets].sum()
    senders = np.flatnonzero(truth[targets].any(axis=0))
    assert set(senders) <= set(members(one.senders(block), (channels, side, side)))
    if stride <= kernel and groups == 1:  # no holes: then the box is tight
        assert len(senders) == size(one.senders(block))


def test_zeros_are_no_connections_of_a_linear_layer() -> None:
    weight = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]])
    found = network(dense_graph(weight, np.ones((1, 2))))
    one = reach(found, found.layers["n0"].paths[0], (2,))
    assert one.connections(((0, 2),)) == 3
    assert one.connections(((1, 2),)) == 1
    assert one.fan_in() == 2


def test_each_layer_gets_cores_by_its_neurons(small_chip: Make) -> None:
    found = network(dense_graph(np.ones((10, 6)), np.ones((3, 10))))
    placed = place(found, small_chip(neurons=4))
    assert [[t.layer for t in core.tiles] for core in placed.cores] == [["n0"], ["n0"], ["n0"], ["output"]]
    assert placed.core_of["n0"].tolist() == [0] * 4 + [1] * 4 + [2] * 2
    assert placed.connections == {"n0": 60, "output": 30}
    assert placed.fan_in == {"n0": 6, "output": 10}


def test_memory_decides_to_the_bit(small_chip: Make) -> None:
    found = network(dense_graph(np.ones((8, 16)), np.ones((1, 8))))
    enough = place(found, small_chip(neurons=100, synapse_bits=8 * 16 * 8))
    assert len(enough.cores) == 2
    assert enough.cores[0].demand.synapse_bits == 8 * 16 * 8
    short = place(found, small_chip(neurons=100, synapse_bits=8 * 16 * 8 - 1))
    assert len(short.cores) == 3
    with pytest.raises(
        ChipRefused, match=r"n0: bits of synaptic memory for one neuron: needs 128, the chip has 127"
    ):
        place(found, small_chip(synapse_bits=127))


def test_a_shared_kernel_is_kept_once_an_unrolled_one_for_each_neuron(small_chip: Make) -> None:
    weight = np.ones((4, 2, 3, 3), np.float32)
    graph, _ = chain((2, 6, 6), conv(weight, 1, 0))
    found = network(graph)
    shared = place(found, chip("generic_45nm"))
    assert [core.demand.synapse_bits for core in shared.cores] == [4 * 2 * 9 * 8]
    unrolled = place(found, chip("generic_45nm").model_copy(update={"shared_convolution": False}))
    assert [core.demand.synapse_bits for core in unrolled.cores] == [4 * 16 * 2 * 9 * (8 + 10)]


def test_soft_reset_takes_two_compartments_on_loihi() -> None:
    soft = network(dense_graph(np.ones((600, 4)), np.ones((1, 600))))
    placed = place(soft, chip("loihi"))
    assert [core.demand.neurons for core in placed.cores] == [600, 600, 1]
    nodes = {
        "input": nir.Input((4,)),
        "fc": nir.Linear(np.ones((600, 4), np.float32)),
        "n": nir.IF(np.ones(600, np.float32), np.ones(600, np.float32)),
        "output": nir.Output((600,)),
    }
    hard = network(Graph(nodes, (("input", "fc"), ("fc", "n"), ("n", "output"))))
    assert [core.demand.neurons for core in place(hard, chip("loihi")).cores] == [600]


def test_too_large_a_network_is_told_how_many_chips(small_chip: Make) -> None:
    found = network(dense_graph(np.ones((40, 6)), np.ones((3, 40))))
    with pytest.raises(ChipRefused) as caught:
        place(found, small_chip(neurons=4, cores=5))
    (reason,) = caught.value.reasons
    assert (reason.needed, reason.available, reason.limit) == (11, 5, "cores")  # type: ignore[union-attr]
    assert "most for n0 10, output 1; 3 such chips would hold it" in str(caught.value)


def test_small_blocks_share_cores_where_there_are_too_few(small_chip: Make) -> None:
    found = network(dense_graph(np.ones((3, 2)), np.ones((3, 3)), np.ones((2, 3))))
    placed = place(found, small_chip(neurons=8, cores=1))
    assert placed.shared
    assert [t.layer for t in placed.cores[0].tiles] == ["n0", "n1", "output"]
    assert placed.routes["n0"].messages.tolist() == [0, 0, 0]
    with pytest.raises(ChipRefused, match="cores: needs 2, the chip has 1"):
        place(found, small_chip(neurons=7, cores=1))


def test_truenorth_takes_an_axon_for_each_sign_and_splits_neurons() -> None:
    fits = network(
        dense_graph(np.ones((200, 128)), np.ones((300, 128))[:, :128] @ np.ones((128, 200)), level=1.0)
    )
    with pytest.raises(ChipRefused, match=r"output: input lines for one neuron: needs 400, the chip has 256"):
        place(fits, chip("truenorth"))
    small = network(dense_graph(np.ones((100, 128)), np.ones((300, 100))))
    placed = place(small, chip("truenorth"))  # 300 outputs lie on two cores: each of n0 is held twice
    assert placed.copies == {"output": 1, "n0": 2}
    assert [core.demand.neurons for core in placed.cores] == [200, 150, 150]


def test_every_limit_that_is_broken_is_told() -> None:
    found = network(dense_graph(np.ones((20, 17)), np.ones((40, 20))))
    with pytest.raises(ChipRefused) as caught:
        place(found, chip("xylo_audio3"))
    assert "the network: inputs of the chip: needs 17, the chip has 16" in str(caught.value)
    assert "the network: outputs of the chip: needs 40, the chip has 32" in str(caught.value)
    assert caught.value.exit_code == 4


def test_messages_and_hops_by_hand(small_chip: Make) -> None:
    # n0: cores 0, 1 at (0, 0), (1, 0); output: core 2 at (2, 0), on a grid of one core a router.
    found = network(dense_graph(np.ones((4, 3)), np.ones((2, 4))))
    placed = place(found, small_chip(neurons=2))
    assert [core.router for core in placed.cores] == [(0, 0), (1, 0), (2, 0)]
    routes = placed.routes["n0"]
    assert routes.messages.tolist() == [1, 1, 1, 1]
    assert routes.hops_x.tolist() == [2, 2, 1, 1]
    assert routes.hops_y.tolist() == [0, 0, 0, 0]
    assert placed.farthest == (2, 0)


def test_the_second_row_runs_backwards(small_chip: Make) -> None:
    found = network(dense_graph(np.ones((34, 3)), np.ones((1, 34))))
    placed = place(found, small_chip(neurons=2))
    assert placed.cores[15].router == (15, 0)
    assert placed.cores[16].router == (15, 1)
    assert placed.cores[17].router == (14, 1)


def test_blocks_shrink_until_their_destinations_fit(small_chip: Make) -> None:
    found = network(dense_graph(np.ones((8, 3)), np.ones((6, 8))))
    wide = place(found, small_chip(neurons=8, synapse_bits=16 * 8))  # 6 outputs of 8: 3 cores of 2
    assert len(wide.cores) == 5
    narrow = place(found, small_chip(neurons=8, synapse_bits=16 * 8, destinations=6))
    counts = np.bincount(narrow.core_of["n0"])
    assert counts.max() == 2  # two neurons send to three cores each
    with pytest.raises(
        ChipRefused, match=r"n0: edges from neurons of a core to other cores: needs 3, the chip has 2"
    ):
        place(found, small_chip(neurons=8, synapse_bits=16 * 8, destinations=2))


def test_what_cannot_be_placed_is_named() -> None:
    graph = dense_graph(np.ones((4, 3)), np.ones((2, 4)))
    nodes = {**graph.nodes, "late": nir.Delay(np.ones(4, np.float32))}
    edges = [e for e in graph.edges if e != ("fc0", "n0")] + [("fc0", "late"), ("late", "n0")]
    with pytest.raises(
        ChipRefused, match=r"late: a Delay is not a node that can be placed; those are Input, Output"
    ):
        network(Graph(nodes, tuple(edges)))
    bad = dense_graph(np.array([[1.0, np.nan], [np.inf, 1.0]]), np.ones((1, 2)))
    with pytest.raises(ChipRefused, match=r"fc0: weight has 2 of 4 values that are NaN or infinite"):
        network(bad)
    nodes = {"input": nir.Input((2,)), "a": nir.Linear(np.ones((3, 2), np.float32))}
    nodes |= {"b": nir.Linear(np.ones((2, 3), np.float32)), "output": nir.Output((2,))}
    twice = Graph(nodes, (("input", "a"), ("a", "b"), ("b", "output")))
    with pytest.raises(ChipRefused, match=r"a -> b: no neurons between weights, before output"):
        network(twice)


def test_sums_of_two_ways_count_both(small_chip: Make) -> None:
    nodes: dict[str, Any] = {"input": nir.Input((3,)), "a": nir.Linear(np.ones((4, 3), np.float32))}
    edges = [("input", "a"), ("a", "n0")]
    first = soft_reset(nodes, edges, "n0", (4,))
    nodes |= {"b": nir.Linear(np.ones((4, 4), np.float32)), "output": nir.Output((4,))}
    edges += [(first, "b"), ("b", "n1"), (first, "n1")]
    edges.append((soft_reset(nodes, edges, "n1", (4,)), "output"))
    found = network(Graph(nodes, tuple(edges)))
    assert [path.weight for path in found.layers["n1"].paths] == ["b", ""]
    placed = place(found, small_chip())
    assert placed.connections["n1"] == 4 * 4 + 4  # a skip hears its own neuron
