"""Small NIR graphs, written to files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

nir = pytest.importorskip("nir")
pytest.importorskip("numba")
sys.path.insert(0, str(Path(__file__).parent))  # the reference beside the tests

Draw = Callable[..., np.ndarray]


@pytest.fixture
def draw() -> Draw:
    """Normal float32 weights of a shape."""
    rng = np.random.default_rng(1)
    return lambda *shape, by=0.3: (rng.standard_normal(shape) * by).astype(np.float32)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a nir.NIRGraph, return the file."""

    def to_file(graph: object, name: str = "graph.nir") -> Path:
        nir.write(str(tmp_path / name), graph)
        return tmp_path / name

    return to_file
