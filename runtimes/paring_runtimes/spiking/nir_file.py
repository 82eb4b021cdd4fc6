"""Read a NIR file: nodes with their arrays, and edges. h5py alone; whatever version of NIR wrote it.

NIR, the Neuromorphic Intermediate Representation (https://doi.org/10.1038/s41467-024-52259-9), is one HDF5
file: `node/nodes/NAME/FIELD` and `node/edges`. Graphs in graphs are laid flat here, their nodes named
"outer.inner".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.errors import EngineError, MissingExtraError
from paring_runtimes.suggest import near_miss

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NEURON = ("v_threshold",)
# By kind: the fields that must be there, then those that may be. Every field is finite numbers unless named
# in _TEXT.
FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Input": (("shape",), ()),
    "Output": ((), ("shape",)),
    "Affine": (("weight", "bias"), ()),
    "Linear": (("weight",), ()),
    "Conv1d": (("weight", "stride", "padding", "dilation", "groups"), ("bias", "input_shape")),
    "Conv2d": (("weight", "stride", "padding", "dilation", "groups"), ("bias", "input_shape")),
    "SumPool2d": (("kernel_size", "stride", "padding"), ()),
    "AvgPool2d": (("kernel_size", "stride", "padding"), ()),
    "Flatten": (("start_dim", "end_dim"), ("input_type",)),
    "Scale": (("scale",), ()),
    "Delay": (("delay",), ()),
    "Threshold": (("threshold",), ()),
    "I": (("r",), ()),
    "IF": (("r", *_NEURON), ("v_reset",)),
    "LI": (("tau", "r", "v_leak"), ()),
    "LIF": (("tau", "r", "v_leak", *_NEURON), ("v_reset",)),
    "CubaLI": (("tau_syn", "tau_mem", "r", "v_leak"), ("w_in",)),
    "CubaLIF": (("tau_syn", "tau_mem", "r", "v_leak", *_NEURON), ("v_reset", "w_in")),
}
_TEXT = ("padding",)  # "same" and "valid" are told by name


@dataclass(frozen=True)
class NirNode:
    """One node: its kind ("Conv2d"), its fields, and what else the file says of it."""

    kind: str
    fields: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NirFile:
    """A graph without graphs in it. Edges keep the file's order, each once."""

    path: Path
    nodes: dict[str, NirNode]
    edges: tuple[tuple[str, str], ...]
    metadata: dict[str, Any]


def read_nir(path: Path) -> NirFile:
    """Read and check a file.

    Raises:
        MissingExtraError: h5py is not installed.
        EngineError: no such file, no NIR, an unknown kind of node, a field that is missing or not finite.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise MissingExtraError("running a spiking network", "spikes") from None
    try:
        with h5py.File(path, "r") as file:
            root = _plain(file["node"])
    except (OSError, KeyError, RuntimeError) as error:
        text = " ".join(str(error).split())[:300]
        raise EngineError(f"{path}: not a whole NIR file (HDF5 with a group 'node'): {text}") from None
    if not isinstance(root, dict) or root.get("type") != "NIRGraph":
        raise EngineError(f"{path}: its root is no NIRGraph")
    nodes: dict[str, NirNode] = {}
    edges = _flatten(path, root, "", nodes)
    return NirFile(path, nodes, tuple(dict.fromkeys(edges)), _metadata(root))


def _plain(item: Any) -> Any:
    """Return groups as dicts, texts as str, the rest as numpy values."""
    if hasattr(item, "items"):
        return {str(name): _plain(child) for name, child in item.items()}
    value = item[()]
    return value.decode() if isinstance(value, bytes) else value


def _flatten(
    path: Path, graph: dict[str, Any], prefix: str, nodes: dict[str, NirNode]
) -> list[tuple[str, str]]:
    """Put a graph's nodes into `nodes`; return its edges, those of inner graphs first."""
    found = graph.get("nodes", {})
    edges: list[tuple[str, str]] = []
    inner: dict[str, tuple[str, str]] = {}  # of an inner graph: its input and its output
    for name, told in found.items():
        full = prefix + name
        kind = told.get("type") if isinstance(told, dict) else None
        if kind == "NIRGraph":
            edges += _flatten(path, told, f"{full}.", nodes)
            inner[name] = tuple(  # type: ignore[assignment]
                _only(path, full, told["nodes"], end) for end in ("Input", "Output")
            )
        elif kind not in FIELDS:
            raise EngineError(
                f"{path}: node {full!r} is a {kind!r}, which is not known{near_miss(kind, FIELDS)}; "
                f"known: {', '.join(FIELDS)}, NIRGraph"
            )
        else:
            nodes[full] = _node(path, full, kind, told)
    for ends in np.asarray(graph.get("edges", ())).reshape(-1, 2):
        source, target = (end.decode() if isinstance(end, bytes) else str(end) for end in ends)
        for end in (source, target):
            if end not in found:
                raise EngineError(f"{path}: the edge {prefix}{source} -> {target} names no node: {end!r}")
        sender = f"{source}.{inner[source][1]}" if source in inner else source
        receiver = f"{target}.{inner[target][0]}" if target in inner else target
        edges.append((prefix + sender, prefix + receiver))
    return edges


def _only(path: Path, full: str, nodes: dict[str, Any], kind: str) -> str:
    found = [name for name, told in nodes.items() if told.get("type") == kind]
    if len(found) != 1:
        raise EngineError(f"{path}: the inner graph {full!r} has {len(found)} {kind} nodes; expected one")
    return found[0]


def _node(path: Path, name: str, kind: str, told: dict[str, Any]) -> NirNode:
    needed, optional = FIELDS[kind]
    for key in needed:
        if key not in told:
            raise EngineError(f"{path}: node {name!r} ({kind}) has no {key}")
    fields = {key: told[key] for key in (*needed, *optional) if key in told}
    for key, value in fields.items():
        if isinstance(value, str):
            if key not in _TEXT:
                raise EngineError(f"{path}: node {name!r} ({kind}): {key} is the text {value!r}")
            continue
        array = np.asarray(value)
        if array.dtype.kind not in "iufb":
            raise EngineError(f"{path}: node {name!r} ({kind}): {key} holds no numbers but {array.dtype}")
        if not np.isfinite(array).all():
            count = int(array.size - np.isfinite(array).sum())
            raise EngineError(
                f"{path}: node {name!r} ({kind}): {key} holds {count} values of {array.size} that are NaN or "
                "infinite"
            )
        fields[key] = array
    return NirNode(kind, fields, _metadata(told))


def _metadata(told: dict[str, Any]) -> dict[str, Any]:
    found = told.get("metadata")
    return found if isinstance(found, dict) else {}


def whole_numbers(path: Path, name: str, key: str, value: NDArray[Any], count: int) -> tuple[int, ...]:
    """Return one whole number an axis; a single one stands for all.

    Raises:
        EngineError: others than whole numbers, or another count of them.
    """
    flat = np.asarray(value).reshape(-1)
    if flat.size not in (1, count) or not np.array_equal(flat, np.round(flat)):
        raise EngineError(f"{path}: node {name!r}: {key} is {flat.tolist()}; expected {count} whole numbers")
    return tuple(int(one) for one in np.broadcast_to(flat, (count,)))
