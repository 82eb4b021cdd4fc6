"""Weights from a file: safetensors, or a pickle when the user allows it; and a strict fit."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paring_runtimes.errors import SourceError

if TYPE_CHECKING:
    import torch
    from torch import nn

    State = dict[str, torch.Tensor]

PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".tar"}
NESTED = ("state_dict", "model", "model_state_dict")
SHOWN = 4  # keys of each kind in a message


def refusal(file: Path) -> str:
    """Why a pickle is refused, and what to do, in one line."""
    return (
        f"{file}: is a pickle, which can run code when it is loaded; convert it where you trust it"
        " (safetensors.torch.save_file(torch.load(FILE, weights_only=True), OUT)), or pass"
        " --allow pickle"
    )


def read_weights(file: Path, allow: frozenset[str]) -> State:
    """The tensors of a file by name. What it holds decides, not what it is called.

    Raises:
        SourceError: no such file, a damaged one, or a pickle that is not allowed.
    """
    if not file.is_file():
        raise SourceError(f"{file}: no such file")
    if _is_safetensors(file):
        return _read_safetensors(file)
    if is_pickle(file):
        if "pickle" not in allow:
            raise SourceError(refusal(file))
        return _read_pickle(file)
    raise SourceError(f"{file}: no safetensors file, or a damaged one")


def is_pickle(file: Path) -> bool:
    """Whether the file is a pickle or a zip of one, by its first bytes or its suffix."""
    with file.open("rb") as opened:
        start = opened.read(4)
    binary = len(start) > 1 and start[0] == 0x80 and 1 < start[1] <= pickle.HIGHEST_PROTOCOL
    return binary or start == b"PK\x03\x04" or file.suffix.lower() in PICKLE_SUFFIXES


def _is_safetensors(file: Path) -> bool:
    """Eight bytes of length, then that much JSON."""
    with file.open("rb") as opened:
        length, opening = int.from_bytes(opened.read(8), "little"), opened.read(1)
    return opening == b"{" and length < file.stat().st_size


def _read_safetensors(file: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(file))
    except (SafetensorError, OSError, ValueError, json.JSONDecodeError) as error:
        raise SourceError(f"{file}: damaged safetensors file ({error})") from error


def _read_pickle(file: Path) -> State:
    import torch

    try:
        with file.open("rb") as opened:  # by a path, torch would go by its suffix
            loaded: Any = torch.load(opened, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise SourceError(f"{file}: holds more than weights, or is damaged ({reason})") from error
    for key in NESTED:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(torch.is_tensor(v) for v in loaded.values()):
        raise SourceError(f"{file}: is no mapping from names to tensors")
    return {str(name): tensor for name, tensor in loaded.items()}


def fit(model: nn.Module, state: State, file: Path) -> None:
    """Load `state` into `model`: every name and shape must match.

    Raises:
        SourceError: names what is missing, what is unexpected and which shapes differ.
    """
    own = model.state_dict()
    shapes = [
        f"{name} is {list(state[name].shape)} and should be {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    faults = [
        _listed("missing", [name for name in own if name not in state]),
        _listed("unexpected", [name for name in state if name not in own]),
        _listed("of another shape", shapes),
    ]
    if any(faults):
        named = "; ".join(fault for fault in faults if fault)
        raise SourceError(f"{file}: does not fit {type(model).__name__}: {named}")
    model.load_state_dict(state, strict=True)


def _listed(kind: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{more}"
