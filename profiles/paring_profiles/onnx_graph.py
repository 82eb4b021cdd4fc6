"""An ONNX file as a graph: its structure without its weights, its inputs, its real shapes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_profiles import inputs
from paring_profiles.scan_bodies import ScanBody, expose
from paring_runtimes.errors import ArtifactError, EngineError, MissingExtraError
from paring_runtimes.manifest import TensorSpec

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from paring_profiles.mac_formulas import Shape

# Where ONNX Runtime finds external weights of a model that is handed over as bytes.
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


def open_graph(path: Path) -> onnx.ModelProto:
    """Read a model, leaving external weights on disk, with its local functions inlined.

    Raises:
        ArtifactError: no such file, or not ONNX.
        MissingExtraError: onnx is not installed.
    """
    try:
        import onnx
        import onnx.inliner
    except ImportError as error:
        raise MissingExtraError("looking into an ONNX graph", "report") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # onnx raises protobuf's own exceptions
        raise ArtifactError(f"{path}: not a whole ONNX file: {error}") from error
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def external_files(model: onnx.ModelProto) -> set[str]:
    """Return the names of the files that hold the weights, relative to the model's folder."""
    return {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }


def input_specs(model: onnx.ModelProto) -> list[TensorSpec]:
    """Return what must be fed: the graph's inputs that are no weights."""
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    specs = []
    for value in model.graph.input:
        if value.name not in weights:
            kind = value.type.tensor_type
            dims = tuple(d.dim_param or int(d.dim_value) for d in kind.shape.dim)
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
            specs.append(TensorSpec(value.name, dtype, dims))
    return specs


def real_shapes(
    path: Path,
    model: onnx.ModelProto,
    shapes: Mapping[str, Shape],
    wanted: Iterable[str],
    feeds: Mapping[str, NDArray[Any]] | None = None,
    repeated: Sequence[ScanBody] = (),
) -> tuple[dict[str, Shape], dict[str, NDArray[Any]]]:
    """Run the graph once; return the shapes of the named tensors, and those inside of `repeated`, by output.

    Inference cannot tell shapes that depend on values (TopK, a computed Reshape); a run can.
    `Shape` nodes are the only outputs, so no intermediate tensor outlives its use, and
    optimisations are off, so every tensor is still there.

    Raises:
        EngineError: ONNX Runtime cannot run the model.
    """
    import onnx

    known = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    names = sorted(set(wanted) - known.keys())
    probe = copy.deepcopy(model)
    del probe.graph.output[:]
    expose(probe, list(repeated))
    for i, name in enumerate(names):
        out = f"paring_shape_{i}"
        probe.graph.node.append(onnx.helper.make_node("Shape", [name], [out]))
        probe.graph.output.append(onnx.helper.make_tensor_value_info(out, onnx.TensorProto.INT64, None))
    specs = input_specs(model)
    given = {**inputs.make(specs, shapes, seed=0), **(feeds or {})}
    told = [output.name for output in probe.graph.output]
    values = dict(zip(told, _run(path, probe, given), strict=True)) if told else {}
    found = (tuple(int(size) for size in values.pop(f"paring_shape_{i}")) for i in range(len(names)))
    return known | dict(zip(names, found, strict=True)), values


def _run(path: Path, probe: onnx.ModelProto, feeds: Mapping[str, Any]) -> list[np.ndarray[Any, Any]]:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingExtraError("running an ONNX graph", "ort") from error
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(_WEIGHTS_FOLDER, str(path.parent.resolve()))
    try:
        session = ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
        results: list[np.ndarray[Any, Any]] = session.run(None, dict(feeds))
    except Exception as error:  # onnxruntime's exceptions share no base class
        reason = " ".join(str(error).split())
        raise EngineError(f"{path}: ONNX Runtime cannot run it: {reason}") from error
    return results
