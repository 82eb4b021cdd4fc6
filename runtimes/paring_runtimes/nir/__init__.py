"""Graphs of NIR, the Neuromorphic Intermediate Representation: read, checked and written without torch.

Pedersen et al. 2024, https://doi.org/10.1038/s41467-024-52259-9; https://neuroir.org. A file is HDF5.
It is read and written with h5py alone: every release of the package `nir` fixes its own set of keys (1.0.4,
which some simulators ask for, refuses files with `v_reset` or `CubaLI`), and its errors name neither file nor
node.
"""

from __future__ import annotations

from .errors import NirRefused
from .flat import Flat, flatten
from .graph import Graph, check_edges
from .nodes import NODE_TYPES, Node
from .reading import read
from .shapes import node_shapes
from .writing import write

__all__ = [
    "NODE_TYPES",
    "Flat",
    "Graph",
    "NirRefused",
    "Node",
    "check_edges",
    "flatten",
    "node_shapes",
    "read",
    "write",
]
