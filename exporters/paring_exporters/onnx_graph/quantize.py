"""An exported fp32 graph in another precision: int8, dynamic or calibrated, fp8, int4 weights, fp16 or bf16.

- "int8": the weights of matrix products as int8; each activation is rounded to 8 bits by its own range, found
  while the model runs. ONNX Runtime computes MatMulInteger.
- "int8_static": QuantizeLinear and DequantizeLinear before every matrix product, and around convolutions,
  with steps from calibration images. With activations as uint8 ONNX Runtime computes MatMulIntegerToFloat;
  as int8 with zero points of 0 it is the form that TensorRT takes.
- "fp8": the same before every matrix product, in E4M3FN, for TensorRT; see `fp8`.
- "int4": only the weights, in blocks of rows with a step each (`com.microsoft::MatMulNBits`, of ONNX Runtime
  alone).
- "fp16", "bf16": every node but those that 16 bits would harm; see `half_graph` and `half_ranges`.

Of integers and fp8, softmax, layer norms, residual sums and products of two activations (attention, layers
whose weights are decoded in the graph, as those of `shift_linear`) stay in fp32. Inputs and outputs are fp32.

The integers are `onnxruntime.quantization`'s, which writes both forms for engines that we run. modelopt 0.47
(`modelopt.onnx.quantization`) calibrates by it too, chooses nodes for TensorRT, writes int8 activations
alone, and wants other releases of onnx and onnxruntime than ours. The embedded ViT, pruned,
256 images of calibration for each, answers 84.30 % of 2,000 images in fp32, 84.30 % in int8_static, 84.35 %
with int8 activations, 83.90 % by modelopt's int8, 84.40 % in fp8 and 82.20 % by modelopt's.

Two facts of x86 decide the defaults (`tools/bench/precision_speed.py --products`). Its byte products take
unsigned by signed numbers alone: of int8 activations ONNX Runtime 1.32 on AVX2 leaves half of a ViT's
products in fp32, whose weights are dequantised at every call, and MatMulInteger of them takes 3 to 4.5 times
as long as fp32. And without VNNI the sums of two byte products saturate at 16 bits, unless weights have 7
bits: so `reduce_range`, where activations are unsigned. On such a CPU that ViT answers 84.25 %
in int8 with 7 bits, and 83.75 % with 8.
"""

from __future__ import annotations

import fnmatch
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paring_runtimes.errors import ExportError

PRECISIONS = ("int8", "int8_static", "fp8", "int4", "fp16", "bf16")
CALIBRATED = ("int8_static", "fp8")  # impossible without inputs that are like the real ones
MEASURED_ON = ("fp16", "bf16")  # better with them
PRODUCTS = ("MatMul", "Gemm")
_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
_INT8_NODES = ("MatMulInteger", "DynamicQuantizeMatMul", "QLinearMatMul", "DequantizeLinear", "MatMulNBits")


@dataclass(frozen=True)
class Scheme:
    """How to quantise.

    Attributes:
        precision: one of `PRECISIONS`.
        per_channel: int8, fp8: a step for every output of a weight.
        method: int8_static, fp8: what the calibration takes for a range, "minmax", "entropy", "percentile".
        activations: int8_static: "uint8", with a zero point (ONNX Runtime), or "int8", without (TensorRT).
        reduce_range: int8: weights in 7 bits, for CPUs without VNNI, whose sums of pairs saturate otherwise;
            None is so where activations are unsigned.
        block_size: int4: rows that share a step.
        exclude: names of nodes that stay in fp32; `*` stands for anything.
    """

    precision: str
    per_channel: bool = True
    method: str = "minmax"
    activations: str = "uint8"
    reduce_range: bool | None = None
    block_size: int = 32
    exclude: tuple[str, ...] = ()

    @property
    def seven_bits(self) -> bool:
        """Whether weights have 7 bits."""
        unsigned = self.precision == "int8" or self.activations == "uint8"
        return unsigned if self.reduce_range is None else self.reduce_range


def quantise(entry: Path, scheme: Scheme, batches: Sequence[np.ndarray] = ()) -> dict[str, Any]:
    """Replace the graph at `entry` by its quantised form, whole or not at all.

    Args:
        entry: an ONNX file that ONNX Runtime runs, with one input.
        scheme: how.
        batches: inputs [B, ...] float32 that `CALIBRATED` and `MEASURED_ON` look at.

    Returns:
        What was done: `nodes` (of it, by operator or type), `weights_bytes` before and after, and of fp16 and
        bf16 `kept`: the nodes that stay in fp32, and why.

    Raises:
        ExportError: nothing to quantise, a name in `exclude` that no node has, or a graph that cannot be
            taken.
    """
    import onnx

    from .weights import weight_bytes

    graph = onnx.load(str(entry))
    before = weight_bytes(graph)
    task = _Task(graph, entry, scheme, _excluded(graph, scheme), batches)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".quantise-") as scratch, _quiet():
        target = Path(scratch) / entry.name
        try:
            told = _WAYS[scheme.precision](task, target)
        except ExportError:
            raise
        except Exception as error:  # its errors share no base class
            said = " ".join(str(error).split())
            raise ExportError(f"{scheme.precision}: the graph cannot be rewritten: {said[:300]}") from error
        made = onnx.load(str(target))
        counts = {kind: sum(n.op_type == kind for n in made.graph.node) for kind in _INT8_NODES}
        if not told and not any(counts.values()):
            raise ExportError(
                f"{scheme.precision}: the graph has no product with a constant weight left to quantise"
            )
        _save(made, entry)
    return {
        "nodes": {kind: count for kind, count in counts.items() if count},
        **told,
        "weights_bytes": [before, weight_bytes(made)],
    }


@dataclass(frozen=True)
class _Task:
    """A graph, where it lies, and what shall become of it. `excluded` are names of nodes."""

    graph: Any
    entry: Path
    scheme: Scheme
    excluded: list[str]
    batches: Sequence[np.ndarray]

    @property
    def method(self) -> Any:
        """onnxruntime's own name of the calibration."""
        from onnxruntime.quantization import CalibrationMethod

        return getattr(CalibrationMethod, _METHODS[self.scheme.method])


def _dynamic(task: _Task, target: Path) -> dict[str, Any]:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        task.graph,
        target,
        op_types_to_quantize=list(PRODUCTS),
        per_channel=task.scheme.per_channel,
        reduce_range=task.scheme.seven_bits,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=task.excluded,
        # Products of two activations stay: rounding both of attention's operands costs more than it saves.
        extra_options={"MatMulConstBOnly": True},
    )
    return {}


def _static(task: _Task, target: Path) -> dict[str, Any]:
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static

    from .calibration import ranges, reader

    scheme, signed = task.scheme, task.scheme.activations == "int8"
    name, kinds = task.graph.graph.input[0].name, (*PRODUCTS, "Conv")
    chosen = {}  # by a method whose options quantize_static does not hand on
    if scheme.method == "entropy":
        found = ranges(task.entry, name, task.batches, task.method, kinds)
        chosen = {
            one: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for one, (low, high) in found.items()
        }
    quantize_static(
        task.graph,
        target,
        reader(name, task.batches[:1] if chosen else task.batches),
        op_types_to_quantize=list(kinds),
        per_channel=scheme.per_channel,
        reduce_range=scheme.seven_bits,
        activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[*task.excluded, *_of_activations(task.graph)],
        calibrate_method=CalibrationMethod.MinMax if chosen else task.method,
        extra_options={
            **({"TensorQuantOverrides": chosen} if chosen else {}),
            "ActivationSymmetric": signed,
            "WeightSymmetric": True,
            "QuantizeBias": not signed,  # to int32, which TensorRT does not take
            # A product's sums stay as they are: rounded, they cost accuracy and are dequantised at once.
            "OpTypesToExcludeOutputQuantization": list(PRODUCTS),
        },
    )
    return {}


def _fp8(task: _Task, target: Path) -> dict[str, Any]:
    import onnx

    from .fp8 import in_fp8

    made = in_fp8(task.graph, task.entry, task.batches, task.method, task.excluded, task.scheme.per_channel)
    onnx.save(made, str(target))
    return {}


def _weights(task: _Task, target: Path) -> dict[str, Any]:
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    # Level 4: activations are rounded to 8 bits inside the product, which is what makes it fast.
    made = MatMulNBitsQuantizer(
        task.graph,
        bits=4,
        block_size=task.scheme.block_size,
        is_symmetric=True,
        accuracy_level=4,
        nodes_to_exclude=task.excluded,
    )
    made.process()
    onnx.save(made.model.model, str(target))
    return {}


def _half(task: _Task, target: Path) -> dict[str, Any]:
    import onnx

    from .half_graph import narrowed
    from .half_ranges import sensitivities

    precision = task.scheme.precision
    found = sensitivities(task.graph, precision, task.batches)
    kept = [one for one in found if one.why]
    chosen = {node.output[0] for node in task.graph.graph.node if node.name in task.excluded}
    made = narrowed(task.graph, precision, chosen.union(one.output for one in kept))
    onnx.save(made, str(target))
    left = [one for one in found if one.output not in chosen and not one.why]
    if not left:
        raise ExportError(f"{precision}: every node of the graph needs fp32: {found[0].why if found else ''}")
    return {
        "nodes": {precision: len(left), "fp32": len(found) - len(left)},
        "kept": [{"node": one.node, "operator": one.operator, "why": one.why} for one in kept],
        "least_snr_db": min(one.snr_db for one in left),
        "largest": max(one.largest for one in left),
    }


_WAYS: dict[str, Callable[[_Task, Path], dict[str, Any]]] = {
    "int8": _dynamic, "int8_static": _static, "fp8": _fp8, "int4": _weights, "fp16": _half, "bf16": _half,
}  # fmt: skip


def _excluded(graph: Any, scheme: Scheme) -> list[str]:
    any_node = scheme.precision in MEASURED_ON
    products = (*PRODUCTS, "Conv")
    names = [node.name for node in graph.graph.node if any_node or node.op_type in products]
    found = []
    for pattern in scheme.exclude:
        matching = fnmatch.filter(names, pattern)
        if not matching:
            shown = ", ".join(names[:4])
            kind = "nodes" if any_node else "products"
            raise ExportError(f"export.quantize.exclude: no node {pattern!r}; {kind} are {shown}, ...")
        found += matching
    return found


def _of_activations(graph: Any) -> list[str]:
    """Names of the products without a constant weight: attention's, and of weights that are decoded."""
    weights = {one.name for one in graph.graph.initializer}
    return [n.name for n in graph.graph.node if n.op_type in PRODUCTS and n.input[1] not in weights]


def _save(model: Any, entry: Path) -> None:
    import onnx

    from .weights import must_lie_beside

    beside = entry.with_name(f"{entry.name}.data")
    large = must_lie_beside(model)
    whole = entry.with_name(f".{entry.name}.tmp")
    onnx.save(model, whole, save_as_external_data=large, location=beside.name if large else None)
    whole.replace(entry)
    if not large:
        beside.unlink(missing_ok=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's quantiser logs advice, and a line for every node."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
