"""Makers of NIR graphs for the tests."""

from __future__ import annotations

import itertools
from typing import Any

import nir
import numpy as np


def chain(*nodes: Any) -> Any:
    """A sequence of nodes, named n0, n1, ..."""
    names = [f"n{i}" for i in range(len(nodes))]
    return graph(dict(zip(names, nodes, strict=True)), list(itertools.pairwise(names)))


def graph(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Any:
    """A graph; newer versions of nir check shapes themselves unless told not to, and know no cycles."""
    try:
        return nir.NIRGraph(nodes, edges, type_check=False)
    except TypeError:
        return nir.NIRGraph(nodes, edges)


def given(*shape: int) -> Any:
    return nir.Input(np.array(shape))


def taken(*shape: int) -> Any:
    return nir.Output(np.array(shape))


def fires(*shape: int, threshold: float = 1.0) -> Any:
    """Integrate-and-fire neurons that reset to 0."""
    return nir.IF(r=np.ones(shape), v_threshold=np.full(shape, threshold))


def convolution(
    weight: np.ndarray, bias: np.ndarray | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1, size: tuple[int, int] = (8, 9),
) -> Any:  # fmt: skip
    bias = np.zeros(len(weight), np.float32) if bias is None else bias
    return nir.Conv2d(np.array(size), weight, stride, padding, dilation, groups, bias)


def pool(kind: Any, kernel: int, stride: int, padding: int = 0) -> Any:
    return kind(*(np.array([n, n]) for n in (kernel, stride, padding)))


def flatten(*shape: int) -> Any:
    return nir.Flatten({"input": np.array(shape)}, 0, -1)


def soft_reset(
    shape: tuple[int, ...], weight: Any, threshold: Any, size: tuple[int, ...], r: float = 1.0
) -> Any:
    """Input -> weight -> I -> Threshold -> Output, and Scale back: subtraction, as NIR can say it."""
    level = np.broadcast_to(np.asarray(threshold, np.float32), size).copy()
    nodes = {
        "input": given(*shape), "weight": weight, "membrane": nir.I(np.full(size, r)),
        "spike": nir.Threshold(level), "back": nir.Scale(-level / np.float32(r)), "output": taken(*size),
    }  # fmt: skip
    edges = [
        ("input", "weight"), ("weight", "membrane"), ("membrane", "spike"), ("spike", "back"),
        ("back", "membrane"), ("spike", "output"),
    ]  # fmt: skip
    return graph(nodes, edges)
