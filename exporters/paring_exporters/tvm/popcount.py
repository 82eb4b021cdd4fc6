"""Scores of binary vectors by population counts of their packed words.

- overlap: q . k = popcount(q & k), the score of {0, 1} vectors.
- hamming: popcount(q ^ k) = |q| + |k| - 2 q . k.

Both are exact. `ctpop` of LLVM is one instruction where the target has VPOPCNTDQ, a short sequence
elsewhere; `__popc` in CUDA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import te, tirx
from tvm.s_tir import Schedule

from paring_exporters.tvm.binary_pack import words
from paring_runtimes.errors import ExportError

KINDS: dict[str, Callable[[Any, Any], Any]] = {"overlap": tirx.bitwise_and, "hamming": tirx.bitwise_xor}
DTYPES = ("int32", "int16", "uint8", "float32")
MOST_BITS = 2048  # of a vector: its words are unrolled


def popcount_scores(q: Any, k: Any, kind: str = "overlap", dtype: str = "int32", name: str = "scores") -> Any:
    """Define scores [B, H, N, M] of words q [B, H, N, W] and k [B, H, M, W], W unrolled.

    Args:
        q, k: uint32 words along the dim.
        kind: "overlap" or "hamming".
        dtype: of the scores.
        name: of the stage; the keys' words, transposed, are `name`_keys.
    """
    count = int(q.shape[-1])
    # Neighbouring keys in neighbouring lanes.
    keys = te.compute(
        (*k.shape[:2], count, k.shape[2]), lambda b, h, w, m: k[b, h, m, w], name=f"{name}_keys"
    )

    def score(b: Any, h: Any, n: Any, m: Any) -> Any:
        total = tirx.const(0, "uint32")
        for w in range(count):
            total = total + tirx.popcount(KINDS[kind](q[b, h, n, w], keys[b, h, w, m]))
        return tirx.Cast(dtype, total)

    return te.compute((*q.shape[:3], k.shape[2]), score, name=name)


def scores_function(
    heads: int, tokens: int, dim: int, batch: int = 1, kind: str = "overlap", dtype: str = "int32"
) -> Any:
    """Return a scheduled PrimFunc (q, k [B, H, N, ceil(dim / 32)] uint32, out [B, H, N, N]) for a CPU.

    Raises:
        ExportError: no such kind or dtype, or a dtype that cannot hold `dim`.
    """
    check_scores(dim, kind, dtype)
    q, k = (te.placeholder((batch, heads, tokens, words(dim)), "uint32", name=name) for name in "qk")
    schedule = Schedule(te.create_prim_func([q, k, popcount_scores(q, k, kind, dtype)]))
    b, h, *_ = schedule.get_loops(schedule.get_sblock("scores"))
    head = schedule.fuse(b, h)
    # The loop over keys stays plain: LLVM vectorises it, whatever their number.
    schedule.parallel(head)
    schedule.compute_at(schedule.get_sblock("scores_keys"), head)
    return schedule.mod["main"]


def check_scores(dim: int, kind: str, dtype: str) -> None:
    """Raise ExportError for a kind or dtype that `popcount_scores` has not."""
    if kind not in KINDS:
        raise ExportError(f"popcount scores: kind {kind!r} is none of {', '.join(KINDS)}")
    if dtype not in DTYPES or (dtype == "uint8" and dim > 255):
        raise ExportError(f"popcount scores: dtype {dtype!r} is not one of {', '.join(DTYPES)} that holds {dim}")
    if dim > MOST_BITS:
        raise ExportError(f"popcount scores: vectors of {dim} bits, at most {MOST_BITS} are unrolled")
