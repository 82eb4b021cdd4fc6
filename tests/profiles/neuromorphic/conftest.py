"""Small NIR graphs, and chips whose limits a test chooses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from paring_profiles.neuromorphic.chip import Chip, Limit, chip
from paring_runtimes.nir import Graph
from paring_runtimes.nir import nodes as nir

WORDS = {"source": "horowitz2014", "where": "a test", "basis": "assumed", "checked": "not verified"}


def soft_reset(
    nodes: dict[str, Any],
    edges: list[tuple[str, str]],
    name: str,
    shape: tuple[int, ...],
    level: float = 1.0,
    initial: float = 0.0,
) -> str:
    """Add neurons that fire from `level` on and lose it then; gives the node that sends their spikes.

    As paring writes them: NIR fires strictly above a threshold, and membranes start at 0.
    """
    below = np.nextafter(np.float32(level - initial), np.float32(-np.inf))
    nodes[name] = nir.I(np.ones(shape, np.float32))
    nodes[f"{name}_spikes"] = nir.Threshold(np.full(shape, below, np.float32))
    nodes[f"{name}_back"] = nir.Scale(np.full(shape, -level, np.float32))
    edges += [(name, f"{name}_spikes"), (f"{name}_spikes", f"{name}_back"), (f"{name}_back", name)]
    return f"{name}_spikes"


def dense_graph(*weights: np.ndarray, level: float = 1.0) -> Graph:
    """Input -> linear -> neurons -> ... -> linear -> output; weights [out, in] each."""
    nodes: dict[str, Any] = {"input": nir.Input((weights[0].shape[1],))}
    edges: list[tuple[str, str]] = []
    before = "input"
    for number, weight in enumerate(weights):
        nodes[f"fc{number}"] = nir.Linear(np.asarray(weight, np.float32))
        edges.append((before, f"fc{number}"))
        before = f"fc{number}"
        if number + 1 < len(weights):
            edges.append((before, f"n{number}"))
            before = soft_reset(nodes, edges, f"n{number}", (weight.shape[0],), level)
    nodes["output"] = nir.Output((weights[-1].shape[0],))
    edges.append((before, "output"))
    return Graph(nodes, tuple(edges))


@pytest.fixture
def small_chip() -> Callable[..., Chip]:
    """A chip like the generic one, with other limits: small_chip(neurons=4, cores=2)."""

    def made(base: str = "generic_45nm", **limits: int) -> Chip:
        found = chip(base)
        changed = {
            name: Limit(value=value, **{**WORDS, "source": next(iter(found.sources))})
            for name, value in limits.items()
        }
        return found.model_copy(update={"limits": found.limits.model_copy(update=changed)})

    return made
