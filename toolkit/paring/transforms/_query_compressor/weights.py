"""A compressor's weights in a safetensors file: strict names and shapes."""

from __future__ import annotations

from pathlib import Path

from torch import nn


def reasons_of_weights(path: Path, model: nn.Module) -> list[str]:
    """Why a file is not `model`'s state; its header alone is read."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return [f"weights: there is no file {path}"]
    try:
        with safe_open(path, "pt") as file:
            given = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        return [f"weights: {path} is no safetensors file ({error})"]
    wanted = {name: tuple(own.shape) for name, own in model.state_dict().items()}
    missing, unknown = wanted.keys() - given.keys(), given.keys() - wanted.keys()
    reasons = [
        f"weights: {path}: {kind} {', '.join(sorted(names))}"
        for kind, names in (("missing", missing), ("unknown", unknown))
        if names
    ]
    return reasons + [
        f"weights: {path}: {name} is {given[name]}, and this compressor's is {shape}"
        for name, shape in wanted.items()
        if name in given and given[name] != shape
    ]


def load(model: nn.Module, path: Path) -> None:
    """Take the state from a file.

    Raises:
        ValueError: it is not this model's.
    """
    from safetensors.torch import load_file

    reasons = reasons_of_weights(path, model)
    if reasons:
        raise ValueError("; ".join(reasons))
    model.load_state_dict(load_file(path))
