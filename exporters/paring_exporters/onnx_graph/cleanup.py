"""Clean an exported graph up by a kept library."""

from __future__ import annotations

from typing import Any

from paring_runtimes.errors import ExportError

from .weights import must_lie_beside, weight_bytes

# None is faster than another (0.3 to 0.5 % on a pruned and a merged ViT-S, intervals around 1, so is ONNX
# Runtime's transformer optimizer: tools/bench/graph_cleanup.py); onnxslim leaves the fewest nodes.
AUTO = "onnxslim"


def cleaned(model: Any, optimizer: str) -> tuple[str, Any]:
    """The name of the optimizer that ran with its version, and the cleaned ModelProto.

    A model whose weights no protobuf message holds is left as it is, since onnxslim serialises it.

    Raises:
        ExportError: onnxslim is asked for by name, and the model is that large.
    """
    from importlib.metadata import version

    large = must_lie_beside(model)
    if large and optimizer == "onnxslim":
        raise ExportError(
            f"optimizer onnxslim: it cannot hold {weight_bytes(model) / 1e9:.1f} GB of weights; use auto"
        )
    chosen = ("none" if large else AUTO) if optimizer == "auto" else optimizer
    if chosen == "none":
        return "none", model
    if chosen == "onnxscript":
        from onnxscript.optimizer import optimize

        return f"onnxscript {version('onnxscript')}", optimize(model)
    import onnxslim

    return f"onnxslim {version('onnxslim')}", onnxslim.slim(model)
