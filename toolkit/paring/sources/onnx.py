"""`onnx:FILE` or `onnx:FILE?sr=16000&batch=1`: a finished ONNX graph, which is exported as it is.

No transform reaches into it. Behind a question mark stand numbers by name: of an input, which becomes a
constant of the graph (an `If` that depends on it is then decided); or of an open size, which becomes that.
A size without a name is called as `paring inspect` calls it, INPUT_dim_AXIS.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from paring_runtimes.errors import ExportError, MissingExtraError, SourceError

from ._graph import LoadedGraph
from ._loaded import Request

HELP = "onnx:FILE: an ONNX graph as it is; onnx:FILE?NAME=NUMBER fixes an input or an open size"


def why_not() -> str | None:
    """Why ONNX files cannot be checked here."""
    if importlib.util.find_spec("onnx") is None:
        return "onnx is not installed: pip install 'paring[onnx]'"
    return None


def load(request: Request) -> LoadedGraph:
    """Read the file, which must be whole, its external data included."""
    if why_not() is not None:
        raise MissingExtraError("reading an ONNX file", "onnx")
    if request.weights is not None:
        raise SourceError(f"{request.spec}: an ONNX file holds its own weights; leave --weights out")
    place, _, told = request.target.partition("?")
    file, fix = Path(place), _numbers(told, request.spec)
    if request.image_size is not None:
        raise SourceError(
            f"{request.spec}: fix sizes by their names, onnx:FILE?NAME=NUMBER, not by image_size"
        )
    extra = _external_files(_parse(file), file)
    import onnx

    from paring_exporters.given.graph import given_graph

    try:
        graph = given_graph(file, onnx.load(file), fix)
    except ExportError as error:
        raise SourceError(str(error)) from None
    return LoadedGraph(graph, file.stem, request.spec, (file, *extra))


def _numbers(told: str, spec: str) -> dict[str, float]:
    found = {}
    for item in filter(None, told.split("&")):
        name, _, number = item.rpartition("=")
        try:
            found[unquote(name)] = float(number)
        except ValueError:
            raise SourceError(f"{spec}: {item!r}: NAME=NUMBER is needed, such as sr=16000") from None
    return found


def _parse(file: Path) -> Any:
    import onnx

    if not file.is_file():
        raise SourceError(f"{file}: no such file")
    try:
        graph = onnx.load(file, load_external_data=False).graph
    except Exception as error:  # protobuf's DecodeError shares no base with others
        raise SourceError(f"{file}: no ONNX model, or a truncated one ({error})") from error
    if not graph.node or not graph.output:
        raise SourceError(f"{file}: no ONNX model, or a truncated one (its graph is empty)")
    return graph


def _external_files(graph: Any, file: Path) -> list[Path]:
    """The files that hold weights, each long enough for them."""
    needed: dict[Path, int] = {}
    for tensor in graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if "location" in entries:
            path = file.parent / entries["location"]
            end = int(entries.get("offset", 0)) + int(entries.get("length", 0))
            needed[path] = max(end, needed.get(path, 0))
    for path, size in needed.items():
        found = path.stat().st_size if path.is_file() else None
        if found is None or found < size:
            state = "is missing" if found is None else f"has {found} bytes, {size} are needed"
            raise SourceError(f"{file}: its weights file {path.name} {state}")
    return list(needed)
