"""The other operators of `paring::` in TVM: binary attention by kernels of ours, gathers, neurons."""

from __future__ import annotations

import math
from typing import Any

from tvm import relax, te

import paring.transforms._additive  # these register their operators
import paring.transforms._encoder
import paring.transforms._spikes
import paring.transforms.token_merge
from paring_runtimes.errors import ExportError

from ..tvm.binary_attention import AttentionShape, attention_function

assert paring.transforms
OPEN_BATCH = (
    "tvm: binary attention is computed by ordinary products while the batch is open; its own kernels take a"
    " fixed one: export.dynamic=[]"
)


def binary_attention(lowering: Any, node: Any, importer: Any) -> Any:
    """0.5 v + (1/pi) q_b k_b^T v by the form that the operator's name says."""
    form = "quadratic" if "quadratic" in node.target.__name__ else "linear"
    operands = [importer.env[one] for one in node.args]
    q, k, v = operands
    shape = list(v.ty.shape)
    if not all(hasattr(size, "value") for size in shape):
        lowering.note(OPEN_BATCH)
        return _products(importer, form, q, k, v)
    extents = AttentionShape(*(int(size) for size in shape))
    source = "bool" if str(q.ty.dtype) == "bool" else "uint8"
    kernel = lowering.kernel(
        importer,
        "binary_attention",
        (extents, form, source),
        lambda name: attention_function(extents, form, source).with_attr("global_symbol", name),
    )
    return lowering.call(importer, kernel, operands, shape)


def _products(importer: Any, form: str, q: Any, k: Any, v: Any) -> Any:
    emit, op = importer.block_builder.emit, relax.op
    bits = [emit(op.astype(one, "float32")) for one in (q, k)]
    turned = emit(op.permute_dims(bits[1], [0, 1, 3, 2]))
    if form == "linear":
        mixed = emit(op.matmul(bits[0], emit(op.matmul(turned, v))))
    else:
        mixed = emit(op.matmul(emit(op.matmul(bits[0], turned)), v))
    half, share = (relax.const(number, "float32") for number in (0.5, 1 / math.pi))
    return emit(op.add(emit(op.multiply(v, half)), emit(op.multiply(mixed, share))))


def take(lowering: Any, node: Any, importer: Any) -> Any:
    """Rows of each sequence: x [B, N, C], index [B, K] or [B, K, 1] -> [B, K, C]."""
    x, index = (importer.env[one] for one in node.args)
    deep = len(index.ty.shape) == 3

    def rows(x: Any, index: Any) -> Any:
        def at(b: Any, k: Any, c: Any) -> Any:
            return x[b, index[b, k, 0] if deep else index[b, k], c]

        return te.compute((x.shape[0], index.shape[1], x.shape[2]), at, name="take")

    return importer.block_builder.emit_te(rows, x, index)


def look_up(lowering: Any, node: Any, importer: Any) -> Any:
    """Entries of a table [K] by an index of any shape."""
    table, index = (importer.env[one] for one in node.args)

    def entries(table: Any, index: Any) -> Any:
        return te.compute(index.shape, lambda *at: table[index[at]], name="look_up")

    return importer.block_builder.emit_te(entries, table, index)


def nearest(lowering: Any, node: Any, importer: Any) -> Any:
    """The highest score of each row and where it is, the first of equals."""
    emit, scores = importer.block_builder.emit, importer.env[node.args[0]]
    best = emit(relax.op.max(scores, axis=-1, keepdims=True))
    where = emit(relax.op.argmax(scores, axis=-1, keepdims=True))
    return [best, where]


def sort_stable(lowering: Any, node: Any, importer: Any) -> Any:
    """Values and their places, equal ones in their order."""
    x = importer.env[node.args[0]]
    axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else -1)
    falling = node.kwargs.get("descending", node.args[2] if len(node.args) > 2 else False)
    emit, op = importer.block_builder.emit, relax.op
    places = emit(op.argsort(x, axis, falling, dtype="int64"))
    return [_gathered(importer.block_builder, x, axis, places), places]


def gather(lowering: Any, node: Any, importer: Any) -> Any:
    """Entries of x along an axis, by an index of as many axes. TVM's own wants lengths that are known."""
    x, axis, index = node.args[:3]
    return _gathered(importer.block_builder, importer.env[x], axis, importer.env[index])


def _gathered(builder: Any, x: Any, axis: int, index: Any) -> Any:
    def entries(x: Any, index: Any) -> Any:
        def at(*place: Any) -> Any:
            where = list(place)
            where[axis] = index[place]
            return x[tuple(where)]

        return te.compute(index.shape, at, name="gather")

    return builder.emit_te(entries, x, index)


def amax(lowering: Any, node: Any, importer: Any) -> Any:
    """The largest entry along axes."""
    x, axes, keep = (*node.args, False)[:3]
    keep_dims = bool(node.kwargs.get("keepdim", keep))
    return importer.block_builder.emit(relax.op.max(importer.env[x], axis=list(axes), keepdims=keep_dims))


def integrate_fire(lowering: Any, node: Any, importer: Any) -> Any:
    """Spikes [T, B, C, ...] of currents, step after step: the graph grows with T."""
    current, threshold, initial = (importer.env[one] for one in node.args[:3])
    hard, reset_to = node.args[3:]
    emit, op = importer.block_builder.emit, relax.op
    steps = int(current.ty.shape[0])
    arriving = emit(op.split(current, steps, axis=0))
    membrane, spikes = initial, []
    for step in range(steps):
        membrane = emit(op.add(arriving[step], membrane))
        fired = emit(op.greater_equal(membrane, threshold))
        spikes.append(emit(op.astype(fired, "float32")))
        lowered = emit(op.subtract(membrane, threshold)) if not hard else relax.const(reset_to, "float32")
        membrane = emit(op.where(fired, lowered, membrane))
    return emit(op.concat(spikes, axis=0))


def bipolar_fire(lowering: Any, node: Any, importer: Any) -> Any:
    """Refused: every step of every layer would be written out in the graph."""
    raise ExportError(
        "tvm: bipolar neurons (paring::bipolar_fire) have no loop over T steps here, and a graph of every"
        " step is too large to compile; export.format onnx runs them"
    )


TABLE = {
    "bipolar_fire.default": bipolar_fire,
    "integrate_fire.default": integrate_fire,
    "amax.default": amax,
    "gather.default": gather,
    "sort.stable": sort_stable,
    "binary_attention.default": binary_attention,
    "binary_attention_quadratic.default": binary_attention,
    "take.default": take,
    "look_up.default": look_up,
    "nearest.default": nearest,
}
