"""`py:FILE.py:FACTORY` or `py:MODULE:FACTORY`: your own code builds the model.

FACTORY is called without arguments and returns an `nn.Module` with one input of images. The size of
that input is the model's attribute `input_shape` (C, H, W); or that of the first tensor that the
function `example_inputs()` beside FACTORY returns; or else `--image-size`, with the channels of the
model's first convolution.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paring_runtimes.errors import SourceError
from paring_runtimes.suggest import near_miss

from ._loaded import LoadedModel, Request, missing_extra, require, seeded
from ._trial import outputs_at
from ._weights import fit, read_weights

if TYPE_CHECKING:
    from torch import nn

HELP = "py:FILE.py:FACTORY or py:MODULE:FACTORY: a function that returns an nn.Module; runs your code"


def why_not() -> str | None:
    """Why models cannot be built here."""
    return missing_extra("torch", "safetensors")


def load(request: Request) -> LoadedModel:
    """Import the code, call the factory, and try the model on one input."""
    require("a PyTorch model", "torch", "safetensors")
    place, colon, name = request.target.rpartition(":")
    if not (place and colon and name):
        raise SourceError(f"{request.spec}: the form is py:FILE.py:FACTORY or py:MODULE:FACTORY")
    module = _module(place, request.spec)
    model = _built(module, name, request).eval().float()
    if request.weights is not None:
        fit(model, read_weights(request.weights, request.allow), request.weights)
    file = getattr(module, "__file__", None)
    files = [Path(file)] if file else []
    loaded = LoadedModel(
        model=model,
        name=name,
        spec=request.spec,
        input_name=_input_name(model, request.spec),
        input_shape=_input_shape(model, module, request),
        output_names=("output",),
        source_files=(*files, *([request.weights] if request.weights else [])),
    )
    return _with_outputs(loaded)


def _module(place: str, spec: str) -> Any:
    is_file = place.endswith(".py")
    if is_file and not Path(place).is_file():
        raise SourceError(f"{spec}: no such file: {place}")
    folder = Path(place).resolve().parent if is_file else Path.cwd()
    with _importable(folder):
        try:
            return _from_file(Path(place)) if is_file else importlib.import_module(place)
        except ModuleNotFoundError as error:
            if not is_file and error.name and f"{place}.".startswith(f"{error.name}."):
                raise SourceError(f"{spec}: no module {place!r} here or installed") from error
            raise SourceError(f"{spec}: importing {place} failed: {error}") from error
        except Exception as error:
            kind = type(error).__name__
            raise SourceError(f"{spec}: importing {place} raised {kind}: {error}") from error


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the code import its neighbours, as if it were run as a script."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


def _from_file(file: Path) -> Any:
    name = f"paring_source_{file.stem}"
    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickles look their module up
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _built(module: Any, name: str, request: Request) -> nn.Module:
    from torch import nn

    factory = getattr(module, name, None)
    if not callable(factory):
        own = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        what = "is not callable" if factory is not None else "does not exist"
        raise SourceError(f"{request.spec}: {name!r} {what}{near_miss(name, own)}")
    try:
        with seeded(request.seed):
            model = factory()
    except Exception as error:
        raise SourceError(f"{request.spec}: {name}() raised {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise SourceError(f"{request.spec}: {name}() returned {type(model).__name__}, not an nn.Module")
    return model


def _input_name(model: nn.Module, spec: str) -> str:
    parameters = list(inspect.signature(model.forward).parameters.values())
    needed = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(needed) > 1:
        names = ", ".join(p.name for p in needed)
        raise SourceError(f"{spec}: forward needs {names}; one input of images is what paring takes")
    named = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    return named[0].name if named else "pixel_values"


def _input_shape(model: nn.Module, module: Any, request: Request) -> tuple[int, int, int]:
    import torch
    from torch import nn

    shape = getattr(model, "input_shape", None)
    if shape is None and callable(getattr(module, "example_inputs", None)):
        example = module.example_inputs()
        example = next(iter(example.values())) if isinstance(example, dict) else example
        example = example[0] if isinstance(example, (tuple, list)) else example
        shape = tuple(example.shape[1:]) if torch.is_tensor(example) else example
    if shape is None and request.image_size is not None:
        layer = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
        shape = (layer.in_channels if layer else 3, *request.image_size)
    if not isinstance(shape, (tuple, list, torch.Size)) or len(shape) != 3:
        found = "unknown" if shape is None else repr(shape)
        raise SourceError(
            f"{request.spec}: the input's size is {found}; give the model an attribute input_shape ="
            " (channels, height, width), or say --image-size"
        )
    height, width = request.image_size or shape[1:]
    return int(shape[0]), int(height), int(width)


def _with_outputs(loaded: LoadedModel) -> LoadedModel:
    """Run the model once: that it works, and how many tensors it returns."""
    import torch

    outputs = outputs_at(loaded)
    if torch.is_tensor(outputs):
        return loaded
    if not isinstance(outputs, (tuple, list)) or not all(torch.is_tensor(o) for o in outputs):
        kind = type(outputs).__name__
        raise SourceError(f"{loaded.spec}: returns {kind}; a tensor or a tuple of tensors is needed")
    return replace(loaded, output_names=tuple(f"output_{i}" for i in range(len(outputs))))
