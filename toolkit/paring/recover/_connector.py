"""What of a vision-language model is trained: its connector, and low-rank adapters of its language model.

The connector is what stands between tower and language model: the projector, and a compressor where there
is one. An adapter adds s B A to a linear layer's weight, of a low rank (LoRA,
https://arxiv.org/abs/2106.09685); `peft` trains them. What was trained is kept as the connector's tensors by
name, and of each adapted layer `NAME.adapter_a` = A [r, in] and `NAME.adapter_b` = s B [out, r], so that a
recovery is small and goes on without `peft`.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paring_runtimes.errors import MissingExtraError, SourceError

from ..recipe._recover import Adapters
from ..transforms._vision_language import VisionLanguage

State = dict[str, torch.Tensor]
DOWN, UP = ".adapter_a", ".adapter_b"
LAYERS = "decoder.layers."


def connector(model: VisionLanguage) -> State:
    """The connector's tensors by their names in the model."""
    state = model.state_dict(keep_vars=True)
    return {name: own for name, own in state.items() if name.startswith(("projector.", "compressor."))}


def sharing(model: nn.Module) -> nn.Module:
    """A copy with the same parameters: what is trained of one of them must be made its own first."""
    shared: nn.Module = copy.deepcopy(model, {id(own): own for own in model.parameters()})
    return shared


def train_connector(model: VisionLanguage) -> None:
    """Give the model a connector of its own to train, and leave all else as it is."""
    model.requires_grad_(False)
    for name in ("projector", "compressor"):
        own = getattr(model, name)
        if own is not None:
            setattr(model, name, copy.deepcopy(own).requires_grad_(True))


def needs_peft() -> None:
    """Raise where `peft` is missing, before anything is done.

    Raises:
        MissingExtraError: it is.
    """
    if importlib.util.find_spec("peft") is None:
        raise MissingExtraError("training a language model's adapters", "recover")


def add_adapters(model: VisionLanguage, wanted: Adapters) -> None:
    """Put adapters of random A and B = 0 beside every linear layer of the language model's layers.

    Raises:
        MissingExtraError: `peft` is not installed.
    """
    needs_peft()
    peft: Any = importlib.import_module("peft")
    layers = model.decoder.layers
    names = [name for name, module in layers.named_modules() if isinstance(module, nn.Linear)]
    config = peft.LoraConfig(
        r=wanted.rank, lora_alpha=wanted.scale * wanted.rank, target_modules=names, bias="none"
    )
    peft.inject_adapter_in_model(config, layers)


def adapted(model: VisionLanguage) -> bool:
    """Whether there are adapters."""
    return next(_adapted(model), None) is not None


def _adapted(model: VisionLanguage) -> Iterator[tuple[str, Any]]:
    for name, module in model.decoder.layers.named_modules():
        if hasattr(module, "lora_A"):
            yield name, module


def taken_out(model: VisionLanguage) -> State:
    """What was trained, and the model without adapters. The model is changed."""
    state = {name: own.detach().cpu().contiguous().clone() for name, own in connector(model).items()}
    for name, module in list(_adapted(model)):
        (key,) = module.lora_A
        down, up = module.lora_A[key].weight, module.lora_B[key].weight * module.scaling[key]
        state[f"{LAYERS}{name}{DOWN}"] = down.detach().cpu().contiguous().clone()
        state[f"{LAYERS}{name}{UP}"] = up.detach().cpu().contiguous().clone()
        parent, _, own = name.rpartition(".")
        setattr(model.decoder.layers.get_submodule(parent), own, module.base_layer)
    return state


def put_in(model: VisionLanguage, state: State, file: Path) -> None:
    """Give the model what was trained: adapters become part of the weights.

    Weights that are shared with another model are replaced, not changed.

    Raises:
        SourceError: names what is missing, unexpected or of another shape; the model is as it was then.
    """
    own, linear = connector(model), dict(_linear(model))
    factors = {name: value for name, value in state.items() if name.endswith((DOWN, UP))}
    pairs = {name.removesuffix(DOWN).removesuffix(UP) for name in factors}
    given = {name: tuple(value.shape) for name, value in state.items()}
    wanted = {name: tuple(value.shape) for name, value in own.items()}
    for name in pairs & linear.keys():
        rank = given.get(name + DOWN, (0,))[0]
        rows, columns = linear[name].weight.shape
        wanted |= {name + DOWN: (rank, columns), name + UP: (rows, rank)}
    faults = [f"{name}: missing" for name in wanted if name not in given]
    faults += [f"{name}: unexpected" for name in given if name not in wanted]
    faults += [
        f"{name}: {list(given[name])}, and should be {list(shape)}"
        for name, shape in wanted.items()
        if name in given and given[name] != shape
    ]
    if faults:
        more = f", and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise SourceError(f"{file}: does not fit the model: {'; '.join(faults[:5])}{more}")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(state[name])
        for name in sorted(pairs):
            module, like = linear[name], linear[name].weight
            more_of = state[name + UP].to(like) @ state[name + DOWN].to(like)
            module.weight = nn.Parameter(like + more_of, requires_grad=False)


def _linear(model: VisionLanguage) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in model.decoder.layers.named_modules():
        if isinstance(module, nn.Linear):
            yield LAYERS + name, module
