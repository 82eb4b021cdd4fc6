"""Conversions into other precisions, on the small ViT: what is rewritten, what it costs, what is refused."""

from __future__ import annotations

import platform
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import paring
import paring_runtimes
from paring_exporters.onnx_graph.quantize import Scheme, quantise
from paring_exporters.tensorrt.lint import lint_file
from paring_runtimes.artifact import read_manifest
from paring_runtimes.errors import ExportError, GateError, RecipeError

VERIFY = {"batch_sizes": [1, 2], "seeds": [0]}
PRUNED = [{"token_prune": {"blocks": [1]}}]


@pytest.fixture
def images(tmp_path: Path) -> dict:
    file = tmp_path / "images.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (24, 28, 28), np.uint8)
    np.savez(file, images=pixels, labels=np.zeros(24, np.int64))
    return {"source": f"npz:{file}", "limit": 24}


def converted(factories: Path, folder: Path, precision: str, **more):  # type: ignore[no-untyped-def]
    export = {"precision": precision, "quantize": more.pop("quantize", {})}
    return paring.convert(
        f"py:{factories}:vit", folder, transforms=PRUNED, export=export, verify=VERIFY, **more
    )


@pytest.mark.parametrize(
    ("precision", "node", "least_db"),
    [
        ("int8", "MatMulInteger", 20),
        ("int8_static", "DequantizeLinear", 20),
        ("fp8", "DequantizeLinear", 15),
        ("int4", "MatMulNBits", 8),
    ],
)
def test_products_are_integers_and_the_cost_is_told(
    factories: Path, tmp_path: Path, images: dict, precision: str, node: str, least_db: float
) -> None:
    calibration = {"calibration": images} if precision in ("int8_static", "fp8") else {}
    done = converted(factories, tmp_path / "out", precision, **calibration)
    manifest = read_manifest(done.artifact)
    told = manifest.export["quantization"]
    assert manifest.export["precision"] == told["precision"] == precision
    kinds = [one.op_type for one in onnx.load(done.artifact / "model.onnx").graph.node]
    assert told["nodes"][node] == kinds.count(node) > 0
    before, after = told["weights_bytes"]
    assert after < before
    assert told["snr_db"]["median"] > least_db
    assert told["compared_on"] == ("calibration images" if calibration else "random inputs")
    assert told["calibration_samples"] == (24 if calibration else 0)
    assert manifest.parity["precision"] == "fp32"
    assert read_manifest(done.baseline).export["precision"] == "fp32"
    with paring_runtimes.load(done.artifact) as ours, paring_runtimes.load(done.baseline) as plain:
        name, shape = ours.inputs[0].name, (3, *ours.inputs[0].shape[1:])
        pixels = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
        (found,), (wanted,) = (side.run({name: pixels}).values() for side in (ours, plain))
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() > 0


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_sixteen_bits_are_measured_on_images_and_answer(
    factories: Path, tmp_path: Path, images: dict, precision: str
) -> None:
    done = converted(factories, tmp_path / "out", precision, calibration=images, data=images)
    manifest = read_manifest(done.artifact)
    told = manifest.export["quantization"]
    assert told["nodes"][precision] > 30
    assert told["calibration_samples"] == 24
    # Nothing is large; timm's class token begins at 1e-6, where fp16 has few bits.
    assert {one["operator"] for one in told["kept"]} <= {"Expand"}
    assert told["snr_db"]["median"] > (35 if precision == "fp16" else 15)
    assert manifest.quality["after"] == pytest.approx(manifest.quality["before"], abs=0.5)
    assert any(precision in note for note in done.notes)
    graph = onnx.load(done.artifact / "model.onnx").graph
    assert {one.type.tensor_type.elem_type for one in (*graph.input, *graph.output)} == {1}
    assert lint_file(done.artifact / "model.onnx").clean
    assert read_manifest(done.baseline).export["precision"] == "fp32"


@pytest.fixture(scope="module")
def exported(factories: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pruned ViT in fp32, and with shift layers in two flavours."""
    folder = tmp_path_factory.mktemp("exported")
    made = {}
    for name, steps, shift in (
        ("pruned", PRUNED, "auto"),
        ("float", ["shift_linear"], "float"),
        ("dequantize", ["shift_linear"], "dequantize"),
    ):
        export = {"shift": shift, "baseline": False}
        done = paring.convert(
            f"py:{factories}:vit", folder / name, transforms=steps, export=export, verify=VERIFY
        )
        made[name] = done.artifact / "model.onnx"
    return made


def rewritten(file: Path, folder: Path, scheme: Scheme) -> Path:
    """A copy of a graph in another precision, fitted to random images with a few strong pixels."""
    folder.mkdir(exist_ok=True)
    entry = Path(shutil.copy(file, folder))
    pixels = np.random.default_rng(0).standard_normal((16, 1, 28, 28)).astype(np.float32)
    pixels[0, 0, :2, :2] *= 30
    quantise(entry, scheme, [pixels])
    return entry


@pytest.mark.parametrize(("activations", "clean"), [("uint8", False), ("int8", True)])
def test_static_integers_of_onnx_runtime_and_of_tensorrt(
    exported: dict[str, Path], tmp_path: Path, activations: str, clean: bool
) -> None:
    entry = rewritten(exported["pruned"], tmp_path, Scheme("int8_static", activations=activations))
    found = lint_file(entry)
    assert found.clean is clean
    # Operators of TensorRT's table take no unsigned input, which both rules say.
    assert {one.rule for one in found.findings} <= (set() if clean else {"quantization", "restrictions"})
    graph = onnx.load(entry).graph
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    read = [stored.get(n.input[0]) for n in graph.node if n.op_type == "DequantizeLinear"]
    weights = [one.astype(int) for one in read if one is not None and one.dtype == np.int8 and one.ndim > 1]
    most = max(int(np.abs(one).max()) for one in weights)
    assert most == (64 if activations == "uint8" else 127)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="of ONNX Runtime on x86")
def test_onnx_runtime_multiplies_every_constant_product_in_integers(
    exported: dict[str, Path], tmp_path: Path
) -> None:
    graph = onnx.load(exported["pruned"]).graph
    weights = {one.name for one in graph.initializer}
    products = [n for n in graph.node if n.op_type in ("MatMul", "Gemm")]
    constant = sum(n.input[1] in weights for n in products)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    entry = rewritten(exported["pruned"], tmp_path, Scheme("int8_static"))
    onnxruntime.InferenceSession(entry, options, providers=["CPUExecutionProvider"])
    kinds = Counter(one.op_type for one in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert kinds["MatMulIntegerToFloat"] + kinds["QGemm"] == constant
    assert kinds["MatMul"] + kinds["FusedMatMul"] == len(products) - constant  # attention's


def test_calibration_is_a_choice(exported: dict[str, Path], tmp_path: Path) -> None:
    steps = {}
    for method in ("minmax", "entropy", "percentile"):
        entry = rewritten(exported["pruned"], tmp_path / method, Scheme("int8_static", method=method))
        graph = onnx.load(entry).graph
        stored = {one.name: one for one in graph.initializer}
        scales = [stored[n.input[1]] for n in graph.node if n.op_type == "QuantizeLinear"]
        steps[method] = np.array([onnx.numpy_helper.to_array(one).item() for one in scales])
    assert (steps["percentile"] < steps["minmax"]).all()  # it cuts tails, here of few values
    assert not np.allclose(steps["percentile"], steps["minmax"], rtol=1e-4)
    assert (steps["entropy"] <= steps["minmax"] * 1.01).all()
    assert steps["entropy"][0] < 0.5 * steps["minmax"][0]  # few strong pixels are cut off


@pytest.mark.parametrize(
    ("precision", "flavour"),
    [("int8", "float"), ("int8_static", "float"), ("int8_static", "dequantize"), ("fp8", "dequantize"),
     ("int4", "float")],
)  # fmt: skip
def test_shift_layers_are_left_as_they_are(
    exported: dict[str, Path], tmp_path: Path, precision: str, flavour: str
) -> None:
    """The four layers of both MLPs shift: not one is quantised, and of the others every one."""
    graph = onnx.load(rewritten(exported[flavour], tmp_path, Scheme(precision))).graph
    makers = {name: one for one in graph.node for name in one.output}
    kinds = Counter(one.op_type for one in graph.node)
    rounded = [
        one
        for one in graph.node
        if one.op_type in ("MatMul", "Gemm") and _kind(makers.get(one.input[0])) == "DequantizeLinear"
    ]
    others = 2 * 4 + 1  # queries, keys, values and outputs of two blocks; the head
    assert kinds["MatMulInteger"] + len(rounded) == (0 if precision == "int4" else others)
    assert kinds["MatMulNBits"] == (others - 1 if precision == "int4" else 0)  # the head is a Gemm


def _kind(node: onnx.NodeProto | None) -> str:
    return "" if node is None else node.op_type


def test_a_gate_holds_the_accuracy_after_quantising(factories: Path, tmp_path: Path, images: dict) -> None:
    """Labels are what the fp32 model says, so that every answer that rounding changes is a loss."""
    model = f"py:{factories}:vit"
    plain = paring.convert(model, tmp_path / "plain", verify=VERIFY)
    pixels = np.load(images["source"].partition(":")[2])["images"]
    with paring_runtimes.load(plain.artifact) as session:
        name = session.inputs[0].name
        (answers,) = session.run({name: pixels[:, None] / np.float32(255)}).values()
        said = answers.argmax(1)
    file = tmp_path / "labelled.npz"
    np.savez(file, images=pixels, labels=said)
    data = {"source": f"npz:{file}", "mean": [0.0], "std": [1.0]}
    gates = [{"metric": "top1", "max_drop": 0.0}]
    told = []
    for precision, block in (("fp16", 32), ("int4", 256)):
        export = {"precision": precision, "quantize": {"block_size": block}}
        try:
            done = paring.convert(
                model, tmp_path / precision, export=export, verify=VERIFY, data=data, gates=gates
            )
            quality = done.manifest.quality
            told.append(quality["before"] - quality["after"])
        except GateError:
            told.append(1.0)
            assert not (tmp_path / precision).exists()
    assert told[0] == 0.0
    assert told[1] == 1.0


def test_names_keep_nodes_in_floats(factories: Path, tmp_path: Path) -> None:
    whole = converted(factories, tmp_path / "whole", "int8")
    graph = onnx.load(whole.baseline / "model.onnx").graph
    weights = {one.name for one in graph.initializer}
    kept = next(n.name for n in graph.node if n.op_type in ("MatMul", "Gemm") and n.input[1] in weights)
    less = converted(factories, tmp_path / "less", "int8", quantize={"exclude": [kept]})
    told = [read_manifest(done.artifact).export["quantization"]["nodes"] for done in (whole, less)]
    assert told[0]["MatMulInteger"] - told[1]["MatMulInteger"] == 1
    with pytest.raises(ExportError, match="exclude: no node 'nothing'; products are"):
        converted(factories, tmp_path / "none", "int8", quantize={"exclude": ["nothing"]})
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_in_integers_is_refused(factories: Path, tmp_path: Path, images: dict) -> None:
    with pytest.raises(RecipeError, match=r"int8_static needs images .* calibration: \{source"):
        converted(factories, tmp_path / "a", "int8_static")
    with pytest.raises(RecipeError, match="neither a transform of the recipe nor its precision"):
        converted(factories, tmp_path / "b", "int8", calibration=images)
    with pytest.raises(RecipeError, match=r"int4 is a form of ONNX; export.format is nir"):
        paring.convert(
            f"py:{factories}:vit",
            tmp_path / "c",
            export={"precision": "int4", "format": "nir"},
            verify=VERIFY,
        )


def test_a_graph_without_products_is_refused_and_left(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 2])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out])
    file = tmp_path / "model.onnx"
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), file)
    before = file.read_bytes()
    for precision in ("int8", "int4"):
        with pytest.raises(ExportError, match="no product with a constant weight"):
            quantise(file, Scheme(precision))
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
