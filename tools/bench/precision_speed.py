"""What a precision of the graph is worth in time: fp32 against the same model in others, measured in turn.

    paring convert MODEL -o FOLDER/fp32
    paring convert MODEL -o FOLDER/int8 --precision int8
    python tools/bench/precision_speed.py FOLDER/fp32 FOLDER/int8 [--batch 1 8] [--operators] [--products]

The first artifact is what the others are compared with. Printed, for every batch size: the median time of
each, the ratio of the first's to it with the 95 % interval (above 1 it is faster), and the bytes of its
graph. `--operators` adds where the time goes, by ONNX Runtime's own profile. `--products` times the matrix
products of the first artifact alone, in the forms that integers come in, which says what a quantised graph
can reach on this CPU at most.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import paring
from paring_exporters.tvm.turns import turn_ms
from paring_profiles.result import Profile

SETTLE_SECONDS = 0.1  # workers of the side before wait for work in a loop
TURNS, TURN_SECONDS = 9, 0.1
SIGNED, UNSIGNED = (TensorProto.INT8, np.int8), (TensorProto.UINT8, np.uint8)
# Activations and weights of MatMulInteger; x86 has instructions for unsigned by signed alone.
FORMS = {"u8 x s8": (UNSIGNED, SIGNED), "u8 x u8": (UNSIGNED, UNSIGNED), "s8 x s8": (SIGNED, SIGNED)}


def graph_bytes(folder: Path) -> int:
    """Bytes of the graph with its weights."""
    files = [folder] if folder.is_file() else sorted(folder.glob("model.onnx*"))
    return sum(file.stat().st_size for file in files)


def tell(found: Profile, sizes: dict[str, int]) -> None:
    """Print what was measured."""
    print(
        "| artifact | MB | batch | ms | ratio to the first (95 % interval) |\n| --- | --- | --- | --- | --- |"
    )
    ratios = {(one.candidate, one.batch_size): one for one in found.comparisons}
    for candidate in found.candidates:
        for one in candidate.latency:
            ratio = ratios.get((candidate.name, one.batch_size))
            shown = "1" if ratio is None else "{:.2f} ({:.2f} to {:.2f})".format(
                ratio.latency_ratio, *ratio.latency_ratio_ci95
            )  # fmt: skip
            size = sizes[candidate.name] / 1e6
            print(f"| {candidate.name} | {size:.2f} | {one.batch_size} | {one.p50_ms:.3f} | {shown} |")
    for sentence in found.noise:
        print(f"noise: {sentence}")


def tell_operators(found: Profile, most: int = 8) -> None:
    """Print where the time of each goes."""
    for candidate in found.candidates:
        for batch, operators in candidate.operators.items():
            parts = ", ".join(f"{one.op_type} {one.time_ms:.2f} ({one.calls})" for one in operators[:most])
            print(f"{candidate.name}, batch {batch}, ms by operator (nodes): {parts}", flush=True)


def products(file: Path, rows: int) -> Iterator[tuple[tuple[int, int, int], int]]:
    """Shapes [rows, K] x [K, N] of the products with constant weights, and how often each occurs."""
    graph = onnx.load(file, load_external_data=False).graph
    weights = {one.name: tuple(one.dims) for one in graph.initializer}
    shapes = Counter(
        weights[node.input[1]]
        for node in graph.node
        if node.op_type == "MatMul" and len(weights.get(node.input[1], ())) == 2
    )
    for (inner, outer), count in sorted(shapes.items()):
        yield (rows, inner, outer), count


def product(shape: tuple[int, int, int], form: str | None) -> tuple[onnx.ModelProto, np.ndarray]:
    """One product as a model, in fp32 where `form` is None, and its input."""
    rows, inner, outer = shape
    rng = np.random.default_rng(0)
    left, right = (TensorProto.FLOAT, np.float32), (TensorProto.FLOAT, np.float32)
    if form is not None:
        left, right = FORMS[form]
    weight = rng.integers(0, 64, (inner, outer)).astype(right[1])
    node = helper.make_node("MatMul" if form is None else "MatMulInteger", ["x", "w"], ["y"])
    made = TensorProto.FLOAT if form is None else TensorProto.INT32
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", left[0], [rows, inner])],
        [helper.make_tensor_value_info("y", made, [rows, outer])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model, rng.integers(0, 64, (rows, inner)).astype(left[1])


def tell_products(file: Path, rows: int, threads: int) -> None:
    """Print each product's time in fp32, and how many times as fast its integer forms are."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    for shape, count in products(file, rows):
        calls = []
        for form in (None, *FORMS):
            model, left = product(shape, form)
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            calls.append(lambda session=session, left=left: session.run(None, {"x": left}))
        times = np.array(
            [[turn_ms(call, TURN_SECONDS, SETTLE_SECONDS) for call in calls] for _ in range(TURNS)]
        )
        ratios = np.percentile(times[:, :1] / times[:, 1:], [25, 50, 75], axis=0).T
        told = ", ".join(
            f"{form} {middle:.2f} ({low:.2f} to {high:.2f})"
            for form, (low, middle, high) in zip(FORMS, ratios, strict=True)
        )
        print(
            f"{count} products {shape}: fp32 {np.median(times[:, 0]):.2f} ms; {told} times as fast",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=150, help="a batch size, at most")
    parser.add_argument("--operators", action="store_true")
    parser.add_argument("--products", action="store_true")
    parser.add_argument("--rows", type=int, default=197, help="tokens of --products")
    args = parser.parse_args()
    names = [one.parent.name if one.name == "model.onnx" else one.stem for one in args.artifacts]
    found = paring.profile(
        args.artifacts,
        names=names,
        batch_sizes=tuple(args.batch),
        threads=args.threads,
        min_runs=args.runs,
        max_seconds=args.seconds,
    )
    tell(found, {name: graph_bytes(path) for name, path in zip(names, args.artifacts, strict=True)})
    if args.operators:
        tell_operators(found)
    if args.products:
        first = args.artifacts[0]
        tell_products(first if first.is_file() else first / "model.onnx", args.rows, args.threads)


if __name__ == "__main__":
    main()
