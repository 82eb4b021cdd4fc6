"""NIR files: what is written is read again, by this reader and by the package `nir`; wrong files are told."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from random_graphs import graphs, neurons, same  # noqa: E402

from paring_runtimes.artifact import hash_files, write_manifest  # noqa: E402
from paring_runtimes.manifest import Manifest  # noqa: E402
from paring_runtimes.nir import (  # noqa: E402
    NODE_TYPES,
    Graph,
    NirRefused,
    flatten,
    node_shapes,
    probing,
    read,
    write,
)
from paring_runtimes.nir import nodes as nir  # noqa: E402
from paring_runtimes.nir.flat import schedule  # noqa: E402
from paring_runtimes.nir.probing import probe, vouched_for  # noqa: E402

FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def small(**changes: object) -> Graph:
    """input -> layer -> lif -> output, with a feedback."""
    ones = np.ones(3, np.float32)
    nodes = {
        "input": nir.Input((2,)),
        "layer": nir.Affine(np.ones((3, 2), np.float32), ones),
        "lif": nir.LIF(ones, ones, ones, ones),
        "back": nir.Linear(np.eye(3, dtype=np.float32)),
        "output": nir.Output((3,)),
    }
    edges = (("input", "layer"), ("layer", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output"))
    return replace(Graph(nodes, edges), **changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write(tmp_path / "graph.nir", small())
    return tmp_path / "graph.nir"


@FEW
@given(graph=graphs())
def test_nothing_is_lost_on_the_way(graph: Graph, tmp_path: Path) -> None:
    write(tmp_path / "graph.nir", graph)
    again = read(tmp_path / "graph.nir", own=True)
    assert same(graph, again)
    assert list(again.nodes) == list(graph.nodes)
    first = (tmp_path / "graph.nir").read_bytes()
    write(tmp_path / "graph.nir", again)
    assert (tmp_path / "graph.nir").read_bytes() == first


def test_every_type_of_node_is_among_the_random_ones() -> None:
    from random_graphs import layers

    rng = np.random.default_rng(0)
    made = {
        *neurons(rng, (3,)),
        *(kind for shape in ((3,), (2, 9), (2, 6, 5)) for kind in layers(rng, shape)),
    }
    assert made | {"Input", "Output"} == set(NODE_TYPES)


@FEW
@given(graph=graphs(depth=0))
def test_the_package_nir_reads_the_same_numbers(graph: Graph, tmp_path: Path) -> None:
    package = pytest.importorskip("nir")
    newer = [
        key for node in graph.nodes.values() for key in ("v_reset",) if getattr(node, key, None) is not None
    ]
    if newer or any(isinstance(node, nir.CubaLI) for node in graph.nodes.values()):
        return  # 1.0.4 does not know them
    if any(getattr(node, "input_shape", ()) is None for node in graph.nodes.values()):
        return  # the package wants the size that a convolution reads
    write(tmp_path / "graph.nir", replace(graph, metadata={}))
    theirs = package.read(tmp_path / "graph.nir")
    assert list(theirs.nodes) == list(graph.nodes)
    assert theirs.edges == list(graph.edges)
    for name, node in graph.nodes.items():
        assert type(theirs.nodes[name]).__name__ == type(node).__name__
        for key, value in vars(node).items():
            if isinstance(value, np.ndarray):
                assert np.array_equal(getattr(theirs.nodes[name], key), value)


def test_files_of_the_package_nir_are_read(tmp_path: Path) -> None:
    package = pytest.importorskip("nir")
    ones = np.ones((2, 3, 3), np.float32)
    graph = package.NIRGraph.from_list(
        package.Input({"input": np.array([1, 6, 6])}),
        package.Conv2d((6, 6), np.ones((2, 1, 3, 3), np.float32), 2, 1, 1, 1, np.zeros(2, np.float32)),
        package.IF(r=ones, v_threshold=ones),
        package.SumPool2d(np.array([2, 2]), np.array([1, 1]), np.array([0, 0])),
        package.Flatten({"input": np.array([2, 2, 2])}, 0, -1),
        package.Affine(np.ones((4, 8)), np.ones(4)),
        package.CubaLIF(*(np.ones(4) for _ in range(5))),
    )
    package.write(tmp_path / "theirs.nir", graph)
    ours = read(tmp_path / "theirs.nir")
    assert {type(node).__name__ for node in ours.nodes.values()} == {
        type(n).__name__ for n in graph.nodes.values()
    }
    found = node_shapes(ours)
    assert found["conv2d"][1] == (2, 3, 3)
    assert found["output"][1] == (4,)
    assert isinstance(ours.nodes["affine"], nir.Affine)
    assert ours.nodes["affine"].weight.dtype == np.float64


def test_an_edge_that_closes_a_cycle_is_the_one_back() -> None:
    plan = schedule(flatten(small()))
    assert plan.delayed == {("back", "lif")}
    assert plan.order.index("layer") < plan.order.index("lif") < plan.order.index("back")


def test_an_edge_into_a_delay_closes_no_cycle() -> None:
    graph = small()
    nodes = {**graph.nodes, "back": nir.Delay(np.ones(3))}
    plan = schedule(flatten(replace(graph, nodes=nodes)), late={"back"})
    assert plan.delayed == set()
    assert plan.order.index("back") < plan.order.index("lif")


def test_subgraphs_are_laid_out_by_path() -> None:
    inner = Graph({"a": nir.Input((3,)), "b": nir.Output((3,))}, (("a", "b"),))
    graph = Graph(
        {"input": nir.Input((3,)), "block": inner, "output": nir.Output((3,))},
        (("input", "block"), ("block", "output"), ("block", "output")),
    )
    flat = flatten(graph)
    assert list(flat.nodes) == ["input", "block.a", "block.b", "output"]
    assert flat.edges == (("input", "block.a"), ("block.b", "output"), ("block.a", "block.b"))
    assert (flat.inputs, flat.outputs) == (("input",), ("output",))


def _layer(weight: tuple[int, ...] = (3, 2), bias: int = 3) -> nir.Affine:
    return nir.Affine(np.ones(weight, np.float32), np.ones(bias, np.float32))


@pytest.mark.parametrize(
    ("name", "node", "expected"),
    [
        (
            "layer",
            _layer((3, 5)),
            r"node layer \(Affine\): weight of shape \[3, 5\] takes \[5\]; input brings \[2\]",
        ),
        ("layer", _layer(bias=4), r"node layer \(Affine\): bias of shape \[4\], expected \[3\]"),
        ("layer", nir.Affine(np.ones((1, 3, 2)), np.ones(3)), "expected 2 axes"),
        (
            "lif",
            nir.IF(np.ones(4), np.ones(4)),
            r"node lif \(IF\): r of shape \[4\], expected that of its input",
        ),
        ("layer", nir.SumPool2d((2, 2), (2, 2), (0, 0)), r"takes \[C, H, W\]; input brings \[2\]"),
        ("layer", nir.Flatten(0, -1, (5,)), r"input_type \[5\], expected \[2\]"),
        ("output", nir.Output((7,)), r"node output \(Output\): shape \[7\]"),
        (
            "back",
            _layer((4, 3), 4),
            r"node lif \(LIF\): takes \[3\], and back, which closes a cycle, brings \[4\]",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_told(name: str, node: nir.Node, expected: str, tmp_path: Path) -> None:
    graph = small()
    with pytest.raises(NirRefused, match=expected):
        write(tmp_path / "graph.nir", replace(graph, nodes={**graph.nodes, name: node}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"edges": (*small().edges, ("lif", "nowhere"))}, "edge lif -> nowhere: no node 'nowhere'"),
        ({"edges": small().edges[1:]}, r"node layer \(Affine\): no edge leads to it"),
        ({"edges": (*small().edges, ("output", "lif"))}, "node output: no edge leaves an Output"),
        ({"edges": (*small().edges, ("lif", "input"))}, "node input: an Input takes no edge"),
        ({"nodes": {"input": nir.Input((2,))}, "edges": ()}, "0 nodes of type Output"),
        (
            {"nodes": {**small().nodes, "a/b": _layer()}, "edges": (*small().edges, ("input", "a/b"))},
            "node 'a/b': a name is text without '/'",
        ),
    ],
)
def test_edges_to_nowhere_are_told(changes: dict[str, object], expected: str, tmp_path: Path) -> None:
    with pytest.raises(NirRefused, match=expected):
        write(tmp_path / "graph.nir", small(**changes))
    assert not list(tmp_path.iterdir())


def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    graph = small()
    bad = nir.Affine(np.array([[1, np.nan]] * 3, np.float32), np.ones(3, np.float32))
    (tmp_path / "graph.nir").write_text("what was there")
    with pytest.raises(NirRefused, match=r"node layer \(Affine\): weight holds NaN"):
        write(tmp_path / "graph.nir", replace(graph, nodes={**graph.nodes, "layer": bad}))
    assert (tmp_path / "graph.nir").read_text() == "what was there"
    assert len(list(tmp_path.iterdir())) == 1


def _spoil(file: Path, key: str, value: object = None) -> None:
    with h5py.File(file, "r+") as opened:
        if key in opened:
            del opened[key]
        if value is not None:
            opened[key] = value


LIF = r"graph\.nir: node lif \(LIF\)"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("node/nodes/lif/tau", None, f"{LIF}: no 'tau'"),
        ("node/nodes/lif/type", "LIFF", r"node lif: unknown type 'LIFF' \(did you mean 'LIF'\?\)"),
        ("node/nodes/lif/type", None, "node lif: no 'type'"),
        ("node/nodes/lif/v_tresh", np.ones(3), rf"{LIF}: unknown key 'v_tresh'"),
        ("node/nodes/lif/tau", np.array([1, np.nan, 1]), rf"{LIF}: tau: nan at \[1\], expected finite"),
        ("node/nodes/lif/tau", "fast", f"{LIF}: tau: dtype"),
        ("node/nodes/lif/tau", np.ones(4), rf"{LIF}: tau of shape \[4\]"),
        ("node/nodes/lif", None, "edge layer -> lif: no node 'lif'"),
        ("node/nodes/lif", np.ones(3), "node lif: lif is no group"),
        (
            "node/nodes/output/shape",
            np.array([1.5]),
            r"node output \(Output\): shape: .*expected whole numbers",
        ),
        ("node/edges", np.array(["a", "b"], dtype=object), r"edges of shape \[2\], expected \[edges, 2\]"),
        ("node/edges", np.ones((2, 2)), "edges that are no text"),
        ("node/edges", None, "the graph: no 'edges'"),
        ("node/type", "IF", "unknown key"),
        ("node", None, "no group 'node'"),
    ],
)
def test_wrong_files_are_told_with_file_and_node(file: Path, key: str, value: object, expected: str) -> None:
    _spoil(file, key, value)
    with pytest.raises(NirRefused, match=expected) as refused:
        read(file)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_file_of_nir_is_told(tmp_path: Path, file: Path) -> None:
    (tmp_path / "text.nir").write_text("not HDF5")
    (tmp_path / "cut.nir").write_bytes(file.read_bytes()[:3000])
    for name in ("text.nir", "cut.nir", "none.nir"):
        with pytest.raises(NirRefused, match=name):
            read(tmp_path / name)


def test_links_out_of_the_file_are_refused(file: Path, tmp_path: Path) -> None:
    for link in (h5py.ExternalLink(str(tmp_path / "other.h5"), "/x"), h5py.SoftLink("/version")):
        _spoil(file, "node/nodes/lif/tau", link)
        with pytest.raises(NirRefused, match=f"{LIF}: tau is a link"):
            read(file)


def test_graphs_without_end_are_refused(file: Path) -> None:
    with h5py.File(file, "r+") as opened:
        opened["node/nodes/again"] = opened["node"]
    with pytest.raises(NirRefused, match="graphs within graphs"):
        read(file)


def test_damaged_files_are_refused_or_read_and_end_no_process(file: Path) -> None:
    """libhdf5 crashes on some: those end a process of their own."""
    whole, random = file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(6):
        damaged = bytearray(whole)
        for at in random.integers(0, len(whole), 12):
            damaged[at] = int(random.integers(0, 256))
        file.write_bytes(damaged)
        try:
            read(file)
        except NirRefused as error:
            refused += str(file) in str(error)
    assert refused > 0


ENDLESS = """
from paring_runtimes.nir import probing, reading

def endless(*given, **told):
    while True:
        pass

reading.read = endless
probing.attempt(sys.argv[1], int(sys.argv[2]))
"""


def test_reading_that_does_not_end_or_crashes_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE", "import sys; sys.path[:] = sys.argv[3:]" + ENDLESS)
    with pytest.raises(NirRefused, match="does not end within 1 s"):
        probe(file, limit_s=1)
    monkeypatch.setattr(probing, "PROBE", "import os; os.abort()")
    with pytest.raises(NirRefused, match=r"graph.nir: a damaged HDF5 file: reading it ends the process"):
        read(file)


def test_a_file_that_a_manifest_vouches_for_is_read_at_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "PROBE", "import os; os.abort()")
    write_manifest(file.parent, Manifest("nir", file.name, (), (), hash_files(file.parent)))
    assert vouched_for(file)
    assert same(read(file), small())
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(NirRefused, match="ends the process"):
        read(file)


def test_importing_it_imports_neither_torch_nor_h5py() -> None:
    code = "import sys, paring_runtimes.nir\nassert not {'torch', 'h5py', 'nir'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
