"""The two graphs as runners of the comparison, on ONNX Runtime's CPU provider."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paring_runtimes import Session

from .buffers import Buffers
from .graphs import names
from .parity import Prompt, left_mask, positions_of


class GrowingRunner:
    """`model.onnx` with the cache that it handed out last.

    Args:
        session: of `model.onnx`.
        facts: the manifest's `graph.generation`.
    """

    def __init__(self, session: Session, facts: Mapping[str, Any]) -> None:
        self.session, self.facts = session, facts
        self.past: dict[str, np.ndarray] = {}
        self.mask = self.positions = np.zeros((0, 0), np.int64)

    def prompt(self, prompt: Prompt) -> np.ndarray:
        """See `Runner`."""
        mask = left_mask(prompt)
        last: np.ndarray = self.whole(prompt.ids, mask)[:, -1]
        return last

    def whole(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Logits of every token of a prompt, [B, L, V]."""
        facts = self.facts
        empty = np.zeros((len(ids), facts["kv_heads"], 0, facts["head_dim"]), facts["dtype"])
        self.past = dict.fromkeys(names("past_key_values", facts["layers"]), empty)
        self.mask, self.positions = mask, positions_of(mask)
        return self._run(ids)

    def step(self, ids: np.ndarray) -> np.ndarray:
        """See `Runner`."""
        self.mask = np.concatenate([self.mask, np.ones_like(self.mask[:, :1])], axis=1)
        self.positions = self.positions[:, -1:] + 1
        last: np.ndarray = self._run(ids[:, None])[:, -1]
        return last

    def _run(self, ids: np.ndarray) -> np.ndarray:
        own = {"input_ids": ids, "attention_mask": self.mask, "position_ids": self.positions}
        found = self.session.run({**own, **self.past})
        self.past = {name.replace("present", "past_key_values"): v for name, v in found.items()}
        return self.past.pop("logits")


class InPlaceRunner:
    """`in_place.onnx` over buffers of its own.

    Args:
        session: of `in_place.onnx`, as `open_in_place` gives it.
        facts: the manifest's `graph.generation`.
        spare: rows of capacity beyond the prompt.
    """

    def __init__(self, session: Any, facts: Mapping[str, Any], spare: int) -> None:
        self.session, self.facts, self.spare = session, facts, spare
        self.buffers: Buffers | None = None
        self.ends = np.zeros(0, np.int64)

    def prompt(self, prompt: Prompt) -> np.ndarray:
        """See `Runner`; the padding moves to the right."""
        batch, length = prompt.ids.shape
        self.buffers = Buffers(self.session, self.facts, batch, length + self.spare)
        order = (np.arange(length) + length - prompt.lengths[:, None]) % length
        slots = np.tile(np.arange(length), (batch, 1))
        self.ends = prompt.lengths.astype(np.int64)
        ids = np.take_along_axis(prompt.ids, order, axis=1)
        return self.buffers.run(ids, slots, slots, self.ends - 1)

    def step(self, ids: np.ndarray) -> np.ndarray:
        """See `Runner`."""
        assert self.buffers is not None
        place, self.ends = self.ends[:, None], self.ends + 1
        return self.buffers.run(ids[:, None], place, place, np.zeros(len(ids), np.int64))


def open_in_place(path: Path) -> Any:
    """An ONNX Runtime session of `in_place.onnx` on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
