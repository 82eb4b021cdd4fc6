"""Binary linear attention of ShiftAddViT (https://arxiv.org/abs/2306.06446) as one kernel.

For each head: KV = kb^T v [d, d]; out = 0.5 v + (1/pi) qb KV, with qb, kb in {0, 1} [N, d] and v [N, d]; then,
where asked for, each row divided by its L2 norm. Two forms of the same function:

- linear: two MatAdds, 2 N d^2 additions of which tables of subset sums save three in four;
- quadratic: scores qb kb^T by popcount, times v: N^2 d multiply-adds. Cheaper only where N is below d.

The depthwise convolution of v, which the method adds to the result, is left to the graph around.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx
from tvm.s_tir import Schedule

from paring_exporters.tvm.binary_pack import pack_columns, pack_rows, unpack_rows, words
from paring_exporters.tvm.binary_schedule import ROWS_AT_ONCE, schedule_linear, schedule_quadratic
from paring_exporters.tvm.matadd import look_up, matadd, subset_sums
from paring_exporters.tvm.popcount import check_scores, popcount_scores
from paring_runtimes.errors import ExportError

FORMS = ("linear", "quadratic")
SOURCES = ("bool", "uint8", "packed", "float32")
# As in torch.nn.functional.normalize: a row of zeros stays zero.
SMALLEST_NORM = 1e-12


@dataclass(frozen=True)
class AttentionShape:
    """Extents of q, k and v, each [batch, heads, tokens, dim]."""

    batch: int
    heads: int
    tokens: int
    dim: int

    def __post_init__(self) -> None:
        if min(self.batch, self.heads, self.tokens, self.dim) < 1:
            raise ExportError(f"binary attention: extents must be positive, not {self}")

    @property
    def values(self) -> tuple[int, int, int, int]:
        """[B, H, N, d]."""
        return self.batch, self.heads, self.tokens, self.dim

    @property
    def packed(self) -> tuple[int, int, int, int]:
        """[B, H, N, ceil(d / 32)]."""
        return self.batch, self.heads, self.tokens, words(self.dim)


def attention_function(
    shape: AttentionShape, form: str = "linear", source: str = "bool", normalise: bool = False
) -> Any:
    """Return a PrimFunc, scheduled for CPUs: heads are spread over threads.

    Its parameters, all of shape [B, H, N, d] unless said otherwise:

    - source "bool", "uint8": qb, kb (0 and 1), v, out: the custom op `paring::binary_attention`.
    - source "packed": qb, kb as words [B, H, N, ceil(d / 32)] uint32, v, out.
    - source "float32": q, k, thresholds of q and of k [H], v, out; a bit is 1 above its head's threshold.

    Args:
        shape: extents.
        form: one of FORMS.
        source: one of SOURCES.
        normalise: divide each row by its L2 norm over d.

    Raises:
        ExportError: no such form or source, or a dim over what scores unroll.
    """
    inputs, out = attention_definition(shape, form, source, normalise)
    schedule = Schedule(te.create_prim_func([*inputs, out]))
    (schedule_linear if form == "linear" else schedule_quadratic)(schedule)
    return schedule.mod["main"]


def attention_definition(
    shape: AttentionShape, form: str, source: str, normalise: bool, tables: bool = True
) -> tuple[list[Any], Any]:
    """Return the operation's input tensors and its output, unscheduled. `tables` False: MatAdds by select."""
    if form not in FORMS:
        raise ExportError(f"binary attention: form {form!r} is none of {', '.join(FORMS)}")
    check_scores(shape.dim, "overlap", "float32")
    q, k, thresholds = _inputs(shape, source)
    v = te.placeholder(shape.values, "float32", name="v")
    q_bits = q if source == "packed" else pack_rows(q, *thresholds[:1], name="q_bits")
    if form == "quadratic":
        k_bits = k if source == "packed" else pack_rows(k, *thresholds[1:], name="k_bits")
        summed = _quadratic(q_bits, k_bits, v)
    else:
        keys = unpack_rows(k, shape.dim, name="k_unpacked") if source == "packed" else k
        summed = _linear(q_bits, pack_columns(keys, *thresholds[1:], name="k_bits"), v, tables)
    return [q, k, *thresholds, v], _mix(v, summed, normalise)


def _inputs(shape: AttentionShape, source: str) -> tuple[Any, Any, list[Any]]:
    if source not in SOURCES:
        raise ExportError(f"binary attention: source {source!r} is none of {', '.join(SOURCES)}")
    extents = shape.packed if source == "packed" else shape.values
    dtype = "uint32" if source == "packed" else source
    q, k = (te.placeholder(extents, dtype, name=name) for name in ("q", "k"))
    names = ("q_threshold", "k_threshold") if source == "float32" else ()
    return q, k, [te.placeholder((shape.heads,), "float32", name=name) for name in names]


def _linear(q_bits: Any, k_bits: Any, v: Any, tables: bool) -> Any:
    """(1/pi) qb (kb^T v). Keys' words [B, H, ceil(N / 32), d] are the transpose of what MatAdd reads."""
    batch, heads, count, dim = k_bits.shape
    transposed = te.compute(
        (batch, heads, dim, count), lambda b, h, i, w: k_bits[b, h, w, i], name="k_bits_transposed"
    )
    if not tables:
        kv = matadd(transposed, v, name="kv")
        attended = matadd(q_bits, kv, name="attend")
        scale = tirx.const(1 / math.pi, "float32")
        return te.compute(attended.shape, lambda *i: attended[i] * scale, name="scaled")
    kv = look_up(transposed, subset_sums(v, name="v_sums"), name="kv")
    return look_up(q_bits, subset_sums(kv, 1 / math.pi, name="kv_sums"), name="attend")


def _quadratic(q_bits: Any, k_bits: Any, v: Any) -> Any:
    """(1/pi) (qb kb^T) v, its rows rounded up to whole tiles: rows beyond the last repeat it."""
    batch, heads, tokens, count = q_bits.shape
    rows = -(-int(tokens) // ROWS_AT_ONCE) * ROWS_AT_ONCE
    last = int(tokens) - 1
    q_rows = te.compute(
        (batch, heads, rows, count),
        lambda b, h, n, w: q_bits[b, h, tirx.min(n, last), w],
        name="q_rows",
    )
    scores = popcount_scores(q_rows, k_bits, dtype="float32")
    m = te.reduce_axis((0, int(tokens)), name="m")
    attended = te.compute(
        (batch, heads, rows, v.shape[-1]),
        lambda b, h, n, i: te.sum(scores[b, h, n, m] * v[b, h, m, i], axis=m),
        name="attend",
    )
    scale = tirx.const(1 / math.pi, "float32")
    return te.compute(attended.shape, lambda *i: attended[i] * scale, name="scaled")


def _mix(v: Any, summed: Any, normalise: bool) -> Any:
    """0.5 v + summed; where asked, each row divided by its L2 norm."""
    half = tirx.const(0.5, "float32")
    name = "mixed" if normalise else "out"
    mixed = te.compute(v.shape, lambda *i: v[i] * half + summed[i], name=name)
    if not normalise:
        return mixed
    i = te.reduce_axis((0, int(v.shape[-1])), name="i")
    squares = te.compute(
        v.shape[:-1], lambda *n: te.sum(mixed[(*n, i)] * mixed[(*n, i)], axis=i), name="squares"
    )
    least = tirx.const(SMALLEST_NORM, "float32")
    norm = te.compute(v.shape[:-1], lambda *n: tirx.max(tirx.sqrt(squares[n]), least), name="norm")
    return te.compute(v.shape, lambda b, h, n, i: mixed[b, h, n, i] / norm[b, h, n], name="out")
