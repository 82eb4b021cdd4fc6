"""A transformers model behind a call that returns plain tensors."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn


class PlainOutputs(nn.Module):
    """Calls `model` with images and returns the named outputs: one tensor, or a tuple in that order.

    Attributes:
        model: the transformers model; its modules keep their names below `model.`.
    """

    def __init__(
        self, model: nn.Module, output_names: tuple[str, ...], *, any_image_size: bool = False
    ) -> None:
        """Wrap `model`.

        Args:
            model: a transformers model whose input is `pixel_values`.
            output_names: attributes of what it returns.
            any_image_size: interpolate the position embeddings to the image's size, where the model
                does so only when asked.
        """
        super().__init__()
        self.model, self.output_names = model, output_names
        asked = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        self.options = {"interpolate_pos_encoding": True} if any_image_size and asked else {}

    def forward(self, pixel_values: torch.Tensor) -> Any:
        """[B, C, H, W] -> the outputs."""
        outputs = self.model(pixel_values=pixel_values, **self.options)
        values = tuple(outputs[name] for name in self.output_names)
        return values[0] if len(values) == 1 else values
