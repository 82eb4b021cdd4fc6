"""Clean an exported graph up by a kept library."""

from __future__ import annotations

from typing import Any

# None is faster than another (0.3 to 0.5 % on a pruned and a merged ViT-S, intervals around 1, so is ONNX
# Runtime's transformer optimizer: tools/bench/graph_cleanup.py); onnxslim leaves the fewest nodes.
AUTO = "onnxslim"


def cleaned(model: Any, optimizer: str) -> tuple[str, Any]:
    """The name of the optimizer that ran with its version, and the cleaned ModelProto."""
    from importlib.metadata import version

    chosen = AUTO if optimizer == "auto" else optimizer
    if chosen == "none":
        return "none", model
    if chosen == "onnxscript":
        from onnxscript.optimizer import optimize

        return f"onnxscript {version('onnxscript')}", optimize(model)
    import onnxslim

    return f"onnxslim {version('onnxslim')}", onnxslim.slim(model)
