"""A recurrent language model as ONNX: the graph of one token, its state as inputs and outputs.

`model.onnx` takes `input_ids` [B] and `state.NAME` [L, B, C], and gives `logits` [B, V] and `updated.NAME`.
There is no loop in it: whatever runs it hands each token's state on to the next. Its weights are
`model.onnx.data`.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paring.transforms._spike_gpt import SpikeGPT, State
from paring.transforms._spike_gpt.wkv import EMPTY
from paring_runtimes.errors import MissingExtraError

from ..formats.onnx import why_not
from ..language import DATA, ENTRY, ExportedLanguage, specs, write
from ..language.graphs import BATCH, Graph
from ..onnx_graph.shared_data import SharedData
from ..request import DEFAULT_OPSET


class StepGraph(nn.Module):
    """One token, with the state's tensors as flat inputs and outputs."""

    def __init__(self, model: SpikeGPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, state: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Logits [B, V] of ids [B], and the tensors of `State` after them."""
        logits, after = self.model.step(input_ids, State(*state))
        return (logits, *after)


def export(model: SpikeGPT, folder: Path, opset: int = DEFAULT_OPSET) -> ExportedLanguage:
    """Write the graph and its weights into `folder`.

    Raises:
        ExportError: torch cannot export the model; the message says where and why.
        MissingExtraError: the `onnx` extra is not installed.
    """
    if why_not():
        raise MissingExtraError("exporting to ONNX", "onnx")
    path = folder / ENTRY
    with SharedData(folder / DATA) as data:
        nodes = write(step_graph(model), opset, path, data)
    inputs, outputs = specs(path)
    facts = {
        "opset": opset,
        "precision": "fp32",
        "optimizer": f"onnxscript {version('onnxscript')}",
        "dynamic": ["batch_size"],
        "nodes": {ENTRY: nodes},
    }
    return ExportedLanguage(path, None, inputs, outputs, facts)


def step_graph(model: SpikeGPT) -> Graph:
    """What is exported, with an example of it."""
    names, batch = State._fields, {1: "batch_size"}
    return Graph(
        module=StepGraph(model),
        example=(torch.zeros(BATCH, dtype=torch.int64), list(model.start(BATCH))),
        shapes=({0: "batch_size"}, [batch] * len(names)),
        inputs=("input_ids", *(f"state.{name}" for name in names)),
        outputs=("logits", *(f"updated.{name}" for name in names)),
    )


def generation_facts(model: SpikeGPT) -> dict[str, Any]:
    """What a runtime needs to know of the state, for the manifest's `graph.generation`."""
    config = model.config
    initial = {name: EMPTY if name == "top" else 0.0 for name in State._fields}
    return {
        "layers": config.layers,
        "vocab_size": config.vocabulary,
        "max_positions": None,
        "in_place": None,
        "dtype": "float32",
        "state": {"width": config.width, "initial": initial},
    }
