"""What the lint finds, and that it finds nothing in what the transforms write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from models import build
from onnx import TensorProto, helper
from typer.testing import CliRunner

from paring.cli import app
from paring.transforms import token_merge, token_prune
from paring_exporters.formats.onnx import export
from paring_exporters.request import Request
from paring_exporters.tensorrt.lint import Report, lint, lint_file
from paring_exporters.tensorrt.lint.repairs import repaired
from paring_exporters.tensorrt.support import releases
from paring_runtimes.errors import InputError

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
STEPS = {
    "open": lambda model: model,
    "prune": lambda model: token_prune.apply(model, token_prune.Config(keep_ratio=0.6)),
    "merge": lambda model: token_merge.apply(model, token_merge.Config(r=5)),
}


def made(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int | str]]],
    outputs: dict[str, tuple[int, list[int | str] | None]],
    constants: dict[str, np.ndarray] | None = None,
    opset: int = 20,
) -> onnx.ModelProto:
    values = [
        [helper.make_tensor_value_info(name, *kind) for name, kind in side.items()]
        for side in (inputs, outputs)
    ]
    stored = [onnx.numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "test", *values, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def found(report: Report) -> set[tuple[str, str, str]]:
    return {(one.severity, one.rule, one.operator) for one in report.findings}


def masked() -> onnx.ModelProto:
    """tokens[scores > 0], as torch writes a boolean mask."""
    nodes = [
        helper.make_node("Greater", ["scores", "zero"], ["mask"]),
        helper.make_node("NonZero", ["mask"], ["where"], name="find"),
        helper.make_node("Transpose", ["where"], ["indices"]),
        helper.make_node("GatherND", ["tokens", "indices"], ["kept"]),
    ]
    inputs = {"scores": (FLOAT, [8]), "tokens": (FLOAT, [8, 4])}
    return made(nodes, inputs, {"kept": (FLOAT, None)}, {"zero": np.float32(0)})


def ranked(element: int = INT64, k: int = 4, **attributes: int) -> onnx.ModelProto:
    node = helper.make_node("TopK", ["x", "k"], ["best", "places"], name="rank", **attributes)
    outputs = {"best": (element, [2, k]), "places": (INT64, [2, k])}
    return made([node], {"x": (element, [2, 8000])}, outputs, {"k": np.array([k])})


@pytest.mark.parametrize("release", releases())
@pytest.mark.parametrize("step", STEPS)
def test_what_the_transforms_write_is_clean(step: str, release: str, tmp_path: Path) -> None:
    model = STEPS[step](build("timm ViT", depth=3))
    file = export(model, Request(torch.randn(2, 3, 32, 32)), tmp_path).entry
    report = lint_file(file, release)
    if step == "merge":  # it sorts the positions of the tokens that stay
        assert {one.rule for one in report.findings} == {"integers"}
        changed, done = repaired(onnx.load(file))
        assert len(done) == len(report.findings)
        assert_same(onnx.load(file), changed, np.random.default_rng(0).standard_normal((2, 3, 32, 32)))
        report = lint(changed, release)
    assert report.clean, report.findings
    assert report.nodes > 30
    assert report.table == release


def assert_same(model: onnx.ModelProto, changed: onnx.ModelProto, pixels: np.ndarray) -> None:
    feeds = {"pixel_values": pixels.astype(np.float32)}
    both = [onnxruntime.InferenceSession(m.SerializeToString()).run(None, feeds)[0] for m in (model, changed)]
    np.testing.assert_array_equal(*both)


def test_a_boolean_mask_is_named() -> None:
    report = lint(masked())
    assert found(report) == {("warning", "shapes", "NonZero")}
    (finding,) = report.findings
    assert finding.node == "find"
    assert "boolean mask" in finding.reason
    assert "TopK with a constant K" in finding.repair


def test_int64_top_k() -> None:
    report = lint(ranked())
    assert ("warning", "integers", "TopK") in found(report)
    assert ("warning", "integers", "input") in found(report)
    assert not lint(ranked(FLOAT)).findings


def test_restrictions_of_top_k() -> None:
    report = lint(ranked(FLOAT, k=4000, sorted=0))
    assert {(f.severity, f.reason.split(",")[0]) for f in report.findings} == {
        ("warning", "sorted is 0"),
        ("error", "K is 4000"),
    }


@pytest.mark.parametrize(("operator", "instead"), [("BitShift", "power of two"), ("Det", "determinant")])
def test_an_operator_that_is_not_taken(operator: str, instead: str) -> None:
    if operator == "BitShift":
        element, node = TensorProto.UINT8, helper.make_node("BitShift", ["x", "x"], ["y"], direction="LEFT")
        model = made([node], {"x": (element, [4])}, {"y": (element, [4])})
    else:
        model = made([helper.make_node("Det", ["x"], ["y"])], {"x": (FLOAT, [3, 3])}, {"y": (FLOAT, [])})
    (finding,) = [one for one in lint(model).errors if one.rule == "operators"]
    assert finding.operator == operator
    assert instead in finding.repair


def test_other_domains_and_opsets() -> None:
    node = helper.make_node("MatMulNBits", ["x"], ["y"], domain="com.microsoft", name="packed")
    model = made([node], {"x": (FLOAT, [4])}, {"y": (FLOAT, [4])}, opset=25)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    reasons = {one.node: one.reason for one in lint(model).errors}
    assert "com.microsoft::MatMulNBits" in reasons["packed"]
    assert reasons["opset"] == "opset 25, and TensorRT 11.1 takes 9 to 24"
    assert "takes 9 to 20" in next(one.reason for one in lint(model, "10.9").errors if one.node == "opset")


def test_a_release_decides() -> None:
    model = made([helper.make_node("RMSNormalization", ["x", "s"], ["y"])], {"x": (FLOAT, [2, 4])},
                 {"y": (FLOAT, [2, 4])}, {"s": np.ones(4, np.float32)}, opset=23)  # fmt: skip
    assert lint(model, "11").clean
    assert any(one.operator == "RMSNormalization" for one in lint(model, "10.1").errors)


def test_k_from_data_is_told_and_from_a_shape_is_not() -> None:
    def counted(how: list[onnx.NodeProto]) -> onnx.ModelProto:
        nodes = [*how, helper.make_node("TopK", ["x", "k"], ["best", "places"], name="rank")]
        outputs = {"best": (FLOAT, None), "places": (INT64, None)}
        constants = {"two": np.array([2]), "one": np.array([1]), "minus": np.array([-1])}
        return made(nodes, {"x": (FLOAT, ["batch", 8])}, outputs, constants)

    by_shape = [
        helper.make_node("Shape", ["x"], ["sizes"], start=1),
        helper.make_node("Div", ["sizes", "two"], ["k"]),
    ]
    by_data = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["whole"], to=INT64),
        helper.make_node("Reshape", ["whole", "one"], ["k"]),
    ]
    assert lint(counted(by_shape)).clean
    assert found(lint(counted(by_data))) == {("warning", "shapes", "TopK")}


def test_a_shape_that_follows_from_a_mask_is_data() -> None:
    model = masked()
    graph = model.graph
    graph.node.extend(
        [
            helper.make_node("Shape", ["kept"], ["size"]),
            helper.make_node("ConstantOfShape", ["size"], ["zeros"], name="fill"),
        ]
    )
    graph.output.append(helper.make_tensor_value_info("zeros", FLOAT, None))
    assert ("warning", "shapes", "ConstantOfShape") in found(lint(model))


def test_a_shape_input_needs_a_profile() -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    model = made([node], {"x": (FLOAT, [4]), "shape": (INT64, [2])}, {"y": (FLOAT, None)})
    assert ("warning", "shapes", "Reshape") in found(lint(model))


def test_control_flow() -> None:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["a", "a"], ["b"]),
         helper.make_node("Identity", ["a"], ["seen"])],
        "body",
        [value("step", INT64, []), value("go", BOOL, []), value("a", FLOAT, [4])],
        [value("on", BOOL, []), value("b", FLOAT, [8]), value("seen", FLOAT, [4])],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["n", "", "x"], ["last", "all"], body=body, name="loop")
    model = made([loop], {"n": (INT64, []), "x": (FLOAT, [4])}, {"last": (FLOAT, None), "all": (FLOAT, None)})
    reasons = " ".join(one.reason for one in lint(model).errors)
    assert "'a' changes its shape" in reasons
    assert "how many steps" in reasons
    then = helper.make_graph([helper.make_node("Identity", ["x"], ["r"])], "t", [], [value("r", FLOAT, [4])])
    other = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["found"], name="inner"),
         helper.make_node("Cast", ["found"], ["q"], to=FLOAT)],
        "e", [], [value("q", FLOAT, [1, 4])],
    )  # fmt: skip
    node = helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other, name="choose")
    report = lint(made([node], {"c": (BOOL, []), "x": (FLOAT, [4])}, {"y": (FLOAT, None)}))
    assert any("rank 1 in one branch, 2 in the other" in one.reason for one in report.errors)
    assert any(one.node == "choose/else_branch/inner" for one in report.findings)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (helper.make_node("Resize", ["x", "", "s"], ["y"], mode="cubic"), "mode cubic"),
        (helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2], dilations=[2, 2]), "dilations"),
        (helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2]), "only the first is given"),
        (helper.make_node("CumSum", ["x", "axis"], ["y"]), "must be a constant"),
    ],
)
def test_restrictions_of_single_operators(node: onnx.NodeProto, said: str) -> None:
    outputs = {name: (INT64 if name == "i" else FLOAT, None) for name in node.output}
    inputs = {"x": (FLOAT, [1, 1, 8, 8]), "axis": (INT64, [])}
    model = made([node], inputs, outputs, {"s": np.ones(4, np.float32)})
    assert any(said in one.reason for one in lint(model).findings), lint(model).findings


def test_types() -> None:
    double = made([helper.make_node("Sin", ["x"], ["y"])], {"x": (TensorProto.DOUBLE, [4])},
                  {"y": (TensorProto.DOUBLE, [4])})  # fmt: skip
    assert all(one.severity == "warning" for one in lint(double).findings)
    assert lint(double).findings
    text = made([helper.make_node("Identity", ["x"], ["y"])], {"x": (TensorProto.STRING, [4])},
                {"y": (TensorProto.STRING, [4])})  # fmt: skip
    assert any("no type STRING" in one.reason for one in lint(text).errors)
    whole = made([helper.make_node("Gemm", ["x", "x"], ["y"])], {"x": (TensorProto.INT32, [4, 4])},
                 {"y": (TensorProto.INT32, [4, 4])})  # fmt: skip
    assert found(lint(whole)) == {("error", "types", "Gemm")}


def test_repairs_keep_what_is_computed() -> None:
    nodes = [
        helper.make_node("TopK", ["x", "k"], ["best", "places"], name="rank", sorted=0),
        helper.make_node("LayerNormalization", ["best", "scale"], ["level", "mean"]),
        helper.make_node("Neg", ["one"], ["axis"]),
        helper.make_node("ReduceMean", ["level", "axis"], ["y"]),
    ]
    constants = {"k": np.array([8]), "scale": np.ones(8, np.float32), "one": np.array([1])}
    model = made(nodes, {"x": (FLOAT, [2, 8])}, {"y": (FLOAT, [2, 1])}, constants)
    assert [one.reason[:11] for one in lint(model).findings] == ["sorted is 0"]
    changed, done = repaired(model)
    assert len(done) == 3
    assert lint(changed).clean, lint(changed).findings
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 8), dtype=np.float32)}
    both = [onnxruntime.InferenceSession(m.SerializeToString()).run(None, feeds)[0] for m in (model, changed)]
    np.testing.assert_allclose(both[0], both[1], atol=1e-6)
    assert [one.attribute[0].i for one in model.graph.node if one.op_type == "TopK"] == [0]


def test_the_command(tmp_path: Path) -> None:
    onnx.save(ranked(FLOAT, sorted=0, k=4000), tmp_path / "m.onnx")
    run = CliRunner().invoke(app(), ["lint-tensorrt", str(tmp_path / "m.onnx"), "--json"])
    assert run.exit_code == 4
    (report,) = json.loads(run.stdout)["reports"].values()
    assert report["findings"][0]["node"] == "rank"
    to = tmp_path / "repaired.onnx"
    run = CliRunner().invoke(app(), ["lint-tensorrt", str(tmp_path / "m.onnx"), "--repair", str(to)])
    assert "sorted set to 1" in run.stdout
    run = CliRunner().invoke(app(), ["lint-tensorrt", str(to), "--release", "10.16"])
    assert run.exit_code == 4
    assert "K is 4000" in run.stdout
    onnx.save(ranked(FLOAT), tmp_path / "good.onnx")
    run = CliRunner().invoke(app(), ["lint-tensorrt", str(tmp_path / "good.onnx")])
    assert run.exit_code == 0
    assert "clean" in run.stdout
    assert "no engine was built" in run.stdout


def test_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model" * 9)
    with pytest.raises(InputError, match="no ONNX model"):
        lint_file(tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"no table of TensorRT 8\.6"):
        lint(ranked(), "8.6")


# What a real parser and builder say: TensorRT for RTX, which need no GPU.
def rtx_takes(model: onnx.ModelProto) -> bool:
    trt = pytest.importorskip("tensorrt_rtx")
    log = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if not trt.OnnxParser(network, log).parse(model.SerializeToString()):
        return False
    return builder.build_serialized_network(network, builder.create_builder_config()) is not None


def pooled(**attributes: list[int]) -> onnx.ModelProto:
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], **attributes)
    return made([node], {"x": (FLOAT, [1, 1, 8, 8])}, {"y": (FLOAT, None)})


def unary(operator: str, element: int, shape: list[int | str]) -> onnx.ModelProto:
    return made([helper.make_node(operator, ["x"], ["y"])], {"x": (element, shape)}, {"y": (element, None)})


def product_of(element: int) -> onnx.ModelProto:
    node = helper.make_node("Gemm", ["x", "x"], ["y"])
    return made([node], {"x": (element, [4, 4])}, {"y": (element, [4, 4])})


@pytest.mark.parametrize(
    "model",
    [
        unary("Det", FLOAT, [3, 3]), product_of(TensorProto.INT32), pooled(dilations=[2, 2]),
        unary("Identity", TensorProto.STRING, [4]), ranked(FLOAT, k=4000),
    ],
)  # fmt: skip
def test_what_the_lint_calls_an_error_a_real_builder_refuses(model: onnx.ModelProto) -> None:
    assert lint(model, "11").errors
    assert not rtx_takes(model)


@pytest.mark.parametrize(
    "model",
    [
        ranked(FLOAT), ranked(INT64), ranked(FLOAT, sorted=0), product_of(FLOAT), pooled(),
        unary("Sin", TensorProto.DOUBLE, [4]), unary("Gelu", FLOAT, [4]),
    ],
)  # fmt: skip
def test_what_the_lint_lets_pass_a_real_builder_takes(model: onnx.ModelProto) -> None:
    assert not lint(model, "11").errors
    assert rtx_takes(model)
