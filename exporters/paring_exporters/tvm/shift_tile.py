"""The inner loop of a shift-linear kernel: a tile of rows by blocks of 16 output features, in registers.

Both ways take the same arguments and add v * q over all input features:

- `VnniTile`: a byte of two nibbles is decoded by one lookup in a table of 64 bytes (`vpermb`, which ignores
  the index bits above the sixth, so that nibbles need no masking when the table repeats), four products are
  summed by one instruction (`vpdpbusd`). That multiplies unsigned by signed bytes, so the table holds
  v + offset, and the sums begin at -offset * sum q.
- `PortableTile`: integer shifts and multiplications on vectors of 16 int32, on any CPU that LLVM knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from paring_exporters.tvm.shift_codes import LANES, REGISTER_BYTES, Order, split, unit_features, values
from paring_exporters.tvm.shift_problem import Schedule, ShiftShape
from paring_exporters.tvm.shift_quantise import Quantised
from paring_exporters.tvm.tir import T, lanes, local, pure, store

_DOT = "llvm.x86.avx512.vpdpbusd.512"
_PERMUTE = "llvm.x86.avx512.permvar.qi.512"
# Dependent sums wait 4 cycles for each other; two can start in each.
_FEWEST_SUMS = 8


class Tile(Protocol):
    """A way to compute a tile."""

    @property
    def order(self) -> Order:
        """The order of bytes in which it reads a unit."""

    def tables(self) -> Any:
        """Emit what a thread prepares once."""

    def sums(self, tables: Any, q: Quantised, weight: Any, rows: tuple[Any, int], block: Any) -> list[Any]:
        """Emit the tile of rows (first, count) by blocks from `block`; return its sums as expressions.

        One entry a row and block, rows outermost: int32x16 for 4 bits, (low, high) of them for 5.
        """


@dataclass(frozen=True)
class VnniTile:
    """512-bit byte tables and four-byte dot products."""

    shape: ShiftShape
    schedule: Schedule
    order: Order = "dot"

    def tables(self) -> list[tuple[int, Any]]:
        """Return (offset, table) of the low part, and of the high part for 5 bits."""
        integers = values(self.shape.bits)
        parts = [integers] if self.shape.bits == 4 else list(split(integers))
        return [_table(part) for part in parts]

    def sums(self, tables: Any, q: Quantised, weight: Any, rows: tuple[Any, int], block: Any) -> list[Any]:
        """See `Tile.sums`: partial sums in registers, more than one each where there are few."""
        first, count = rows
        blocks, parts = self.schedule.column_blocks, len(tables)
        chains = _chains(count * blocks * parts)
        total = local((chains, count, blocks, parts, LANES), "int32")
        for row in range(count):
            for j in range(blocks):
                for part, (offset, _) in enumerate(tables):
                    begin = q.total[first + row] * T.int32(-offset)
                    for chain in range(chains):
                        value = T.broadcast(begin if chain == 0 else T.int32(0), LANES)
                        store(total, value, chain, row, j, part, lanes(0, LANES))
        unroll = self.schedule.unroll
        looped, rest = divmod(self.shape.units, unroll)
        if looped:
            with T.serial(0, looped) as step:
                for inner in range(unroll):
                    self._unit(tables, q, weight, rows, block, step * unroll + inner, total, inner)
        for inner in range(rest):
            self._unit(tables, q, weight, rows, block, looped * unroll + inner, total, inner)
        return _gather(total, chains, count, blocks, parts)

    def _unit(
        self,
        tables: Any,
        q: Quantised,
        weight: Any,
        rows: tuple[Any, int],
        block: Any,
        unit: Any,
        total: Any,
        turn: int,
    ) -> None:
        first, count = rows
        chains, words = int(total.shape[0]), unit_features(self.shape.bits) // 4
        indices = [self._indices(weight, block + j, unit) for j in range(self.schedule.column_blocks)]
        for word in range(words):
            chain = (turn * words + word) % chains
            decoded = [[T.Bind(_lookup(t, index[word]())) for _, t in tables] for index in indices]
            for row in range(count):
                activation = q.words[first + row, unit * words + word]
                spread = T.reinterpret("int8x64", T.broadcast(activation, LANES))
                for j, of_block in enumerate(decoded):
                    for part, value in enumerate(of_block):
                        at = (chain, row, j, part, lanes(0, LANES))
                        store(total, pure("int32x16", _DOT, total[at], value, spread), *at)

    def _indices(self, weight: Any, block: Any, unit: Any) -> list[Any]:
        """Return one function a register of the unit, which makes the register's table indices."""
        nibbles = 1 if self.shape.bits == 4 else 4
        loaded = [
            T.Bind(weight[block, unit, lanes(REGISTER_BYTES * i, REGISTER_BYTES)]) for i in range(nibbles)
        ]
        if self.shape.bits == 4:
            return [lambda b=b, s=s: _shift(b, s) for b in loaded for s in (0, -4)]
        signs = T.Bind(weight[block, unit, lanes(REGISTER_BYTES * 4, REGISTER_BYTES)])

        def index(register: int) -> Any:
            nibble = _shift(loaded[register // 2], -4 * (register % 2))
            return (nibble & _bytes(15)) | (_shift(signs, 4 - register) & _bytes(0xF0))

        return [lambda r=r: index(r) for r in range(8)]


@dataclass(frozen=True)
class PortableTile:
    """Vectors of 16 int32, and nothing that a CPU may lack."""

    shape: ShiftShape
    schedule: Schedule
    order: Order = "lanes"

    def tables(self) -> None:
        """A thread prepares nothing."""

    def sums(self, tables: Any, q: Quantised, weight: Any, rows: tuple[Any, int], block: Any) -> list[Any]:
        """See `Tile.sums`: an input feature at a time."""
        first, count = rows
        blocks, parts = self.schedule.column_blocks, 1 if self.shape.bits == 4 else 2
        total = local((1, count, blocks, parts, LANES), "int32")
        zero = T.broadcast(T.int32(0), LANES)
        for row in range(count):
            for j in range(blocks):
                for part in range(parts):
                    store(total, zero, 0, row, j, part, lanes(0, LANES))
        registers = unit_features(self.shape.bits) // 4
        with T.serial(0, self.shape.units) as unit, T.serial(0, 4) as byte:
            for register in range(registers):
                word = unit * registers + register
                for j in range(blocks):
                    decoded = [T.Bind(p) for p in self._decode(weight, block + j, unit, register, byte)]
                    for row in range(count):
                        activation = T.broadcast(_byte(q.words[first + row, word], byte), LANES)
                        for part, value in enumerate(decoded):
                            at = (0, row, j, part, lanes(0, LANES))
                            store(total, total[at] + value * activation, *at)
        return _gather(total, 1, count, blocks, parts)

    def _decode(self, weight: Any, block: Any, unit: Any, register: int, byte: Any) -> list[Any]:
        """Return the integers of one input feature for 16 output features: int32x16, or (low, high)."""
        start = register // 2 * REGISTER_BYTES + byte * LANES
        nibble = _wide(weight[block, unit, lanes(start, LANES)]) >> _ints(4 * (register % 2)) & _ints(15)
        if self.shape.bits == 4:
            m, negative = nibble & _ints(7), nibble >> _ints(3)
        else:
            signs = _wide(weight[block, unit, lanes(4 * REGISTER_BYTES + byte * LANES, LANES)])
            m, negative = nibble, signs >> _ints(register) & _ints(1)
        magnitude = T.Bind(_ints(1) << m >> _ints(1))
        value = T.Bind(magnitude * (_ints(1) - negative * _ints(2)))
        if self.shape.bits == 4:
            return [value]
        low = T.Bind((value + _ints(128) & _ints(255)) - _ints(128))
        return [low, (value - low) >> _ints(8)]


def _chains(sums: int) -> int:
    """How many partial sums each sum is cut into, so that enough of them do not wait for each other."""
    chains = 1
    while sums * chains < _FEWEST_SUMS and chains < 4:
        chains *= 2
    return chains


def _gather(total: Any, chains: int, count: int, blocks: int, parts: int) -> list[Any]:
    found: list[Any] = []
    for row in range(count):
        for j in range(blocks):
            of_parts = []
            for part in range(parts):
                summed = [total[chain, row, j, part, lanes(0, LANES)] for chain in range(chains)]
                of_parts.append(sum(summed[1:], summed[0]))
            found.append(of_parts[0] if parts == 1 else tuple(of_parts))
    return found


def _table(part: NDArray[np.int64]) -> tuple[int, Any]:
    """Return (offset, 64 bytes): the part's integers plus the offset, repeated."""
    offset = -int(min(part))
    entries = np.tile(np.asarray(part) + offset, REGISTER_BYTES // len(part)).astype(np.uint8)
    buffer = local((LANES,), "int32")
    for i, word in enumerate(entries.view(np.int32)):
        store(buffer, T.int32(int(word)), i)
    return offset, T.Bind(T.reinterpret("uint8x64", buffer[lanes(0, LANES)]))


def _lookup(table: Any, index: Any) -> Any:
    return pure("uint8x64", _PERMUTE, table, index)


def _shift(value: Any, left: int) -> Any:
    """Shift 64 bytes as 16 words: what crosses a byte's border lands in bits that are not looked at."""
    if left == 0:
        return value
    words, by = T.reinterpret("uint32x16", value), T.broadcast(T.uint32(abs(left)), LANES)
    return T.reinterpret("uint8x64", words << by if left > 0 else words >> by)


def _bytes(value: int) -> Any:
    return T.broadcast(T.uint8(value), REGISTER_BYTES)


def _ints(value: int) -> Any:
    return T.broadcast(T.int32(value), LANES)


def _wide(value: Any) -> Any:
    return T.cast(value, "int32x16")


def _byte(word: Any, byte: Any) -> Any:
    """Return one of the four int8 of a word, widened."""
    return (word << (T.int32(24) - byte * 8)) >> T.int32(24)
