"""Model surgery and the reference mathematics, in PyTorch. One file a method, found by its file name.

A transform is a module with

- `Config`: a frozen dataclass; its fields are the keys of the recipe. Each field's metadata holds
  `help`, and where they apply `unit`, `minimum`, `maximum` and `choices`;
- `TRAITS`: what kind of method it is;
- `check(model, config) -> list[str]`: the reasons why the model does not fit, empty when it does;
- `apply(model, config) -> nn.Module`: the changed model. The model given is consumed;
- where only some configs export, `unexportable(config) -> str`: why this one does not, empty when it does;
- where weights of the method's own are random by some configs, `untrained(config) -> str`: what that means,
  empty for the others;
- where something is fitted to images, `calibrate(model, batches, original) -> nn.Module`: the model that
  `apply` gave, fitted to batches of images [B, C, H, W] as it takes them; `original` is a copy of it from
  before `apply`. What is fitted lies in buffers and weights. It is called when the recipe names images
  (`calibration`); without any, `apply` alone gives a model that works;
- where weights are trained in another form than they are exported in, `trainable(model) -> nn.Module`
  (straight-through forms in place) and `frozen(model) -> nn.Module` (back to what exports). Both keep the
  names and shapes that `apply` gives to what is exported, and leave what another transform changed;
- where a result can fall short in a way that only images show, `notes(model, images) -> list[str]`: what the
  user should read about it;
- `auxiliary_loss(model) -> torch.Tensor`: a scalar added to the training loss, after a forward pass.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Protocol

from torch import nn

from .traits import Traits

__all__ = ["Traits", "Transform", "discover"]


class Transform(Protocol):
    """What a transform's module offers."""

    Config: type[Any]
    TRAITS: Traits

    def check(self, model: nn.Module, config: Any) -> list[str]:
        """Reasons why `model` does not fit."""

    def apply(self, model: nn.Module, config: Any) -> nn.Module:
        """The changed model."""


def discover() -> dict[str, Transform]:
    """Every transform by its recipe name, which is its file name."""
    found: dict[str, Transform] = {}
    for info in pkgutil.iter_modules(__path__):
        if info.name.startswith("_"):
            continue
        module: Any = importlib.import_module(f"{__name__}.{info.name}")
        if hasattr(module, "Config"):
            found[info.name] = module
    return found
