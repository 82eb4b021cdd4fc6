"""What a session's checks cost: `Session.run` and `BoundRun.run` against ONNX Runtime called bare.

    python tools/bench/runtime_overhead.py [--rounds 200] [--limit-us 20]

A model of one addition, so that the call itself is what is timed. In every round each way is called
`CALLS` times, in an order that is shuffled anew; the difference is taken inside the round, and the
median over the rounds is printed with its quartiles. Exits 1 when the median difference of
`Session.run` is over the limit.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

import paring_runtimes

CALLS = 200


def save_tiny(path: Path) -> Path:
    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4])

    node = helper.make_node("Add", ["a", "b"], ["sum"])
    graph = helper.make_graph([node], "tiny", [value("a"), value("b")], [value("sum")])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


def bare_session(path: Path) -> onnxruntime.InferenceSession:
    """Open a model with the settings that `paring_runtimes.load(path, threads=1)` uses."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    return onnxruntime.InferenceSession(
        str(path), settings, providers=["CPUExecutionProvider"], enable_fallback=False
    )


def time_us(call: Callable[[], object]) -> float:
    """Return µs a call, mean over `CALLS` calls."""
    begin = perf_counter_ns()
    for _ in range(CALLS):
        call()
    return (perf_counter_ns() - begin) / CALLS / 1e3


def measure(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for call in ways.values():
        time_us(call)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            times[name].append(time_us(ways[name]))
    return times


def told(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:8.2f} µs   quartiles {low:.2f} to {high:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--limit-us", type=float, default=20.0)
    arguments = parser.parse_args()
    feeds = {"a": np.ones((1, 4), np.float32), "b": np.ones((1, 4), np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        path = save_tiny(Path(folder) / "tiny.onnx")
        bare = bare_session(path)
        session = paring_runtimes.load(path, threads=1)
        ways = {
            "onnxruntime run": lambda: bare.run(["sum"], feeds),
            "Session.run": lambda: session.run(feeds),
            "BoundRun.run": session.bind(feeds).run,
        }
        times = measure(ways, arguments.rounds)
    base = times["onnxruntime run"]
    for name, values in times.items():
        print(f"{name:16} {told(values)}")
    over = {name: [a - b for a, b in zip(times[name], base, strict=True)] for name in ways}
    for name in ("Session.run", "BoundRun.run"):
        print(f"{name:16} {told(over[name])}   over onnxruntime run, {arguments.rounds} rounds")
    return int(statistics.median(over["Session.run"]) > arguments.limit_us)


if __name__ == "__main__":
    sys.exit(main())
