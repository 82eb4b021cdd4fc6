"""Random graphs with every type of node, for hypothesis; and whether two graphs say the same."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import strategies as st

from paring_runtimes.nir import Graph, Node
from paring_runtimes.nir import nodes as nir

DT = 1e-4


def same(one: Any, other: Any) -> bool:
    """Nodes and graphs, to the last bit and dtype; nodes in any order, edges in theirs."""
    if isinstance(one, Graph):
        return (
            isinstance(other, Graph)
            and one.edges == other.edges
            and set(one.nodes) == set(other.nodes)
            and all(same(node, other.nodes[name]) for name, node in one.nodes.items())
            and same(one.metadata, other.metadata)
        )
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(value, other[key]) for key, value in one.items())
    if hasattr(one, "__dataclass_fields__"):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)
        )
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    return bool(one == other)


def _array(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    dtype = np.float64 if rng.random() < 0.3 else np.float32
    return np.asarray(rng.uniform(low, high, shape), dtype)


def neurons(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Node]:
    """One of each type with a shape."""
    tau = lambda: _array(rng, shape, 3 * DT, 20 * DT)  # noqa: E731
    level = lambda: _array(rng, shape, 0.1, 1.0)  # noqa: E731
    rest = lambda: _array(rng, shape, -0.1, 0.1)  # noqa: E731
    gain = lambda: _array(rng, shape, 0.5, 2.0)  # noqa: E731
    reset = lambda: rest() if rng.random() < 0.5 else None  # noqa: E731
    big = _array(rng, shape, 0.2 / DT, 1 / DT)
    return {
        "I": nir.I(big),
        "IF": nir.IF(big, level(), reset()),
        "LI": nir.LI(tau(), gain(), rest()),
        "LIF": nir.LIF(tau(), gain(), rest(), level(), reset(), {"note": "a neuron"}),
        "CubaLI": nir.CubaLI(tau(), tau(), gain(), rest(), gain() if rng.random() < 0.5 else None),
        "CubaLIF": nir.CubaLIF(tau(), tau(), gain(), rest(), level(), reset(), gain()),
        "Scale": nir.Scale(_array(rng, shape, -1, 1)),
        "Threshold": nir.Threshold(_array(rng, shape, -0.5, 0.5)),
        "Delay": nir.Delay(rng.integers(0, 4, shape).astype(np.float64) * DT),
    }


def layers(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, tuple[Node, tuple[int, ...]]]:
    """Every layer that takes `shape`, with what it gives."""
    if len(shape) == 1:
        out = int(rng.integers(1, 6))
        weight, bias = _array(rng, (out, shape[0]), -1, 1), _array(rng, (out,), -1, 1)
        return {"Affine": (nir.Affine(weight, bias), (out,)), "Linear": (nir.Linear(weight), (out,))}
    groups = shape[0]
    out = groups * int(rng.integers(1, 3))
    weight = _array(rng, (out, 1, *(3,) * (len(shape) - 1)), -1, 1)
    bias = _array(rng, (out,), -0.5, 0.5)
    if len(shape) == 2:
        node = nir.Conv1d(weight, bias, 2, 2, 2, groups, shape[1])
        length = (shape[1] + 4 - 5) // 2 + 1
        return {
            "Conv1d": (node, (out, length)),
            "Flatten": (nir.Flatten(0, -1, shape), (shape[0] * shape[1],)),
        }
    told = (shape[1], shape[2]) if rng.random() < 0.5 else None
    pooled = (shape[0], (shape[1] + 1 - 2) // 2 + 1, shape[2])
    pool = {"kernel_size": (2, 1), "stride": (2, 1), "padding": (1, 0)}
    pooled = (shape[0], (shape[1] + 2 - 2) // 2 + 1, shape[2])
    return {
        "Conv2d": (nir.Conv2d(weight, bias, (1, 1), "same", (2, 1), groups, told), (out, *shape[1:])),
        "SumPool2d": (nir.SumPool2d(**pool), pooled),
        "AvgPool2d": (nir.AvgPool2d(**pool), pooled),
        "Flatten": (nir.Flatten(1, 2, shape), (shape[0], shape[1] * shape[2])),
    }


@st.composite
def graphs(draw: st.DrawFn, depth: int = 1) -> Graph:
    """Chains of layers and neurons, with skips, feedback loops and subgraphs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape: tuple[int, ...] = draw(st.sampled_from([(3,), (2, 9), (2, 6, 5)]))
    return _chain(draw, rng, shape, depth)[0]


def _chain(
    draw: st.DrawFn, rng: np.random.Generator, shape: tuple[int, ...], depth: int
) -> tuple[Graph, tuple[int, ...]]:
    nodes: dict[str, Node | Graph] = {"in": nir.Input(shape)}
    edges: list[tuple[str, str]] = []
    last = "in"
    for number in range(draw(st.integers(1, 5))):
        name, before = f"n{number}", shape
        kinds = ["layer", "neuron", "loop", "skip"] + (["graph"] if depth else [])
        kind = draw(st.sampled_from(kinds))
        if kind == "layer":
            nodes[name], shape = layers(rng, shape)[draw(st.sampled_from(sorted(layers(rng, shape))))]
        elif kind == "graph":
            nodes[name], shape = _chain(draw, rng, shape, depth - 1)
        else:
            nodes[name] = neurons(rng, shape)[draw(st.sampled_from(sorted(neurons(rng, shape))))]
        edges.append((last, name))
        if kind == "loop":
            nodes[f"{name}_back"] = nir.Scale(_array(rng, before, -1, 1))
            edges += [(name, f"{name}_back"), (f"{name}_back", name)]
        if kind == "skip":
            nodes[f"{name}_sum"] = nir.Scale(np.ones(before, np.float32))
            edges += [(last, f"{name}_sum"), (name, f"{name}_sum")]
            name = f"{name}_sum"
        last = name
    nodes["out"] = nir.Output(shape)
    edges.append((last, "out"))
    metadata = {"dt": DT, "by": "hypothesis", "more": {"list": np.arange(3)}} if depth else {}
    return Graph(nodes, tuple(edges), metadata), shape
