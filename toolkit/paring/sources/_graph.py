"""A graph from elsewhere, read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paring_exporters.given.graph import GivenGraph


@dataclass(frozen=True, eq=False)
class LoadedGraph:
    """An ONNX graph, which is exported as it is.

    Attributes:
        graph: the graph, with what is fixed of it.
        name: short, fit for a file name.
        spec: what was asked for.
        source_files: every file that was read.
        model: None: there is no PyTorch model to work on.
        random_weights: False: whose weights they are is not known.
    """

    graph: GivenGraph
    name: str
    spec: str
    source_files: tuple[Path, ...] = ()
    model: None = None
    random_weights: bool = False
