"""Binary attention of TVM against ONNX Runtime's fused fp32 attention, and against what else is linear.

    TVM_NUM_THREADS=2 python tools/bench/binary_attention.py [12x197x64 ...] [--seconds 40]

Softmax attention takes 2 N^2 d multiply-adds a head, the linear form 2 N d^2: most of the ratio to fused
attention is that, not the bits. So plain fp32 and int8 linear attention stand beside it, and their ratio
is what binary queries and keys gain. Every way is checked against float64 before any is timed. In each
round every way runs untimed until it has the cores to itself (threads of the way before go on spinning for
tens of ms), then timed, in an order drawn anew; ratios are taken within rounds, their median is printed with
its 95 % interval.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
from collections.abc import Callable
from time import perf_counter, perf_counter_ns

os.environ.setdefault("TVM_NUM_THREADS", "2")
THREADS = int(os.environ["TVM_NUM_THREADS"])

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import torch  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

from paring_exporters.tvm.binary_attention import AttentionShape, attention_function  # noqa: E402
from paring_exporters.tvm.binary_pack import pack_bits  # noqa: E402
from paring_exporters.tvm.build import build, empty, tensor  # noqa: E402
from paring_exporters.tvm.matadd import METHODS, matadd_function  # noqa: E402
from paring_exporters.tvm.target import describe, host_target  # noqa: E402
from paring_profiles.statistics import paired_ratio  # noqa: E402

Way = Callable[[], object]
SETTLE_MS = 60  # untimed, at the beginning of a turn
TIMED = 5  # runs in a turn, fewer where they take longer than this:
ENOUGH_MS = 200
FEWEST_ROUNDS = 8
FUSED = ("ORT MultiHeadAttention", "ORT Attention 23", "torch SDPA")
LINEAR = ("ORT linear fp32", "torch linear fp32")
OURS = {
    "TVM linear, fp32 in": ("linear", "float32"),
    "TVM linear, bool in": ("linear", "bool"),
    "TVM linear, packed in": ("linear", "packed"),
    "TVM quadratic, packed in": ("quadratic", "packed"),
}


class Operands:
    """q, k, v of the standard normal distribution; a bit is 1 where q or k is above its head's threshold."""

    def __init__(self, shape: AttentionShape) -> None:
        rng = np.random.default_rng(0)
        self.shape = shape
        self.q, self.k, self.v = (rng.standard_normal(shape.values, dtype=np.float32) for _ in "qkv")
        self.q_threshold, self.k_threshold = (
            rng.normal(0, 0.3, shape.heads).astype(np.float32) for _ in "qk"
        )
        self.qb = self.q > self.q_threshold[:, None, None]
        self.kb = self.k > self.k_threshold[:, None, None]

    def softmax(self) -> np.ndarray:
        """Softmax attention in float64, a head at a time."""
        out = np.empty(self.shape.values)
        for at in np.ndindex(self.shape.batch, self.shape.heads):
            q, k, v = (operand[at].astype(np.float64) for operand in (self.q, self.k, self.v))
            scores = np.exp(q @ k.T / math.sqrt(self.shape.dim))
            out[at] = scores @ v / scores.sum(-1, keepdims=True)
        return out

    def binary(self) -> np.ndarray:
        """0.5 v + (1/pi) qb (kb^T v) in float64."""
        v = self.v.astype(np.float64)
        return (
            0.5 * v + self.qb.astype(np.float64) @ (self.kb.swapaxes(-1, -2).astype(np.float64) @ v) / math.pi
        )


class Graph:
    """A model of ONNX bound to fixed inputs and one output buffer."""

    def __init__(
        self,
        nodes: list[onnx.NodeProto],
        inputs: dict[str, np.ndarray],
        shape: tuple[int, ...],
        **more: float,
    ) -> None:
        def info(name: str, value: np.ndarray) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
            )

        out = np.zeros(shape, np.float32)
        numbers = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in more.items()]
        graph = helper.make_graph(
            nodes, "graph", [info(*item) for item in inputs.items()], [info("y", out)], numbers
        )
        opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads, settings.log_severity_level = THREADS, 3
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )
        self.binding = self.session.io_binding()
        self.held = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in inputs.values()]
        self.out = onnxruntime.OrtValue.ortvalue_from_numpy(out)
        for name, value in zip(inputs, self.held, strict=True):
            self.binding.bind_ortvalue_input(name, value)
        self.binding.bind_ortvalue_output("y", self.out)

    def __call__(self) -> np.ndarray:
        self.session.run_with_iobinding(self.binding)
        return self.out.numpy()


def fused_ways(given: Operands) -> dict[str, Way]:
    batch, heads, tokens, dim = given.shape.values
    named = {"q": given.q, "k": given.k, "v": given.v}
    beside = {
        name: np.ascontiguousarray(value.transpose(0, 2, 1, 3).reshape(batch, tokens, heads * dim))
        for name, value in named.items()
    }
    multi = helper.make_node(
        "MultiHeadAttention", list("qkv"), ["y"], domain="com.microsoft", num_heads=heads
    )
    rows = Graph([multi], beside, (batch, tokens, heads * dim))
    q, k, v = (torch.from_numpy(value) for value in named.values())
    return {
        FUSED[0]: lambda: rows().reshape(batch, tokens, heads, dim).transpose(0, 2, 1, 3),
        FUSED[1]: Graph([helper.make_node("Attention", list("qkv"), ["y"])], named, given.shape.values),
        FUSED[2]: lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v).numpy(),
    }


def linear_ways(given: Operands) -> dict[str, Way]:
    """The same function with fp32 zeros and ones in matrix products."""
    named = {"q": given.qb.astype(np.float32), "k": given.kb.astype(np.float32), "v": given.v}
    nodes = [
        helper.make_node(
            "FusedMatMul", ["k", "v"], ["kv"], domain="com.microsoft", transA=1, alpha=1 / math.pi
        ),
        helper.make_node("MatMul", ["q", "kv"], ["qkv"]),
        helper.make_node("Mul", ["v", "half"], ["halves"]),
        helper.make_node("Add", ["halves", "qkv"], ["y"]),
    ]
    q, k, v = (torch.from_numpy(value.reshape(-1, *given.shape.values[2:])) for value in named.values())

    def in_torch() -> np.ndarray:
        out = torch.baddbmm(v, q, torch.bmm(k.transpose(1, 2), v), beta=0.5, alpha=1 / math.pi)
        return out.numpy().reshape(given.shape.values)

    return {LINEAR[0]: Graph(nodes, named, given.shape.values, half=0.5), LINEAR[1]: in_torch}


def int8_way(given: Operands) -> Way:
    """The same function in 8-bit products: v and KV quantised as they come, bits as bytes."""
    named = {"q": given.qb.astype(np.uint8), "k": given.kb.astype(np.uint8), "v": given.v}
    node = helper.make_node
    nodes = [
        node("DynamicQuantizeLinear", ["v"], ["v8", "v_scale", "v_zero"]),
        node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        node("MatMulInteger", ["kt", "v8", "", "v_zero"], ["kv32"]),
        node("Cast", ["kv32"], ["kv_units"], to=TensorProto.FLOAT),
        node("Mul", ["kv_units", "v_scale"], ["kv"]),
        node("DynamicQuantizeLinear", ["kv"], ["kv8", "kv_scale", "kv_zero"]),
        node("MatMulInteger", ["q", "kv8", "", "kv_zero"], ["qkv32"]),
        node("Cast", ["qkv32"], ["qkv_units"], to=TensorProto.FLOAT),
        node("Mul", ["kv_scale", "one_over_pi"], ["scale"]),
        node("Mul", ["qkv_units", "scale"], ["qkv"]),
        node("Mul", ["v", "half"], ["halves"]),
        node("Add", ["halves", "qkv"], ["y"]),
    ]
    return Graph(nodes, named, given.shape.values, half=0.5, one_over_pi=1 / math.pi)


def our_ways(given: Operands) -> dict[str, Way]:
    target = host_target(THREADS)
    functions = {name: attention_function(given.shape, *options) for name, options in OURS.items()}
    library = build({f"way_{i}": function for i, function in enumerate(functions.values())}, target)
    sources = {
        "float32": (given.q, given.k, given.q_threshold, given.k_threshold),
        "bool": (given.qb, given.kb),
        "packed": (pack_bits(given.qb), pack_bits(given.kb)),
    }
    ways: dict[str, Way] = {}
    for i, (name, (_, source)) in enumerate(OURS.items()):
        arguments = [tensor(value) for value in (*sources[source], given.v)]
        out = empty(given.shape.values, "float32")

        def run(
            kernel: Way = library[f"way_{i}"], held: list[object] = arguments, out: object = out
        ) -> object:
            kernel(*held, out)
            return out

        ways[name] = run
    return ways


def matadd_ways(given: Operands) -> dict[str, Way]:
    """One MatAdd of the linear form, qb KV, by each method; checked here."""
    _, heads, tokens, dim = given.shape.values
    target = host_target(THREADS)
    functions = {m: matadd_function(tokens, dim, dim, target, heads, m) for m in METHODS}
    library, out = build(functions, target), empty((heads, tokens, dim), "float32")
    values = np.random.default_rng(1).standard_normal((heads, dim, dim), dtype=np.float32)
    arguments = tensor(pack_bits(given.qb[0])), tensor(values)
    ways: dict[str, Way] = {m: lambda kernel=library[m]: kernel(*arguments, out) for m in METHODS}
    expected = given.qb[0] @ values.astype(np.float64)
    for way in ways.values():
        way()
        assert np.abs(out.numpy() - expected).max() < 1e-5 * np.abs(expected).max()
    return ways


def check(ways: dict[str, Way], given: Operands) -> None:
    """Compare every way with float64; 8-bit products may have noise 30 dB below the signal.

    Rounding errors of a sum of N terms, 2^-24 each, grow like a random walk: with the root of N.
    """
    softmax, binary = given.softmax(), given.binary()
    allowed = 2 * math.sqrt(max(given.shape.tokens, given.shape.dim)) * 2**-24
    for name, way in ways.items():
        expected = softmax if name in FUSED else binary
        found = way()
        found = np.asarray(found.numpy() if hasattr(found, "numpy") else found)
        error = np.abs(found - expected).max() / np.abs(expected).max()
        if "int8" in name:
            noise = 10 * math.log10(np.square(expected).mean() / np.square(found - expected).mean())
            print(f"  {name:26} signal to noise {noise:.1f} dB")
            assert noise > 30, noise
        else:
            assert error < allowed, (name, error, allowed)


def measure(ways: dict[str, Way], seconds: float) -> dict[str, np.ndarray]:
    """Return each way's ms, one value a round: the median of its turn."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    order, begin = list(ways), perf_counter()
    while len(times[order[0]]) < FEWEST_ROUNDS or perf_counter() - begin < seconds:
        random.shuffle(order)
        for name in order:
            settled = perf_counter() + SETTLE_MS / 1e3
            run_ms(ways[name])
            while perf_counter() < settled:
                run_ms(ways[name])
            runs: list[float] = []
            while len(runs) < TIMED and sum(runs) < ENOUGH_MS:
                runs.append(run_ms(ways[name]))
            times[name].append(float(np.median(runs)))
    return {name: np.array(values) for name, values in times.items()}


def run_ms(way: Way) -> float:
    start = perf_counter_ns()
    way()
    return (perf_counter_ns() - start) / 1e6


def report(times: dict[str, np.ndarray], shape: AttentionShape) -> None:
    def best(names: tuple[str, ...]) -> str:
        return min(names, key=lambda name: float(np.median(times[name])))

    fused, linear = best(FUSED[:2]), best(LINEAR)
    rounds, fewer = len(times[fused]), shape.tokens / shape.dim
    print(f"  rivals: {fused} (fused), {linear} (linear); {rounds} rounds; multiply-adds N/d = {fewer:.1f}")
    for name, values in times.items():
        ratios = [paired_ratio(times[rival], values, seed=0) for rival in (fused, linear, "ORT linear int8")]
        told = "  ".join(f"{ratio:7.2f}x ({low:.2f} to {high:.2f})" for ratio, (low, high) in ratios)
        print(f"  {name:26}{np.median(values):10.3f} ms   over fused, linear, int8: {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", default=["12x197x64", "12x1024x64", "12x4096x64", "3x101x32"])
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--matadd", action="store_true", help="the methods of one MatAdd instead")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    random.seed(0)
    print(describe(host_target(THREADS)))
    for text in arguments.shapes:
        shape = AttentionShape(1, *(int(extent) for extent in text.split("x")))
        given = Operands(shape)
        print(f"{shape.heads} heads x {shape.tokens} tokens x {shape.dim}")
        if arguments.matadd:
            times = measure(matadd_ways(given), arguments.seconds)
            for name, values in times.items():
                ratio, (low, high) = paired_ratio(times["multiply"], values, seed=0)
                median = np.median(values)
                print(f"  {name:10}{median:8.3f} ms   over multiply {ratio:.2f}x ({low:.2f} to {high:.2f})")
            continue
        with torch.inference_mode():
            ways = {
                **fused_ways(given),
                **linear_ways(given),
                "ORT linear int8": int8_way(given),
                **our_ways(given),
            }
            check(ways, given)
            report(measure(ways, arguments.seconds), shape)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
