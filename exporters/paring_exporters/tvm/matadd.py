"""MatAdd: a binary matrix times a real one, out[m, n] = sum over k of (bit[m, k] ? V[k, n] : 0).

Three ways, the same sums in other orders:

- `table`: for every four rows of V, the sums of all 16 subsets of them are written once; a row of the
  result is then one table row for each four bits, added up (the method of the Four Russians [1]). 64 bits
  cost 16 additions in place of 64, at the price of the tables: it pays where M is well above 16.
- `select`: a masked addition for each bit.
- `multiply`: bits become 0.0 and 1.0, and fused multiply-adds do the rest.

[1] Arlazarov, Dinic, Kronrod and Faradzhev, On economical construction of the transitive closure of a
    directed graph, 1970.
"""

from __future__ import annotations

from typing import Any

from tvm import te, tirx
from tvm.s_tir import Schedule

from paring_exporters.tvm.binary_loops import column_tile, extent, finish_tile, parts_for, vectorise
from paring_exporters.tvm.binary_pack import WORD, bit_of, words
from paring_exporters.tvm.target import threads_of
from paring_runtimes.errors import ExportError

METHODS = ("table", "select", "multiply")
NIBBLES = 8  # of a word
SUBSETS = 16  # of the four rows that a nibble selects
# The tables of two words and 64 columns are 64 KiB: more would leave the second cache.
WORDS_AT_ONCE = 2
# Below this many rows the tables cost more than they save.
FEWEST_ROWS_FOR_TABLE = 32


def matadd(bits: Any, values: Any, method: str = "select", name: str = "matadd") -> Any:
    """Define the sum with one addition, or one multiply-add, a bit.

    Args:
        bits: [*, M, ceil(K / 32)] uint32, packed along K.
        values: [*, K, N] fp32.
        method: "select" or "multiply".
        name: of the stage.
    """
    inner = int(values.shape[-2])
    k = te.reduce_axis((0, inner), name="k")

    def term(*index: Any) -> Any:
        *batch, m, n = index
        bit = bit_of(bits[(*batch, m, k // WORD)], k % WORD)
        value = values[(*batch, k, n)]
        if method == "multiply":
            return te.sum(tirx.Cast("float32", bit) * value, axis=k)
        return te.sum(tirx.Select(bit != tirx.const(0, "uint32"), value, tirx.const(0.0, "float32")), axis=k)

    return te.compute((*bits.shape[:-1], values.shape[-1]), term, name=name)


def subset_sums(values: Any, scale: float = 1.0, name: str = "table") -> Any:
    """Define the table [*, ceil(K / 32), 8, 16, N]: entry p of a nibble sums the rows that p's bits select.

    Args:
        values: [*, K, N] fp32.
        scale: factor of every entry.
        name: of the stage.
    """
    *lead, inner, columns = values.shape
    zero = tirx.const(0.0, "float32")

    def row(batch: list[Any], k: Any, n: Any) -> Any:
        value = values[(*batch, k, n)]
        if int(inner) % WORD:
            value = tirx.if_then_else(k < inner, value, zero)
        return value if scale == 1.0 else value * tirx.const(scale, "float32")

    def entry(*index: Any) -> Any:
        *batch, w, nibble, p, n = index
        rows = [row(batch, w * WORD + nibble * 4 + j, n) for j in range(4)]
        chosen = [tirx.bitwise_and(tirx.shift_right(p, j), 1) == 1 for j in range(4)]
        return _tree([tirx.Select(*both, zero) for both in zip(chosen, rows, strict=True)])

    return te.compute((*lead, words(int(inner)), NIBBLES, SUBSETS, columns), entry, name=name)


def look_up(bits: Any, table: Any, name: str = "matadd") -> Any:
    """Define the sum [*, M, N] by words [*, M, W] and the table of `subset_sums`.

    Up to two words are one expression; more are a reduction over words, with partial sums in memory.
    """
    count = int(bits.shape[-1])
    w = te.reduce_axis((0, count), name="w")

    def entry(*index: Any) -> Any:
        *batch, m, n = index
        if count > WORDS_AT_ONCE:
            return te.sum(_word_sum(bits, table, batch, m, w, n), axis=w)
        return _tree([_word_sum(bits, table, batch, m, word, n) for word in range(count)])

    return te.compute((*bits.shape[:-1], table.shape[-1]), entry, name=name)


def matadd_function(
    rows: int, inner: int, columns: int, target: Any, batch: int = 1, method: str = ""
) -> Any:
    """Return a scheduled PrimFunc (bits [batch, M, ceil(K / 32)] uint32, V [batch, K, N], out [batch, M, N]).

    Args:
        rows: M.
        inner: K.
        columns: N.
        target: an LLVM target.
        batch: how many pairs of matrices.
        method: one of METHODS; empty: "table" from 32 rows on, otherwise "select".

    Raises:
        ExportError: no such method.
    """
    method = method or ("table" if rows >= FEWEST_ROWS_FOR_TABLE else "select")
    if method not in METHODS:
        raise ExportError(f"MatAdd: method {method!r} is none of {', '.join(METHODS)}")
    bits = te.placeholder((batch, rows, words(inner)), "uint32", name="bits_in")
    values = te.placeholder((batch, inner, columns), "float32", name="values_in")
    out = look_up(bits, subset_sums(values)) if method == "table" else matadd(bits, values, method)
    schedule = Schedule(te.create_prim_func([bits, values, out]))
    if method == "table":
        schedule_look_up(schedule, "matadd", "table", threads_of(target))
    else:
        _schedule_tiles(schedule)
    return schedule.mod["main"]


def schedule_look_up(schedule: Any, name: str, table: str, threads: int = 0) -> None:
    """Order the loops of a `look_up` stage, its column tiles outermost, and compute its table beside it.

    Args:
        schedule: holds both stages.
        name: of the stage; its last loops are rows, columns and, where it is a reduction, passes.
        table: name of its table's stage.
        threads: over how many to spread columns and rows; 0 leaves that to an outer loop.
    """
    block = schedule.get_sblock(name)
    loops = schedule.get_loops(block)
    passes = [loops.pop()] if schedule.get(block).init is not None else []
    *lead, m, n = loops
    tiles, inner = schedule.split(n, [None, column_tile(extent(schedule, n))])
    outer = [*lead, tiles] if threads else [tiles]
    if threads:
        parts, m = schedule.split(m, [parts_for(schedule, outer, m, threads), None])
        outer.append(parts)
    schedule.reorder(*outer, *passes, m, inner)
    begin = schedule.fuse(*outer)
    if threads:
        schedule.parallel(begin)
    schedule.compute_at(schedule.get_sblock(table), [begin, *passes][-1], preserve_unit_loops=True)
    *_, subsets, columns = schedule.get_loops(schedule.get_sblock(table))
    schedule.unroll(subsets)
    vectorise(schedule, columns)
    vectorise(schedule, inner)
    if passes:
        zero = schedule.decompose_reduction(block, passes[0])
        vectorise(schedule, schedule.get_loops(zero)[-1])


def _schedule_tiles(schedule: Any) -> None:
    """Hold a tile of the result, up to 8 rows and 64 columns, in registers while K goes by."""
    block = schedule.get_sblock("matadd")
    batch, m, n, k = schedule.get_loops(block)
    columns = column_tile(extent(schedule, n))
    m, rows = schedule.split(m, [None, _row_tile(extent(schedule, m), columns)])
    n, columns = schedule.split(n, [None, columns])
    schedule.reorder(batch, n, m, k, rows, columns)
    store = schedule.cache_write(block, 0, "local")
    schedule.reverse_compute_at(store, m, preserve_unit_loops=True)
    schedule.parallel(schedule.fuse(batch, n))
    schedule.unroll(rows)
    vectorise(schedule, columns)
    finish_tile(schedule, block, k, store)


def _row_tile(rows: int, columns: int) -> int:
    """The largest divisor of `rows` whose tile fits in 16 to 24 registers, beside V's own."""
    most = 4 if columns > 32 else 8
    return next(tile for tile in range(most, 0, -1) if rows % tile == 0)


def _word_sum(bits: Any, table: Any, batch: list[Any], m: Any, w: Any, n: Any) -> Any:
    """The eight table rows that word `w` of row `m` names, added."""
    word, low = bits[(*batch, m, w)], tirx.const(SUBSETS - 1, "uint32")
    shifted = [tirx.shift_right(word, tirx.const(4 * nibble, "uint32")) for nibble in range(NIBBLES)]
    subsets = [tirx.Cast("int32", tirx.bitwise_and(value, low)) for value in shifted]
    return _tree([table[(*batch, w, nibble, p, n)] for nibble, p in enumerate(subsets)])


def _tree(terms: list[Any]) -> Any:
    """Their sum by pairs: short chains of additions."""
    while len(terms) > 1:
        pairs = [left + right for left, right in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[2 * len(pairs) :]
    return terms[0]
