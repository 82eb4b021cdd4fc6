"""`onnx:FILE`: a finished ONNX file, for profiling only: no transform can reach into it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from paring_runtimes.errors import MissingExtraError, SourceError

from ._loaded import LoadedModel, Request

HELP = "onnx:FILE: an ONNX file, for profiling only"


def why_not() -> str | None:
    """Why ONNX files cannot be checked here."""
    if importlib.util.find_spec("onnx") is None:
        return "onnx is not installed: pip install 'paring[onnx]'"
    return None


def load(request: Request) -> LoadedModel:
    """Read the file's inputs and outputs; it must be whole, its external data included."""
    if why_not() is not None:
        raise MissingExtraError("reading an ONNX file", "onnx")
    if request.weights is not None:
        raise SourceError(f"{request.spec}: an ONNX file holds its own weights; leave --weights out")
    file = Path(request.target)
    graph = _parse(file)
    extra = _external_files(graph, file)
    name, shape = _image_input(graph, request)
    return LoadedModel(
        model=None,
        name=file.stem,
        spec=request.spec,
        input_name=name,
        input_shape=shape,
        output_names=tuple(output.name for output in graph.output),
        source_files=(file, *extra),
    )


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


def _image_input(graph: Any, request: Request) -> tuple[str, tuple[int, int, int]]:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [item for item in graph.input if item.name not in constants]
    shapes = [[dim.dim_value for dim in item.type.tensor_type.shape.dim] for item in inputs]
    if len(inputs) != 1 or len(shapes[0]) != 4:
        listed = ", ".join(f"{i.name} {s}" for i, s in zip(inputs, shapes, strict=True))
        raise SourceError(f"{request.target}: one input [B, C, H, W] is needed, not {listed or 'none'}")
    size = request.image_size or (shapes[0][2], shapes[0][3])
    return inputs[0].name, (shapes[0][1], *size)
