"""Calls of CUDA's runtime whose failures are `EngineError`s."""

from __future__ import annotations

import functools
from typing import Any

from paring_runtimes.cuda.driver import why_no_bindings
from paring_runtimes.errors import EngineError, MissingExtraError


@functools.cache
def cudart() -> Any:
    """Return `cuda.bindings.runtime`.

    Raises:
        MissingExtraError: cuda-bindings is not installed.
    """
    if why_no_bindings():
        raise MissingExtraError("running on an NVIDIA GPU", "tensorrt")
    from cuda.bindings import runtime

    return runtime


def checked(result: tuple[Any, ...]) -> Any:
    """Return what a call of `cudart()` gave besides its status: nothing, one value, or a tuple.

    Raises:
        EngineError: the status is not success.
    """
    status, values = result[0], result[1:]
    if int(status) != 0:
        _, name = cudart().cudaGetErrorName(status)
        _, text = cudart().cudaGetErrorString(status)
        raise EngineError(f"CUDA: {_text(name)}: {_text(text)}")
    return values[0] if len(values) == 1 else values or None


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
