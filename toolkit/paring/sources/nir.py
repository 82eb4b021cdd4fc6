"""`nir:FILE` or `nir:FILE?steps=32&dt=0.0001&reset=subtract`: a spiking network from any NIR file.

The graph runs step by step (`paring_exporters.nir_graph.discretisation` says with which arithmetic). What a
file does not tell is told behind a question mark:

- `steps`: over how many steps an image is shown; needed unless the graph's metadata say it;
- `dt`: the time step, in the unit of the graph's time constants;
- `reset`: `zero` or `subtract`, for neurons that say no v_reset.

The image is the graph's one Input, [C, H, W]; where that has fewer axes, [N] is given as images [1, 1, N] and
[C, L] as [C, 1, L]. The answer is the mean over the steps of its one Output.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from paring_runtimes.errors import MissingExtraError, SourceError
from paring_runtimes.suggest import near_miss

from ._loaded import LoadedModel, Request, missing_extra, require
from ._trial import outputs_at
from ._weights import fit, read_weights

if TYPE_CHECKING:
    from paring_exporters.nir_graph.network import NirNetwork

HELP = "nir:FILE: a spiking network from a NIR file; nir:FILE?steps=32 where it does not say its steps"
OPTIONS = {"steps": int, "dt": float, "reset": str}


def why_not() -> str | None:
    """Why NIR files cannot be read here."""
    import importlib.util

    if importlib.util.find_spec("h5py") is None:
        return "h5py is not installed: pip install 'paring[spikes]'"
    return missing_extra("torch", "safetensors")


def load(request: Request) -> LoadedModel:
    """Read and check the file, and try the network on one input."""
    reason = why_not()
    if reason is not None and "h5py" in reason:
        raise MissingExtraError("reading a NIR file", "spikes")
    require("a NIR graph as a PyTorch module", "torch", "safetensors")
    place, _, told = request.target.partition("?")
    model = _network(Path(place), _options(told, request.spec))
    if request.weights is not None:
        fit(model, read_weights(request.weights, request.allow), request.weights)
    (entrance,), (output,) = _ends(model, request)
    shape = _image_shape(model.shapes[entrance][0], request)
    loaded = LoadedModel(
        model=model,
        name=Path(place).stem,
        spec=request.spec,
        input_name=entrance,
        input_shape=shape,
        output_names=(output,),
        source_files=(Path(place), *([request.weights] if request.weights else [])),
    )
    outputs_at(loaded)
    return loaded


def _options(told: str, spec: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in parse_qsl(told, keep_blank_values=True):
        if key not in OPTIONS:
            raise SourceError(
                f"{spec}: unknown {key!r}{near_miss(key, OPTIONS)}; known: {', '.join(OPTIONS)}"
            )
        try:
            found[key] = OPTIONS[key](value)
        except ValueError:
            raise SourceError(f"{spec}: {key}={value}, expected a number") from None
    return found


def _network(file: Path, told: dict[str, Any]) -> NirNetwork:
    from paring_exporters.nir_graph.discretisation import Reading
    from paring_exporters.nir_graph.network import NirNetwork
    from paring_runtimes.nir import NirRefused, read

    steps = told.pop("steps", None)
    try:
        graph = read(file)
    except NirRefused as error:
        raise SourceError(str(error)) from None
    try:
        return NirNetwork(graph, Reading(**told), steps).eval()
    except NirRefused as error:
        raise SourceError(f"{file}: {error}") from None


def _ends(model: NirNetwork, request: Request) -> tuple[tuple[str, ...], tuple[str, ...]]:
    inputs, outputs = model.flat.inputs, model.flat.outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise SourceError(
            f"{request.spec}: Inputs {', '.join(inputs)} and Outputs {', '.join(outputs)}; one of each is"
            " needed"
        )
    if model.steps is None:
        raise SourceError(
            f"{request.spec}: the file does not say over how many steps it runs: nir:FILE?steps=32"
        )
    return inputs, outputs


def _image_shape(shape: tuple[int, ...], request: Request) -> tuple[int, int, int]:
    forms = {1: (1, 1, *shape), 2: (shape[0], 1, shape[-1]), 3: shape}
    if len(shape) not in forms:
        raise SourceError(f"{request.spec}: its Input is {list(shape)}, expected at most 3 axes")
    channels, height, width = forms[len(shape)]
    if request.image_size not in (None, (height, width)) or request.any_image_size:
        raise SourceError(f"{request.spec}: takes inputs of {height}x{width} only: every neuron is written")
    return channels, height, width
