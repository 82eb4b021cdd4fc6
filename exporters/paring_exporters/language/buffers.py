"""Run `in_place.onnx` through ONNX Runtime's IO binding, each cache buffer input and output at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .graphs import names


class Buffers:
    """Cache buffers of one batch, bound to a session. For checks; a product uses the runtime's session.

    Args:
        session: an `onnxruntime.InferenceSession` of `in_place.onnx`, on the CPU.
        facts: the manifest's `graph.generation`.
        batch, capacity: of the buffers.
    """

    def __init__(self, session: Any, facts: Mapping[str, Any], batch: int, capacity: int) -> None:
        self.session, self.vocabulary = session, int(facts["vocab_size"])
        shape = (batch, facts["kv_heads"], capacity, facts["head_dim"])
        self.cache = {name: np.zeros(shape, facts["dtype"]) for name in names("cache", facts["layers"])}

    def run(
        self, input_ids: np.ndarray, positions: np.ndarray, slots: np.ndarray, last: np.ndarray
    ) -> np.ndarray:
        """Logits [B, V] of the last tokens; the buffers hold the new rows afterwards."""
        binding = self.session.io_binding()
        feeds = {"input_ids": input_ids, "positions": positions, "slots": slots, "last": last}
        own = {name: np.ascontiguousarray(value, np.int64) for name, value in feeds.items()}
        for name, array in {**own, **self.cache}.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        logits = np.empty((len(last), self.vocabulary), np.float32)
        written = {name.replace("cache", "updated"): array for name, array in self.cache.items()}
        for name, array in {"logits": logits, **written}.items():
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        self.session.run_with_iobinding(binding)
        return logits
