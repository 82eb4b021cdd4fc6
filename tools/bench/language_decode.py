"""One decode step, in place against a cache that grows, the two in turn: milliseconds a token.

python tools/bench/language_decode.py ARTIFACT [THREADS]

Both run through IO binding, so that no array is copied on the way: the growing cache's outputs become the
next inputs as they are. "full" is a step with the cache full but for one row; "quarter" has a quarter of
the capacity filled, where the in-place graph still reads all of it.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from paring_exporters.language.buffers import Buffers
from paring_exporters.language.graphs import names

CAPACITIES = (256, 1024, 4096)
ROUNDS = 9


def opened(path: Path, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def growing(session: Any, facts: dict[str, Any], length: int) -> Any:
    """A call that decodes one token over a cache of `length` rows."""
    shape = (1, facts["kv_heads"], length, facts["head_dim"])
    past = {
        name: np.random.default_rng(0).standard_normal(shape).astype(facts["dtype"]) * 0.1
        for name in names("past_key_values", facts["layers"])
    }
    feeds = {
        "input_ids": np.array([[5]]),
        "attention_mask": np.ones((1, length + 1), np.int64),
        "position_ids": np.array([[length]]),
        **past,
    }
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
    for name in ("logits", *names("present", facts["layers"])):
        binding.bind_output(name)

    def call(feeds: Any = feeds) -> None:  # the arrays must outlive the binding
        session.run_with_iobinding(binding)

    return call


def in_place(session: Any, facts: dict[str, Any], length: int, capacity: int) -> Any:
    """A call that decodes one token into row `length` of buffers of `capacity` rows."""
    buffers = Buffers(session, facts, 1, capacity)
    rng = np.random.default_rng(0)
    for value in buffers.cache.values():
        value[...] = rng.standard_normal(value.shape).astype(value.dtype) * 0.1
    place, zero = np.array([[length]]), np.zeros(1, np.int64)
    return lambda: buffers.run(np.array([[5]]), place, place, zero)


def main() -> None:
    folder, threads = Path(sys.argv[1]), int((sys.argv[2:] or ["2"])[0])
    facts = json.loads((folder / "manifest.json").read_text())["graph"]["generation"]
    sessions = {name: opened(folder / name, threads) for name in ("model.onnx", facts["in_place"])}
    for capacity in CAPACITIES:
        for fill, length in (("full", capacity - 1), ("quarter", capacity // 4)):
            calls = {
                "growing": growing(sessions["model.onnx"], facts, length),
                "in place": in_place(sessions[facts["in_place"]], facts, length, capacity),
            }
            times: dict[str, list[float]] = {name: [] for name in calls}
            for turn in range(ROUNDS + 2):
                for name, call in calls.items():
                    start = time.perf_counter()
                    call()
                    if turn > 1:
                        times[name].append((time.perf_counter() - start) * 1e3)
            shown = ", ".join(
                f"{n} {statistics.median(t):.2f} ms (min {min(t):.2f})" for n, t in times.items()
            )
            print(f"capacity {capacity}, {fill} ({length} rows): {shown}", flush=True)


if __name__ == "__main__":
    main()
