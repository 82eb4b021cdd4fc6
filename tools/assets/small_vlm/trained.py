"""What `train.py` wrote, put into the model of `folder.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

ASSET = Path(__file__).parent / "small_vlm.safetensors"
SCALE = 2.0  # lora_alpha over rank


def put_in(model: Any, file: Path) -> None:
    """The projector's weights, and the adapters' products added to the language model's, in place.

    Raises:
        KeyError: the file is not one of `train.py`.
    """
    state = {name: own.float() for name, own in load_file(file).items()}
    projector = model.model.multi_modal_projector
    for layer, own in (("0", projector.linear_1), ("2", projector.linear_2)):
        own.load_state_dict({part: state[f"projector.{layer}.{part}"] for part in ("weight", "bias")})
    modules = dict(model.model.language_model.named_modules())
    begin, end = "adapters.base_model.model.model.", ".lora_A.weight"
    for name, down in state.items():
        if name.startswith(begin) and name.endswith(end):
            linear = modules[name[len(begin) : -len(end)]]
            with torch.no_grad():
                linear.weight += SCALE * state[name.replace("lora_A", "lora_B")] @ down


def part(state: dict[str, torch.Tensor], begin: str) -> dict[str, torch.Tensor]:
    """What of a state is named `begin` and more, without it."""
    return {name[len(begin) :]: own for name, own in state.items() if name.startswith(begin)}


def compressor_of(state: dict[str, torch.Tensor], tokens: int) -> dict[str, torch.Tensor]:
    """The state of the compressor to so many tokens: what all share, and its own query convolution."""
    own = {f"down.{name}": one for name, one in part(state, f"down.{tokens}.").items()}
    return part(state, "compressor.") | own


def write_compressors(file: Path, folder: Path) -> list[Path]:
    """`compressor-N.safetensors` for N visual tokens each, as `query_compressor.weights` takes it."""
    state = {name: own.float() for name, own in load_file(file).items()}
    written = []
    for tokens in sorted({int(name.split(".")[0]) for name in part(state, "down.")}):
        written.append(folder / f"compressor-{tokens}.safetensors")
        save_file(compressor_of(state, tokens), written[-1])
    return written
