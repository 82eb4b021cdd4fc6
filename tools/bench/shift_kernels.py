"""Shift-linear kernels against ONNX Runtime's 4-bit, int8 and fp32 layers and torch's fp32 one, in turns.

    TVM_NUM_THREADS=2 OMP_NUM_THREADS=2 python tools/bench/shift_kernels.py [--seconds 1.5] [--bits 4]
        [--database FOLDER] [--shape ROWS IN OUT]

In every round each side runs untimed until the threads of the side before it sleep, and is then timed.
Printed: medians, the ratio to the kernel with its 95 % interval, and how near the kernel is to what limits
it: bytes over this machine's bandwidth, products over its peak, both measured here. Before anything is
timed the kernel's sums are compared with int64, exactly. Exits 1 where a goal is missed: as fast as
MatMulNBits everywhere, five times as fast as fp32 at one row.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from paring_exporters.tvm.build import build, empty, tensor
from paring_exporters.tvm.shift_baseline import baseline_model, bound_call, group_for
from paring_exporters.tvm.shift_choice import choose
from paring_exporters.tvm.shift_codes import integers
from paring_exporters.tvm.shift_database import SHIPPED
from paring_exporters.tvm.shift_linear import shift_linear, tile_for, untuned
from paring_exporters.tvm.shift_problem import Schedule, ShiftShape
from paring_exporters.tvm.shift_weights import kernel_weights
from paring_exporters.tvm.target import VNNI, has, host_target, threads_of
from paring_exporters.tvm.tir import T, function, lanes, local, pure, store
from paring_profiles.latency import interleave, time_call, warm_up
from paring_profiles.noise import Watch
from paring_profiles.result import Settings
from paring_profiles.statistics import paired_ratio

# 4096 x 4096 as in language models, and the MLPs of PVTv2-B0's first two stages (ShiftAddViT's shapes).
SHAPES = [
    (1, 4096, 4096), (16, 4096, 4096), (197, 4096, 4096),
    (3136, 64, 512), (3136, 512, 64), (784, 128, 1024), (784, 1024, 128),
]  # fmt: skip
OURS, FOUR_BITS = "paring shift", "ORT MatMulNBits"
SETTLE_SECONDS = 0.1
Call = Callable[[], object]


def kernel_call(shape: ShiftShape, schedule: Schedule, target: Any) -> Call:
    """Compile the kernel, check its sums, and return a call on operands that stay in place."""
    rng = np.random.default_rng(0)
    nibbles = rng.integers(0, 256, (shape.out_features, -(-shape.in_features // 2)), np.uint8)
    signs = rng.integers(0, 256, (shape.out_features, -(-shape.in_features // 8)), np.uint8)
    planes = (nibbles, signs if shape.bits == 5 else None)
    order = tile_for(target, shape, schedule).order
    weights = kernel_weights(*planes, np.ones(1), None, shape.in_features, order)
    operands = [tensor(v) for v in (weights.weight, weights.scale, weights.bias)]
    library = build({o: shift_linear(o, shape, schedule, target, o) for o in ("sums", "scaled")}, target)
    q = rng.integers(-127, 128, (shape.rows, shape.in_features))
    q[:, 0] = 127  # so that a row's scale is 1
    sums = empty((shape.rows, shape.out_features), "int64")
    library["sums"](tensor(q.astype(np.float32)), *operands, sums)
    # Sums of products below 2^53: float64 is exact, and a BLAS away from int64's slow loops.
    exact = q.astype(np.float64) @ integers(*planes, shape.in_features).T.astype(np.float64)
    if not (sums.numpy() == exact.astype(np.int64)).all():
        raise AssertionError(f"{shape}, {schedule}: sums differ from exact integers")
    x = tensor(rng.standard_normal((shape.rows, shape.in_features)).astype(np.float32))
    run, y = library["scaled"], empty((shape.rows, shape.out_features), "float32")
    return lambda: run(x, *operands, y)


def fp32_model(shape: ShiftShape) -> bytes:
    weight = np.random.default_rng(0).standard_normal((shape.in_features, shape.out_features))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return _model(shape, nodes, {"w": weight.astype(np.float32)})


def int8_model(shape: ShiftShape) -> bytes:
    """Activations quantised at run time, weights int8 with a scale a column."""
    weight = np.random.default_rng(0).integers(-127, 128, (shape.in_features, shape.out_features))
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "x_scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "w", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x_scale", "w_scale"], ["scale"]),
        helper.make_node("Mul", ["wide", "scale"], ["y"]),
    ]
    scale = np.full(shape.out_features, 1e-2, np.float32)
    return _model(shape, nodes, {"w": weight.astype(np.int8), "w_scale": scale})


def _model(shape: ShiftShape, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> bytes:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [shape.rows, shape.in_features])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape.rows, shape.out_features])
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "side", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def torch_call(shape: ShiftShape) -> Call:
    layer = torch.nn.Linear(shape.in_features, shape.out_features)
    x = torch.randn(shape.rows, shape.in_features)

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return layer(x)

    return call


def sides(shape: ShiftShape, schedule: Schedule, target: Any, threads: int) -> dict[str, Call]:
    """Our kernel first, then what a user would otherwise run."""
    return {
        OURS: kernel_call(shape, schedule, target),
        FOUR_BITS: bound_call(baseline_model(shape, group_for(shape.in_features)), shape, threads),
        "ORT int8": bound_call(int8_model(shape), shape, threads),
        "ORT fp32": bound_call(fp32_model(shape), shape, threads),
        "torch fp32": torch_call(shape),
    }


def peak_gmacs(target: Any) -> float | None:
    """Return 10^9 int8 products a second with all operands in registers; None without such instructions."""
    steps, chains, threads = 200_000, 12, threads_of(target)

    def emit() -> None:
        out = T.arg("out", T.buffer((threads, 16), "int32"))
        with T.parallel(0, threads) as thread:
            total = local((chains, 16), "int32")
            for chain in range(chains):
                begin = out[thread, lanes(0, 16)] + T.broadcast(T.int32(chain), 16)  # no two are alike
                store(total, begin, chain, lanes(0, 16))
            operand = T.Bind(T.reinterpret("uint8x64", out[thread, lanes(0, 16)]))
            signed = T.reinterpret("int8x64", operand)
            with T.serial(0, steps):
                for chain in range(chains):
                    at = (chain, lanes(0, 16))
                    store(
                        total,
                        pure("int32x16", "llvm.x86.avx512.vpdpbusd.512", total[at], operand, signed),
                        *at,
                    )
            for chain in range(chains):
                now = out[thread, lanes(0, 16)]
                store(out, now ^ total[chain, lanes(0, 16)], thread, lanes(0, 16))

    if not has(target, *VNNI):
        return None
    run, out = build({"peak": function("peak", emit)}, target)["peak"], empty((threads, 16), "int32")
    return steps * chains * 64 * threads / _best_ms(lambda: run(out)) / 1e6


def bandwidth_gbs(target: Any, megabytes: int) -> float:
    """Return 10^9 bytes a second, read again and again from as many MiB: from the cache that holds them."""
    count, threads = megabytes * 2**20 // 64, threads_of(target)

    def emit() -> None:
        data = T.arg("data", T.buffer((count, 16), "int32"))
        out = T.arg("out", T.buffer((threads, 16), "int32"))
        with T.parallel(0, threads) as thread:
            total = local((4, 16), "int32")
            for i in range(4):
                store(total, T.broadcast(T.int32(0), 16), i, lanes(0, 16))
            with T.serial(0, count // threads // 4) as step:
                for i in range(4):
                    value = data[thread * (count // threads) + step * 4 + i, lanes(0, 16)]
                    store(total, total[i, lanes(0, 16)] ^ value, i, lanes(0, 16))
            whole = [total[i, lanes(0, 16)] for i in range(4)]
            store(out, whole[0] ^ whole[1] ^ whole[2] ^ whole[3], thread, lanes(0, 16))

    run = build({"read": function("read", emit)}, target)["read"]
    data, out = tensor(np.zeros((count, 16), np.int32)), empty((threads, 16), "int32")
    return count * 64 / _best_ms(lambda: run(data, out)) / 1e6


def _best_ms(call: Call) -> float:
    return min(time_call(call) for _ in range(30))


def limits(shape: ShiftShape, median_ms: float, peak: float | None, bandwidth: float) -> str:
    """Say what the kernel moves and multiplies, and which of the two bounds it more."""
    weight_bytes = shape.blocks * 16 * shape.in_features * (4 if shape.bits == 4 else 5) / 8
    moved = weight_bytes + 4 * shape.rows * (shape.in_features + shape.out_features)
    products = shape.rows * shape.in_features * shape.out_features * (1 if shape.bits == 4 else 2)
    bounds = {"bandwidth": moved / bandwidth / 1e6}
    if peak:
        bounds["products"] = products / peak / 1e6
    worst = max(bounds, key=lambda name: bounds[name])
    told = ", ".join(f"{name} {ms:.4f} ms" for name, ms in bounds.items())
    return (
        f"  limits: {moved / 1e6:.2f} MB ({moved / median_ms / 1e6:.1f} GB/s), {products / 1e6:.0f} M"
        f" products ({products / median_ms / 1e6:.0f} G/s); least time by {told};"
        f" {bounds[worst] / median_ms:.0%} of the {worst} limit"
    )


def measure(calls: dict[str, Call], seconds: float) -> dict[str, np.ndarray]:
    """Return each side's medians, one a round, ms."""
    for call in calls.values():
        warm_up(call, 1.0)
    settings = Settings(min_runs=1, min_seconds=seconds, max_seconds=55.0)
    turns = interleave(list(calls.values()), settings, SETTLE_SECONDS)
    return {name: np.array(turn.rounds_ms) for name, turn in zip(calls, turns, strict=True)}


def tell(shape: ShiftShape, times: dict[str, np.ndarray]) -> bool:
    """Print a line for each side; return whether the goals are met."""
    met = True
    for name, series in times.items():
        line = f"  {name:16} {np.median(series):9.4f} ms"
        if name != OURS:
            ratio, (low, high) = paired_ratio(series, times[OURS], 0)
            goal = 1.0 if name == FOUR_BITS else 5.0 if name == "ORT fp32" and shape.rows == 1 else 0.0
            met &= ratio >= goal
            line += f"   {ratio:6.2f} times ours ({low:.2f} to {high:.2f})" + (
                "  GOAL MISSED" * (ratio < goal)
            )
        print(line)
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.5, help="timed seconds of each side and shape")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--database", type=Path, default=SHIPPED)
    parser.add_argument("--shape", type=int, nargs=3, action="append", metavar=("ROWS", "IN", "OUT"))
    arguments = parser.parse_args()
    target = host_target(arguments.threads)
    torch.set_num_threads(arguments.threads)
    peak, bandwidth = peak_gmacs(target), bandwidth_gbs(target, 8)
    products = f"{peak:.0f} G int8 products/s from registers" if peak else "no byte dot products (VNNI)"
    print(f"{products}, {bandwidth:.0f} GB/s from 8 MiB")
    missed = False
    for sizes in arguments.shape or SHAPES:
        shape = ShiftShape(*sizes, arguments.bits)
        choice = choose(shape, target, [arguments.database])
        schedule = choice.schedule or replace(
            untuned(target), row_block=min(untuned(target).row_block, shape.rows)
        )
        print(
            f"{shape.rows} x {shape.in_features} -> {shape.out_features}, {shape.bits} bits: {choice.reason}"
        )
        calls = sides(shape, schedule, target, arguments.threads)
        with Watch() as watch:
            times = measure(calls, arguments.seconds)
        missed |= not tell(shape, times)
        print(limits(shape, float(np.median(times[OURS])), peak, bandwidth), flush=True)
        for sentence in watch.sentences(arguments.threads, arguments.threads):
            print(f"  noise: {sentence}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
