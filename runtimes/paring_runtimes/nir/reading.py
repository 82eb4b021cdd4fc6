"""A NIR file becomes a `Graph`. Nothing in a file is run: it is numbers and text, and links are refused."""

from __future__ import annotations

import os
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import numpy as np

from paring_runtimes.errors import MissingExtraError
from paring_runtimes.suggest import near_miss

from .errors import NirRefused
from .graph import Graph, check_edges
from .nodes import NODE_TYPES, Node
from .probing import probe, vouched_for
from .shapes import node_shapes

MAX_DEPTH = 16  # graphs within graphs
MAX_BYTES = 8 << 30  # of one dataset, unpacked


def read(path: str | os.PathLike[str], *, own: bool = False) -> Graph:
    """Read `path` and check it: nodes, edges, shapes, and that all numbers are finite.

    Args:
        path: the file. Unless an artifact's manifest vouches for it, it is first read in a process of its
            own, some 0.5 s: a damaged one may hang libhdf5, or crash it.
        own: this process wrote it just now, so that it is whole.

    Raises:
        NirRefused: no NIR file, or a wrong one; one line with the file, the node and what is wrong.
        MissingExtraError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("reading a NIR file", "spikes") from None
    file = Path(path)
    if not file.is_file():
        raise NirRefused(f"{file}: no such file")
    try:
        if not own and not vouched_for(file):
            probe(file)
        with h5py.File(file, "r") as opened:
            graph = _top(_Reader(h5py), opened)
        check_edges(graph)
        node_shapes(graph)
    except NirRefused as error:
        raise NirRefused(f"{file}: {error}") from None
    except (OSError, RuntimeError, LookupError, TypeError, ValueError) as error:  # what h5py raises
        reason = str(error).partition("\n")[0]
        raise NirRefused(f"{file}: no NIR file (which is HDF5), or a damaged one: {reason}") from None
    return graph


def _top(reader: _Reader, opened: Any) -> Graph:
    if "node" not in opened:
        raise NirRefused("no group 'node': an HDF5 file, but not one of NIR")
    found = reader.node(reader.group(opened, "node", "the file"), "", 0)
    if not isinstance(found, Graph):
        raise NirRefused(f"holds one {type(found).__name__}, expected a NIRGraph")
    return found


class _Reader:
    """Groups and datasets become nodes; `where` is a node's path in words of the graph."""

    def __init__(self, h5py: Any) -> None:
        self.h5py = h5py

    def node(self, group: Any, where: str, depth: int) -> Node | Graph:
        if depth > MAX_DEPTH:
            raise NirRefused(f"node {where}: graphs within graphs, more than {MAX_DEPTH} deep")
        kind = self.text(group, "type", where)
        if kind == "NIRGraph":
            return self.graph(group, where, depth)
        if kind not in NODE_TYPES:
            near = near_miss(kind, NODE_TYPES)
            raise NirRefused(f"node {where}: unknown type {kind!r}{near}; known: {', '.join(NODE_TYPES)}")
        known = {one.name: one for one in fields(NODE_TYPES[kind])}
        extra = sorted(set(group) - set(known) - {"type"})
        if extra:
            raise NirRefused(f"node {where} ({kind}): unknown key {extra[0]!r}{near_miss(extra[0], known)}")
        told = f"node {where} ({kind})"
        values = {name: self.value(group, one, told) for name, one in known.items()}
        return NODE_TYPES[kind](**values)

    def graph(self, group: Any, where: str, depth: int) -> Graph:
        nodes: dict[str, Node | Graph] = {}
        inner = self.group(group, "nodes", f"graph {where}" if where else "the graph")
        for name in inner:
            path = f"{where}.{name}" if where else str(name)
            nodes[str(name)] = self.node(self.group(inner, name, f"node {path}"), path, depth + 1)
        metadata = self.metadata(group, where) if "metadata" in group else {}
        return Graph(nodes, self.edges(group, where), metadata)

    def edges(self, group: Any, where: str) -> tuple[tuple[str, str], ...]:
        told = f"graph {where}" if where else "the graph"
        found = np.asarray(self.dataset(group, "edges", told))
        if found.size == 0:
            return ()
        if found.ndim != 2 or found.shape[1] != 2:
            raise NirRefused(f"{told}: edges of shape {list(found.shape)}, expected [edges, 2]")
        pairs = [[_text(end) for end in row] for row in found]
        if any(end is None for row in pairs for end in row):
            raise NirRefused(f"{told}: edges that are no text, expected names of nodes")
        return tuple((str(a), str(b)) for a, b in pairs)

    def value(self, group: Any, one: Field[Any], told: str) -> Any:
        if one.name == "metadata":
            return self.metadata(group, told) if "metadata" in group else {}
        if one.name not in group and one.default is not MISSING:
            return one.default
        raw = self.dataset(group, one.name, told)
        told = f"{told}: {one.name}"
        wanted = [part.strip() for part in str(one.type).split("|")]
        if isinstance(raw, self.h5py.Empty) and "None" in wanted:
            return None
        if "np.ndarray" in wanted:
            return _numbers(raw, told)
        if "str" in wanted and _text(raw) is not None:
            if _text(raw) not in ("same", "valid"):
                raise NirRefused(f"{told}: {_text(raw)!r}, expected 'same', 'valid' or numbers")
            return _text(raw)
        length = {"int": 1, "tuple[int, int]": 2, "Shape": None}[wanted[0]]
        whole = _integers(raw, length, told)
        return whole[0] if length == 1 else whole

    def metadata(self, group: Any, told: str) -> dict[str, Any]:
        return self.tree(self.group(group, "metadata", told), told, 0)

    def tree(self, group: Any, told: str, depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH:
            raise NirRefused(f"{told}: metadata within metadata, more than {MAX_DEPTH} deep")
        found: dict[str, Any] = {}
        for name in group:
            if isinstance(self.linked(group, name, told), self.h5py.Group):
                found[str(name)] = self.tree(group[name], told, depth + 1)
                continue
            raw = self.dataset(group, name, told)
            text = _text(raw)
            found[str(name)] = raw if text is None else text
        return found

    def text(self, group: Any, name: str, where: str) -> str:
        told = f"node {where}" if where else "the graph"
        text = _text(self.dataset(group, name, told))
        if text is None:
            raise NirRefused(f"{told}: {name} is no text")
        return text

    def group(self, group: Any, name: str, told: str) -> Any:
        found = self.linked(group, name, told)
        if not isinstance(found, self.h5py.Group):
            raise NirRefused(f"{told}: {name} is no group")
        return found

    def dataset(self, group: Any, name: str, told: str) -> Any:
        found = self.linked(group, name, told)
        if not isinstance(found, self.h5py.Dataset):
            raise NirRefused(f"{told}: {name} is no dataset")
        if found.is_virtual or found.external:
            raise NirRefused(f"{told}: {name} lies in another file, expected its own numbers")
        if found.shape is not None and found.size * found.dtype.itemsize > MAX_BYTES:
            raise NirRefused(
                f"{told}: {name} of shape {list(found.shape)} is larger than {MAX_BYTES >> 30} GiB"
            )
        return found[()]

    def linked(self, group: Any, name: str, told: str) -> Any:
        """What lies under `name`, and not a link to elsewhere."""
        link = group.get(name, getlink=True)
        if link is None:
            raise NirRefused(f"{told}: no {name!r}")
        if not isinstance(link, self.h5py.HardLink):
            raise NirRefused(f"{told}: {name} is a link, expected what it names")
        return group[name]


def _text(raw: Any) -> str | None:
    """`raw` as text, None where it is none."""
    if isinstance(raw, np.ndarray) and raw.ndim == 0:
        raw = raw[()]
    if isinstance(raw, bytes):
        return raw.decode("utf8")
    return raw if isinstance(raw, str) else None


def _numbers(raw: Any, told: str) -> np.ndarray:
    array = np.asarray(raw)
    if array.dtype.kind not in "fiub":
        raise NirRefused(f"{told}: dtype {array.dtype}, expected numbers")
    if not np.isfinite(array).all():
        at = [int(axis) for axis in np.argwhere(~np.isfinite(array))[0]]
        raise NirRefused(f"{told}: {array[tuple(at)]} at {at}, expected finite numbers")
    return array


def _integers(raw: Any, length: int | None, told: str) -> tuple[int, ...]:
    array = np.asarray(raw)
    if array.dtype.kind not in "iufb" or array.ndim > 1 or not np.array_equal(array, np.floor(array)):
        raise NirRefused(f"{told}: {str(raw)[:40]}, expected whole numbers")
    found = tuple(int(one) for one in array.reshape(-1))
    if length is None or len(found) == length:
        return found
    if len(found) != 1:
        raise NirRefused(f"{told}: {list(found)}, expected {length} numbers")
    return found * length
