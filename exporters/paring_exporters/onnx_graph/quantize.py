"""An ONNX graph in integers, by `onnxruntime.quantization`: int8, dynamic or calibrated, or int4 weights.

- "int8": the weights of matrix products as int8; each activation is rounded to 8 bits by its own range, found
  while the model runs. ONNX Runtime computes MatMulInteger.
- "int8_static": QuantizeLinear and DequantizeLinear around every matrix product and convolution, symmetric
  int8 with steps from calibration images. The form that TensorRT and OpenVINO read too.
- "int4": only the weights, in blocks of rows with a step each (`com.microsoft::MatMulNBits`, of ONNX Runtime
  alone).

Softmax, layer norms and residual sums stay in fp32: only products are rounded. Inputs and outputs are fp32.
"""

from __future__ import annotations

import fnmatch
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paring_runtimes.errors import ExportError

PRECISIONS = ("int8", "int8_static", "int4")
PRODUCTS = ("MatMul", "Gemm")
_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
_INT8_NODES = ("MatMulInteger", "DynamicQuantizeMatMul", "QLinearMatMul", "DequantizeLinear", "MatMulNBits")


@dataclass(frozen=True)
class Scheme:
    """How to quantise.

    Attributes:
        precision: one of `PRECISIONS`.
        per_channel: int8: a step for every output of a weight.
        method: int8_static: what the calibration takes for the range, "minmax", "entropy" or "percentile".
        reduce_range: int8: weights in 7 bits, for CPUs without VNNI, whose sums of pairs saturate otherwise.
        block_size: int4: rows that share a step.
        exclude: names of nodes that stay in fp32; `*` stands for anything.
    """

    precision: str
    per_channel: bool = True
    method: str = "minmax"
    reduce_range: bool = False
    block_size: int = 32
    exclude: tuple[str, ...] = ()


def quantise(entry: Path, scheme: Scheme, batches: Sequence[np.ndarray] = ()) -> dict[str, Any]:
    """Replace the graph at `entry` by its quantised form, whole or not at all.

    Args:
        entry: an ONNX file that ONNX Runtime runs, with one input.
        scheme: how.
        batches: int8_static: calibration inputs [B, ...] float32.

    Returns:
        What was done: `nodes` (of it, by operator), `weights_bytes` before and after.

    Raises:
        ExportError: nothing to quantise, a name in `exclude` that no node has, or a graph that ONNX Runtime's
            quantiser cannot take.
    """
    import onnx

    from .weights import weight_bytes

    graph = onnx.load(str(entry))
    before = weight_bytes(graph)
    excluded = _excluded(graph, scheme)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".quantise-") as scratch, _quiet():
        target = Path(scratch) / entry.name
        try:
            _WAYS[scheme.precision](graph, target, scheme, excluded, batches)
        except Exception as error:  # its errors share no base class
            told = " ".join(str(error).split())
            raise ExportError(f"{scheme.precision}: ONNX Runtime's quantiser failed: {told[:300]}") from error
        made = onnx.load(str(target))
        counts = {kind: sum(n.op_type == kind for n in made.graph.node) for kind in _INT8_NODES}
        if not any(counts.values()):
            raise ExportError(
                f"{scheme.precision}: the graph has no product with a constant weight left to quantise"
            )
        _save(made, entry)
    return {
        "nodes": {kind: count for kind, count in counts.items() if count},
        "weights_bytes": [before, weight_bytes(made)],
    }


def _dynamic(graph: Any, target: Path, scheme: Scheme, excluded: list[str], _: Sequence[np.ndarray]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        graph,
        target,
        op_types_to_quantize=list(PRODUCTS),
        per_channel=scheme.per_channel,
        reduce_range=scheme.reduce_range,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=excluded,
        # Products of two activations stay: rounding both of attention's operands costs more than it saves.
        extra_options={"MatMulConstBOnly": True},
    )


def _static(
    graph: Any, target: Path, scheme: Scheme, excluded: list[str], batches: Sequence[np.ndarray]
) -> None:
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

    name = graph.graph.input[0].name

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rest = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._rest, None)
            return None if batch is None else {name: batch}

    quantize_static(
        graph,
        target,
        Reader(),
        op_types_to_quantize=[*PRODUCTS, "Conv"],
        per_channel=scheme.per_channel,
        reduce_range=scheme.reduce_range,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=excluded,
        calibrate_method=getattr(CalibrationMethod, _METHODS[scheme.method]),
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "MatMulConstBOnly": True,
        },
    )


def _weights(graph: Any, target: Path, scheme: Scheme, excluded: list[str], _: Sequence[np.ndarray]) -> None:
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    # Level 4: activations are rounded to 8 bits inside the product, which is what makes it fast.
    made = MatMulNBitsQuantizer(
        graph,
        bits=4,
        block_size=scheme.block_size,
        is_symmetric=True,
        accuracy_level=4,
        nodes_to_exclude=excluded,
    )
    made.process()
    onnx.save(made.model.model, str(target))


_WAYS = {"int8": _dynamic, "int8_static": _static, "int4": _weights}


def _excluded(graph: Any, scheme: Scheme) -> list[str]:
    names = [node.name for node in graph.graph.node if node.op_type in (*PRODUCTS, "Conv")]
    found = []
    for pattern in scheme.exclude:
        matching = fnmatch.filter(names, pattern)
        if not matching:
            shown = ", ".join(names[:4])
            raise ExportError(f"export.quantize.exclude: no node {pattern!r}; products are {shown}, ...")
        found += matching
    return found


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
