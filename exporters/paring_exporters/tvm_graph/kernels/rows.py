"""Buffers seen as rows, however many dimensions they have, with a batch that stays open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import tirx

from paring_exporters.tvm.tir import T

# Rows of a tile, largest first: what the first leaves over is done by the others.
REST_TILES = (4, 1)


@dataclass(frozen=True)
class Rows:
    """The shape [batch, *middle, width] of a kernel's operands, seen as rows.

    Attributes:
        batch: a number, or a variable of TIR where the batch is open.
        middle: what is between batch and width, for example the tokens.
    """

    batch: Any
    middle: tuple[int, ...]

    @property
    def count(self) -> Any:
        """How many rows there are, int32."""
        batch = self.batch if isinstance(self.batch, int) else T.cast(self.batch, "int32")
        return batch * prod(self.middle)

    def argument(self, name: str, width: int, dtype: str = "float32") -> Any:
        """Declare a kernel's next argument, [batch, *middle, width]."""
        return T.arg(name, T.buffer((self.batch, *self.middle, width), dtype))

    def seen(self, argument: Any) -> Any:
        """Return an argument as [rows, width]; after the last argument was declared."""
        shape = (self.count, argument.shape[-1])
        return T.decl_buffer(shape, argument.dtype, data=argument.data)


def rows_of(batch: int | None, middle: tuple[int, ...]) -> Rows:
    """The rows of a kernel's operands, inside of its function; a batch of None stays open."""
    return Rows(tirx.Var("n", "int64") if batch is None else batch, middle)


def tiles(rows: Any, size: int, emit: Callable[[Any, int], None]) -> None:
    """Emit a loop over tiles of `size` rows, then smaller ones for what is left; `rows` may be open.

    `emit` is told the first row and the tile's number of rows, a constant.
    """
    done: Any = 0
    for count in (size, *(rest for rest in REST_TILES if rest < size)):
        found = (rows - done) // count
        if isinstance(found, int) and found == 0:
            continue
        with T.serial(0, found) as at:
            emit(T.Bind(done + at * count), count)
        done = done + found * count
        done = done if isinstance(done, int) else T.Bind(done)
