"""The few words of TVM's builder that the kernels are written with.

Kernels are built by Python functions that emit statements into the innermost open frame. So a tile of
registers is a Python loop, and what varies with the CPU is an ordinary function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T

__all__ = ["T", "function", "lanes", "local", "pure", "store"]


def lanes(start: Any, count: int) -> Any:
    """Return the index of `count` neighbouring elements from `start`."""
    return T.ramp(start, 1, count)


def local(shape: tuple[int, ...], dtype: str) -> Any:
    """Allocate a buffer that LLVM keeps in registers when all its indices are constants."""
    return T.alloc_buffer(shape, dtype, scope="local")


def store(buffer: Any, value: Any, *index: Any) -> None:
    """Emit buffer[index] = value."""
    T.buffer_store(buffer, value, list(index))


def pure(dtype: str, intrinsic: str, *values: Any) -> Any:
    """Call an LLVM intrinsic that has no side effects."""
    return T.call_llvm_pure_intrin(dtype, intrinsic, *values)


def function(name: str, emit: Callable[[], None]) -> Any:
    """Return the PrimFunc whose arguments and body `emit` declares; its buffers do not overlap."""
    with IRBuilder() as builder:
        with T.prim_func():
            T.func_name(name)
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            emit()
        return builder.get()
