"""A tile of a shift layer's sums on CPUs with AVX2 alone: tables of 16 bytes, products of byte pairs.

`vpshufb` looks a code up as v + 64, 0 to 128; `vpmaddubsw` multiplies by activations and adds pairs, up to
2 * 128 * 127 = 32,512, which int16 holds; `vpmaddwd` by ones adds pairs of those. Sums begin at -64 * sum q.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paring_exporters.tvm.shift_codes import LANES, Order, values
from paring_exporters.tvm.shift_problem import Schedule, ShiftShape
from paring_exporters.tvm.shift_quantise import Quantised
from paring_exporters.tvm.tir import T, lanes, local, pure, store

AVX2 = ("avx2",)
_OFFSET = 64
_HALF = 32  # bytes of a register: 8 output features by 4 input features


@dataclass(frozen=True)
class Avx2Tile:
    """256-bit registers; 4-bit codes. Fulfils `shift_tile.Tile`."""

    shape: ShiftShape
    schedule: Schedule
    order: Order = "dot"

    def tables(self) -> Any:
        """Return the table, v + 64 of each code, twice."""
        entries = (values(4) + _OFFSET).astype("uint8").view("int32")
        buffer = local((8,), "int32")
        for i in range(8):
            store(buffer, T.int32(int(entries[i % 4])), i)
        return T.Bind(T.reinterpret("uint8x32", buffer[lanes(0, 8)]))

    def sums(self, tables: Any, q: Quantised, weight: Any, rows: tuple[Any, int], block: Any) -> list[Any]:
        """See `Tile.sums`."""
        first, count = rows
        total = local((count, LANES), "int32")
        for row in range(count):
            begin = T.broadcast(q.total[first + row] * T.int32(-_OFFSET), LANES)
            store(total, begin, row, lanes(0, LANES))
        ones = T.broadcast(T.int16(1), 16)
        with T.serial(0, self.shape.units) as unit:
            loaded = [T.Bind(weight[block, unit, lanes(_HALF * half, _HALF)]) for half in range(2)]
            for word in range(2):
                decoded = [T.Bind(_look_up(tables, half, word)) for half in loaded]
                for row in range(count):
                    activation = q.words[first + row, unit * 2 + word]
                    spread = T.Bind(T.reinterpret("int8x32", T.broadcast(activation, 8)))
                    for half, value in enumerate(decoded):
                        pairs = pure("int16x16", "llvm.x86.avx2.pmadd.ub.sw", value, spread)
                        at = (row, lanes(8 * half, 8))
                        added = pure("int32x8", "llvm.x86.avx2.pmadd.wd", pairs, ones)
                        store(total, total[at] + added, *at)
        return [total[row, lanes(0, LANES)] for row in range(count)]


def _look_up(table: Any, loaded: Any, word: int) -> Any:
    words = T.reinterpret("uint32x8", loaded)
    shifted = words if word == 0 else words >> T.broadcast(T.uint32(4), 8)
    index = T.reinterpret("uint8x32", shifted) & T.broadcast(T.uint8(15), _HALF)
    return pure("uint8x32", "llvm.x86.avx2.pshuf.b", table, index)
