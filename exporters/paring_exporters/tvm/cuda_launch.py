"""How the kernels of one PrimFunc are launched on CUDA: read from the schedule and from the source."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx

_SIGNATURE = re.compile(r'extern "C" __global__ void .*?(main_kernel\w*)\(([^)]*)\);')


@dataclass(frozen=True)
class Launch:
    """One kernel: its name, its one-dimensional grid, its threads (x, y), its buffers in order."""

    kernel: str
    blocks: int
    threads: tuple[int, int]
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Buffer:
    """A parameter of the PrimFunc. Its last parameter is its output."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def launches(function: Any, source: str) -> list[Launch]:
    """Return the kernels of a scheduled PrimFunc in the order in which they run.

    Args:
        function: with its loops bound to blocks and threads.
        source: what TVM wrote for it.

    Raises:
        ValueError: the source has other kernels than the schedule.
    """
    body = function.body.block.body
    nests = list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]
    kernels = _SIGNATURE.findall(source)
    if len(kernels) != len(nests):
        raise ValueError(f"the source has {len(kernels)} kernels and the schedule {len(nests)}")
    found = []
    for (name, parameters), nest in zip(kernels, nests, strict=True):
        names = [one.rsplit(" ", 1)[1].removesuffix("_ptr") for one in parameters.split(", ")]
        grid = _bound(nest)
        threads = grid.get("threadIdx.x", 1), grid.get("threadIdx.y", 1)
        found.append(Launch(name, grid.get("blockIdx.x", 1), threads, tuple(names)))
    return found


def parameters(function: Any) -> list[Buffer]:
    """Return the parameters of a PrimFunc."""
    return [Buffer(str(one.name), _shape(one), str(one.dtype)) for one in function.params]


def scratch_bytes(function: Any) -> int:
    """Return how large each buffer between kernels must be, in bytes.

    TVM lets one stand for several that are not needed at once, so that each gets what the largest needs.
    """
    made = [one for one in function.body.block.alloc_buffers if one.scope() == "global"]
    return max((math.prod(_shape(one)) * np.dtype(str(one.dtype)).itemsize for one in made), default=0)


def _shape(buffer: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in buffer.shape)


def _bound(node: Any) -> dict[str, int]:
    """Extents of the axes that a nest is bound to."""
    if isinstance(node, tirx.SeqStmt):
        return {axis: extent for part in node.seq for axis, extent in _bound(part).items()}
    if hasattr(node, "block"):
        return _bound(node.block.body)
    if not isinstance(node, tirx.For):
        return {}
    binding = node.thread_binding
    own = {str(binding.thread_tag): int(node.extent)} if binding is not None else {}
    return {**_bound(node.body), **own}
