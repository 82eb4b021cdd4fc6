"""What a shift-linear kernel must beat: ONNX Runtime's MatMulNBits, 4 bits, accuracy level 4 (int8 sums)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paring_exporters.tvm.shift_problem import ShiftShape
from paring_runtimes.errors import MissingExtraError

BASELINE = "onnxruntime MatMulNBits, 4 bits, accuracy level 4"


def group_for(in_features: int) -> int:
    """Return the largest group of 32 to 256 that divides the input features: the fastest of 16 to 512."""
    return next((group for group in (256, 128, 64) if in_features % group == 0), 32)


def baseline_model(shape: ShiftShape, group: int) -> bytes:
    """Return an ONNX model of one MatMulNBits with random 4-bit weights and one scale a group."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    groups = -(-shape.in_features // group)
    packed = rng.integers(0, 256, (shape.out_features, groups, group // 2), np.uint8)
    scales = np.full(shape.out_features * groups, 1e-2, np.float32)
    node = helper.make_node(
        "MatMulNBits", ["x", "packed", "scales"], ["y"], domain="com.microsoft", K=shape.in_features,
        N=shape.out_features, bits=4, block_size=group, accuracy_level=4,
    )  # fmt: skip
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [shape.rows, shape.in_features])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape.rows, shape.out_features])
    weights = [numpy_helper.from_array(packed, "packed"), numpy_helper.from_array(scales, "scales")]
    graph = helper.make_graph([node], "baseline", [x], [y], weights)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return bytes(model.SerializeToString())


def bound_call(model: bytes, shape: ShiftShape, threads: int) -> Callable[[], object]:
    """Return a run of a model with `x` and `y` bound to memory that stays in place.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("the baseline of the kernels", "ort") from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((shape.rows, shape.in_features)).astype(np.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    y = onnxruntime.OrtValue.ortvalue_from_shape_and_type((shape.rows, shape.out_features), np.float32)
    binding.bind_ortvalue_output("y", y)
    return lambda: session.run_with_iobinding(binding)


def baseline_call(shape: ShiftShape, threads: int) -> Callable[[], object]:
    """Return a run of MatMulNBits of this shape, with the group that makes it fastest."""
    return bound_call(baseline_model(shape, group_for(shape.in_features)), shape, threads)
