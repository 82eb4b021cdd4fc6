"""How many numbers the weights of a graph are."""

from __future__ import annotations

from typing import Any

import numpy as np


def count_parameters(graph: Any) -> int:
    """Floating numbers that a graph stores, in initialisers and constants, in branches and bodies too."""
    total = sum(_floats(tensor) for tensor in graph.initializer)
    for node in graph.node:
        for one in node.attribute:
            if one.HasField("g"):
                total += count_parameters(one.g)
            elif node.op_type == "Constant" and one.HasField("t"):
                total += _floats(one.t)
    return total


def _floats(tensor: Any) -> int:
    import onnx

    floating = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).kind == "f"
    return int(np.prod(tensor.dims, dtype=np.int64)) if floating else 0
