"""A `Graph` becomes a NIR file, whole or not at all; the same graph gives the same bytes."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from paring_runtimes.errors import MissingExtraError

from .errors import NirRefused
from .graph import Graph, check_edges
from .nodes import Node
from .shapes import node_shapes

VERSION = "1.0.7"  # of NIR, whose keys these are


def write(path: str | os.PathLike[str], graph: Graph) -> None:
    """Write `graph` to `path`, which is replaced.

    Nodes keep their order, which readers follow that go through them once. `v_reset` and `w_in` are written
    where they are given: readers of NIR 1.0.4 and before refuse the first.

    Raises:
        NirRefused: a wrong graph: edges, shapes, or numbers that are not finite.
        MissingExtraError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("writing a NIR file", "spikes") from None
    check_edges(graph)
    node_shapes(graph)
    file = Path(path)
    draft = file.with_name(f".{file.name}.{os.urandom(4).hex()}.tmp")
    try:
        with h5py.File(draft, "w", track_order=True) as opened:
            opened.create_dataset("version", data=VERSION, dtype=h5py.string_dtype())
            _write_graph(h5py, opened.create_group("node", track_order=True), graph)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def _write_graph(h5py: Any, group: Any, graph: Graph) -> None:
    group.create_dataset("type", data="NIRGraph", dtype=h5py.string_dtype())
    pairs = np.array(graph.edges, dtype=object).reshape(-1, 2)
    group.create_dataset("edges", data=pairs, dtype=h5py.string_dtype())
    inner = group.create_group("nodes", track_order=True)
    for name, node in graph.nodes.items():
        if not name or "/" in name or name == ".":
            raise NirRefused(f"node {name!r}: a name is text without '/', for it is a path in the file")
        place = inner.create_group(name, track_order=True)
        if isinstance(node, Graph):
            _write_graph(h5py, place, node)
        else:
            _write_node(h5py, place, name, node)
    _write_metadata(h5py, group, graph.metadata)


def _write_node(h5py: Any, group: Any, name: str, node: Node) -> None:
    group.create_dataset("type", data=type(node).__name__, dtype=h5py.string_dtype())
    for one in fields(node):
        value = getattr(node, one.name)
        if value is None:
            continue
        if one.name == "metadata":
            _write_metadata(h5py, group, value)
        elif isinstance(value, str):
            group.create_dataset(one.name, data=value, dtype=h5py.string_dtype())
        elif isinstance(value, np.ndarray):
            if not np.isfinite(value).all():
                raise NirRefused(f"node {name} ({type(node).__name__}): {one.name} holds NaN or infinity")
            group.create_dataset(one.name, data=value)
        else:
            group.create_dataset(one.name, data=np.asarray(value, dtype=np.int64))


def _write_metadata(h5py: Any, group: Any, metadata: dict[str, Any]) -> None:
    if not metadata:
        return
    _write_tree(h5py, group.create_group("metadata", track_order=True), metadata)


def _write_tree(h5py: Any, group: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            _write_tree(h5py, group.create_group(key, track_order=True), value)
        elif isinstance(value, str):
            group.create_dataset(key, data=value, dtype=h5py.string_dtype())
        else:
            group.create_dataset(key, data=value)
