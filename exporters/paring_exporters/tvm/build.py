"""Compile functions of TIR into a shared library, save it, load it, and call it with NumPy arrays."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from paring_exporters.tvm.target import check_version
from paring_runtimes.errors import EngineError, ExportError

# TVM's kernels read whole vector registers, so that their buffers begin at such an address.
ALIGNMENT_BYTES = 64


class Library:
    """Compiled kernels by name. `library["name"]` takes TVM tensors, the outputs last, without a copy."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getitem__(self, name: str) -> Any:
        """Return a kernel as a callable on TVM tensors (`tensor`, `empty`)."""
        try:
            return self._module[name]
        except AttributeError as error:
            raise EngineError(f"the library has no kernel {name!r}") from error

    def call(self, name: str, *inputs: NDArray[Any], output: tuple[tuple[int, ...], str]) -> NDArray[Any]:
        """Run a kernel on NumPy arrays and return its only output, of shape and dtype `output`."""
        out = empty(*output)
        self[name](*(tensor(value) for value in inputs), out)
        return np.asarray(out.numpy())

    def assembly(self) -> str:
        """Return the machine code as text. Only of a library that was compiled in this process."""
        return str(getattr(self._module, "mod", self._module).inspect_source("asm"))

    def save(self, path: str | Path) -> Path:
        """Link the kernels into a shared library at `path`; the linker is the system's `cc`.

        Raises:
            ExportError: the linker failed or there is none.
        """
        try:
            self._module.export_library(str(path))
        except (RuntimeError, OSError) as error:
            raise ExportError(f"{path}: the kernels could not be linked: {error}") from error
        return Path(path)

    def to_bytes(self) -> bytes:
        """Return the bytes of the shared library."""
        with tempfile.TemporaryDirectory() as folder:
            return self.save(Path(folder) / "kernels.so").read_bytes()


def build(functions: Mapping[str, Any], target: Any) -> Library:
    """Compile PrimFuncs for a target.

    Args:
        functions: name of the kernel in the library, to its PrimFunc.
        target: `host_target()`, `portable_target()` or any other target of TVM.

    Raises:
        ExportError: TVM is too old, or refused a function.
    """
    check_version()
    module = tvm.IRModule({n: f.with_attr("global_symbol", n) for n, f in functions.items()})
    try:
        return Library(tvm.compile(module, target=target))
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"TVM could not compile {', '.join(functions)} for {target}: {error}") from error


def load(path: str | Path) -> Library:
    """Open a shared library that `Library.save` wrote.

    Raises:
        EngineError: the file is no library of TVM.
    """
    try:
        return Library(tvm.runtime.load_module(str(path)))
    except (RuntimeError, OSError, ValueError) as error:
        raise EngineError(f"{path}: TVM could not load it: {error}") from error


def tensor(value: NDArray[Any]) -> Any:
    """Return a TVM tensor of a NumPy array: a view where the array begins at 64 bytes, otherwise a copy."""
    if value.flags.c_contiguous and value.flags.writeable and value.ctypes.data % ALIGNMENT_BYTES == 0:
        return tvm.runtime.from_dlpack(value)
    return tvm.runtime.tensor(np.ascontiguousarray(value))


def empty(shape: tuple[int, ...], dtype: str) -> Any:
    """Return an uninitialised TVM tensor on the CPU."""
    return tvm.runtime.empty(shape, dtype)
