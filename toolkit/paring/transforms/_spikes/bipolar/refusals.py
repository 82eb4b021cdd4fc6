"""What of a transformer does not become spikes: the module's path, why, and the nearest that does."""

from __future__ import annotations

import copy

from torch import nn

from ..._encoder import KNOWN, find, open_encoder, why_not
from ..._encoder.block import Attention, Block
from ..._encoder.families import locate
from .block import ACTIVATIONS, activation_of
from .trunk import find as find_spiking


def refusals(model: nn.Module) -> list[str]:
    """Empty for what converts. The model is left as it is."""
    name = type(model).__name__
    if find_spiking(model) is not None:
        return [f"{name} is a spiking transformer already"]
    if find(model) is None and locate(model) is None:
        return [
            f"no transformer encoder found in {name}; known: {KNOWN}; spike_convert takes convolutional"
            " networks"
        ]
    reasons = why_not(model)
    if reasons:
        return reasons
    trunk = open_encoder(copy.deepcopy(model))
    root = _root(model)
    return [
        f"{name}: {line}"
        for number, block in enumerate(trunk.opened())
        for line in _of_block(block, f"{root}.{number}")
    ]


def _root(model: nn.Module) -> str:
    """Where the blocks are in the model given."""
    opened, site = find(model), locate(model)
    if opened is not None:
        paths = {module: path for path, module in model.named_modules()}
        return f"{paths[opened]}.blocks".lstrip(".")
    return "blocks" if site is None else site.path


def _of_block(block: Block, path: str) -> list[str]:
    reasons = []
    if block.steps():
        step = type(block.steps()[0]).__name__
        reasons.append(
            f"{path} ({step}) chooses tokens by what it sees, which changes from step to step; a transformer"
            " that keeps its tokens converts"
        )
    attention = block.attention
    if type(attention) is not Attention:
        reasons.append(f"{path}.attention is a {type(attention).__name__}; attention with softmax converts")
    else:
        for name in ("query", "key", "value", "output"):
            reasons += _of_linear(getattr(attention, name), f"{path}.attention.{name}")
    if activation_of(block.mlp) is None:
        reasons += _of_mlp(block.mlp, f"{path}.mlp")
    return reasons


def _of_linear(layer: nn.Module, path: str) -> list[str]:
    if type(layer) is nn.Linear:
        return []
    return [f"{path} is a {type(layer).__name__}; nn.Linear converts"]


def _of_mlp(mlp: nn.Module, path: str) -> list[str]:
    children = dict(mlp.named_children())
    known = ("fc1", "fc2", *ACTIVATIONS)
    form = "an MLP of fc1, an activation and fc2, both nn.Linear, converts"
    for name in ("fc1", "fc2"):
        if name in children and type(children[name]) is not nn.Linear:
            return [f"{path}.{name} is a {type(children[name]).__name__}; {form}"]
    for name, child in children.items():
        if name not in known and not isinstance(child, (nn.Identity, nn.Dropout)):
            return [f"{path}.{name} ({type(child).__name__}) has no place in it; {form}"]
    return [f"{path} is a {type(mlp).__name__}; {form}"]
