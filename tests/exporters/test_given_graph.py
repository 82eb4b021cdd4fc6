"""ONNX graphs from elsewhere: what is fixed, folded, and compared with the file as it was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import paring_runtimes
from paring_exporters.formats import onnx as onnx_format
from paring_exporters.given import parity
from paring_exporters.given.feeds import random_feeds, read_feeds
from paring_exporters.given.graph import GivenGraph, GraphRequest, given_graph
from paring_runtimes.errors import ExportError


def write_switch(file: Path) -> Path:
    """`y` = 2 x where `mode` is 1, else x + 1: an `If` on an input of one number; sizes without names."""
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    one, two = (helper.make_tensor(name, TensorProto.FLOAT, [], [n]) for name, n in (("one", 1), ("two", 2)))
    double = helper.make_graph([helper.make_node("Mul", ["x", "two"], ["y"])], "double", [], [value], [two])
    raised = helper.make_graph([helper.make_node("Add", ["x", "one"], ["y"])], "raised", [], [value], [one])
    nodes = [
        helper.make_node("Equal", ["mode", "first"], ["is_first"], name="compare"),
        helper.make_node("If", ["is_first"], ["y"], name="switch", then_branch=double, else_branch=raised),
    ]
    graph = helper.make_graph(
        nodes,
        "switch",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3, "side"]),
            helper.make_tensor_value_info("mode", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3, "side"])],
        [helper.make_tensor("first", TensorProto.INT64, [], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, file)
    return file


@pytest.fixture
def switch(tmp_path: Path) -> Path:
    return write_switch(tmp_path / "switch.onnx")


def read(file: Path, **fix: float) -> GivenGraph:
    return given_graph(file, onnx.load(file), fix)


def exported(graph: GivenGraph, folder: Path, optimizer: str = "auto") -> tuple[Path, dict[str, object]]:
    done = onnx_format.export_graph(GraphRequest(graph, (), optimizer), folder)
    return done.entry, done.facts


def test_open_sizes_get_the_names_that_engines_know(switch: Path) -> None:
    graph = read(switch)
    assert [(spec.name, spec.dtype, spec.shape) for spec in graph.inputs] == [
        ("x", "float32", ("x_dim_0", 3, "side")),
        ("mode", "int64", ()),
    ]
    with paring_runtimes.load(switch, engine="onnxruntime") as session:
        assert session.inputs[0].shape == graph.inputs[0].shape


@pytest.mark.parametrize(("mode", "operator"), [(1, "Mul"), (7, "Add")])
def test_a_fixed_input_decides_its_branch(switch: Path, tmp_path: Path, mode: int, operator: str) -> None:
    graph = read(switch, mode=mode)
    assert [spec.name for spec in graph.inputs] == ["x"]
    (tmp_path / "out").mkdir()
    entry, facts = exported(graph, tmp_path / "out")
    assert [node.op_type for node in onnx.load(entry).graph.node] == [operator]
    assert facts["fixed"] == {"mode": mode}
    feeds = random_feeds(graph, (1, 2), {"side": (4, 5)}, (0,))
    assert [feed["x"].shape for feed in feeds] == [(1, 3, 4), (2, 3, 5)]
    with paring_runtimes.load(entry) as session:
        found = parity.compare(parity.references(graph, feeds), session, feeds)
    assert found.passed
    assert found.failure() is None
    assert found.samples == 2


def test_an_open_branch_stays_and_both_sides_are_right(switch: Path, tmp_path: Path) -> None:
    graph = read(switch)
    entry, _ = exported(graph, tmp_path)
    assert "If" in {node.op_type for node in onnx.load(entry).graph.node}
    x = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    feeds = [{"x": x, "mode": np.array(mode)} for mode in (0, 1)]
    with paring_runtimes.load(entry) as session:
        assert parity.compare(parity.references(graph, feeds), session, feeds).passed
        np.testing.assert_array_equal(session.run(feeds[1])["y"], 2 * x)


def test_another_graph_does_not_pass(switch: Path, tmp_path: Path) -> None:
    doubled, raised = read(switch, mode=1), read(switch, mode=0)
    entry, _ = exported(raised, tmp_path)
    feeds = random_feeds(doubled, (1,), {"side": (4,)}, (0,))
    with paring_runtimes.load(entry) as session:
        found = parity.compare(parity.references(doubled, feeds), session, feeds)
    assert not found.passed
    assert "output y: max abs" in str(found.failure())


def test_a_fixed_size_is_a_size(switch: Path) -> None:
    graph = read(switch, side=4, x_dim_0=2)
    assert graph.inputs[0].shape == (2, 3, 4)
    assert graph.outputs[0].shape == ("y_dim_0", 3, 4)


@pytest.mark.parametrize(
    ("fix", "message"),
    [
        ({"sides": 4}, r"'sides' is neither an input nor an open size; there are mode, x, side, x_dim_0"),
        ({"side": 1.5}, r"side=1.5: a size is a whole number"),
        ({"x": 0}, r"input 'x' cannot be fixed while its size x_dim_0, side is open"),
    ],
)
def test_what_cannot_be_fixed_is_told(switch: Path, fix: dict[str, float], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        read(switch, **fix)


def test_sizes_that_are_not_said_are_asked_for(switch: Path) -> None:
    graph = read(switch)
    with pytest.raises(ExportError, match=r"leaves 'side' open.*verify\.sizes=.*switch\.onnx\?side=64"):
        random_feeds(graph, (1,), {}, (0,))
    with pytest.raises(ExportError, match=r"'width' is no open size .*side, x_dim_0"):
        random_feeds(graph, (1,), {"width": (3,), "side": (3,)}, (0,))


def test_given_inputs_are_read_by_name(switch: Path, tmp_path: Path) -> None:
    graph, file = read(switch), tmp_path / "inputs.npz"
    np.savez(file, x=np.ones((1, 3, 2), np.float32), mode=np.array(1))
    assert set(read_feeds(file, graph)) == {"x", "mode"}
    np.savez(file, x=np.ones((1, 3, 2), np.float32))
    with pytest.raises(ExportError, match=r"has x, and no mode"):
        read_feeds(file, graph)
    file.write_bytes(b"no archive")
    with pytest.raises(ExportError, match=r"no \.npz of arrays"):
        read_feeds(file, graph)


def test_a_file_that_does_not_run_is_told_with_the_inputs(switch: Path) -> None:
    graph = read(switch)
    wrong = [{"x": np.ones((1, 4, 2), np.float32), "mode": np.array(1)}]
    with pytest.raises(ExportError, match=r"does not run as it is.*x \[1, 4, 2\].*verify\.inputs"):
        parity.references(graph, wrong)


def test_weights_listed_as_inputs_are_weights(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2], [1, 2])
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "w", "y")]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "old", infos[:2], infos[2:], [weight]
    )
    file = tmp_path / "old.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=3), file)
    given = read(file)
    assert [spec.name for spec in given.inputs] == ["x"]
    (tmp_path / "out").mkdir()
    entry, _ = exported(given, tmp_path / "out")
    feeds = [{"x": np.array([5, 6], np.float32)}]
    with paring_runtimes.load(entry) as session:
        assert parity.compare(parity.references(given, feeds), session, feeds).passed
