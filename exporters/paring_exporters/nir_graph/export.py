"""Write a network, compare what was written, and say what the manifest tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paring.transforms._spikes import SpikingNetwork
from paring_runtimes import TensorSpec
from paring_runtimes.errors import ExportError, ParityError
from paring_runtimes.nir import NirRefused, write

from ..request import Exported, Request
from .checking import Agreement, agreement, replayed
from .lowering import lowered
from .network import NirNetwork
from .transformers import find_transformer, unsaid

UNTOLD_STEPS = 16  # compared of an imported graph that does not say how many it runs for


def write_network(model: nn.Module, request: Request, entry: Path) -> Exported:
    """Write `model` to `entry`; nothing stays there if it cannot be said or does not agree.

    Raises:
        ExportError: NIR cannot say it, with every module and why.
        ParityError: what is read back differs.
    """
    try:
        if isinstance(model, SpikingNetwork):
            return _converted(model, request, entry)
        if isinstance(model, NirNetwork):
            return _imported(model, entry)
    except NirRefused as error:
        raise ExportError(f"nir: {error}") from None
    except ParityError:
        entry.unlink(missing_ok=True)
        raise
    if find_transformer(model) is not None:
        raise ExportError(f"nir: {unsaid(model)}")
    raise ExportError(
        f"nir: {type(model).__name__} is no spiking network; convert it with the transform spike_convert, or"
        " read one with nir:FILE"
    )


def _converted(network: SpikingNetwork, request: Request, entry: Path) -> Exported:
    if len(request.output_names) != 1:
        raise ExportError(f"nir: outputs {', '.join(request.output_names)}: a spiking network has one")
    (output,) = request.output_names
    found = lowered(network, request.input_name, output)
    write(entry, found.graph)
    same = agreement(network, entry, found.neurons, request.example)
    facts = {
        **_facts(found.graph.metadata, same),
        "nodes": found.nodes,
        "neurons": found.neurons,
        "rewritten": found.rewritten,
    }
    classes = found.graph.nodes[output].shape  # type: ignore[union-attr]
    return Exported(
        entry,
        (TensorSpec(request.input_name, "float32", ("batch", *network.input_shape)),),
        (TensorSpec(output, "float32", ("batch", *classes)),),
        facts,
    )


def _imported(network: NirNetwork, entry: Path) -> Exported:
    write(entry, network.to_graph())
    steps = network.steps or UNTOLD_STEPS

    def inputs() -> Mapping[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        shapes = {name: network.shapes[name][0] for name in network.flat.inputs}
        return {name: torch.randn(steps, 2, *shape, generator=generator) for name, shape in shapes.items()}

    facts = _facts(network.graph.metadata, replayed(network, entry, inputs))
    specs = [
        tuple(TensorSpec(name, "float32", ("batch", *network.shapes[name][1])) for name in names)
        for names in (network.flat.inputs, network.flat.outputs)
    ]
    return Exported(entry, specs[0], specs[1], {**facts, "nodes": {name: name for name in network.names}})


def _facts(metadata: Mapping[str, Any], same: Agreement) -> dict[str, Any]:
    """What the manifest's `export` says. Numbers of metadata that were read are numpy's."""
    told = {key: getattr(value, "tolist", lambda value=value: value)() for key, value in metadata.items()}
    return {"precision": "fp32", "dynamic": ["batch"], **told, "spikes": same.as_dict()}
