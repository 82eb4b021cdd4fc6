"""A causal language model as ONNX: one graph that optimum can load, one that works in place.

- `model.onnx` (opset 20) is prompt and step in one, over a cache that grows; names and shapes are optimum's.
- `in_place.onnx` (opset 24: Attention, TensorScatter) writes into cache buffers of a fixed capacity, which a
  runtime binds as input and output at once, so that a step copies no cache. Attention reads the whole
  capacity, filled or not: buffers should be little longer than the text (tools/bench/language_decode.py).

- `filter.0.onnx`, `filter.1.onnx`, ... (opset 24), where GemFilter is wanted, score a long prompt's tokens:
  the first layers, a graph each, over buffers of their own in the same way. A runtime runs each on the whole
  prompt before it opens the next, and then chooses the tokens that the model reads.

All refer to `model.onnx.data`, which holds every weight once.
"""

from __future__ import annotations

import copy
import gc
import warnings
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from paring.transforms import gem_filter
from paring.transforms._decoder import Decoder
from paring_runtimes import TensorSpec
from paring_runtimes.errors import ExportError, MissingExtraError

from ..formats.onnx import why_not
from ..hints import explain
from ..onnx_graph.shared_data import SharedData
from ..onnx_graph.shift_linear import lower
from ..quiet import quiet_export
from ..request import DEFAULT_OPSET
from . import graphs
from .rewrites import tidy
from .translations import table

ENTRY, IN_PLACE, FILTER, DATA = "model.onnx", "in_place.onnx", "filter.{}.onnx", "model.onnx.data"
IN_PLACE_OPSET = 24  # the first with TensorScatter
DTYPES = {"fp32": "float32", "fp16": "float16"}


@dataclass(frozen=True)
class LanguageRequest:
    """How to export a decoder.

    Attributes:
        opset: of `model.onnx`.
        precision: "fp32" or "fp16": weights, arithmetic and cache; logits are fp32 either way.
        in_place: whether `in_place.onnx` is written too.
        filter: how the filter's graphs score tokens; None for no such graphs.
    """

    opset: int = DEFAULT_OPSET
    precision: str = "fp32"
    in_place: bool = True
    filter: gem_filter.Config | None = None


@dataclass(frozen=True)
class ExportedLanguage:
    """What was written. `inputs` and `outputs` are those of `entry`."""

    entry: Path
    in_place: Path | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    facts: dict[str, Any] = field(default_factory=dict)


def export(decoder: Decoder, request: LanguageRequest, folder: Path) -> ExportedLanguage:
    """Write the graphs and their weights into `folder`.

    Raises:
        ExportError: torch cannot export the decoder; the message says where and why.
        MissingExtraError: the `onnx` extra is not installed.
    """
    if why_not():
        raise MissingExtraError("exporting to ONNX", "onnx")
    reduced = [i for i, layer in enumerate(decoder.opened()) if len(layer.reducers)]
    if reduced:
        raise ExportError(
            f"the decoder drops tokens after layers {reduced}: a prompt and a step are then different graphs,"
            " which this export does not write"
        )
    if request.precision == "fp16":
        decoder = copy.deepcopy(decoder).half()
    nodes = {}
    with SharedData(folder / DATA) as data:
        nodes[ENTRY] = write(graphs.growing(decoder), request.opset, folder / ENTRY, data)
        if request.in_place:
            nodes[IN_PLACE] = write(graphs.in_place(decoder), IN_PLACE_OPSET, folder / IN_PLACE, data)
        if request.filter is not None:
            for index, graph in enumerate(graphs.filtering(decoder, request.filter)):
                name = FILTER.format(index)
                nodes[name] = write(graph, IN_PLACE_OPSET, folder / name, data)
    inputs, outputs = specs(folder / ENTRY)
    facts = {
        "opset": request.opset,
        "precision": request.precision,
        "optimizer": f"onnxscript {version('onnxscript')}",
        "dynamic": ["batch_size", "sequence_length", "past_sequence_length"],
        "in_place_opset": IN_PLACE_OPSET if request.in_place else None,
        "nodes": nodes,
    }
    in_place = folder / IN_PLACE if request.in_place else None
    return ExportedLanguage(folder / ENTRY, in_place, inputs, outputs, facts)


def generation_facts(
    decoder: Decoder, precision: str, in_place: bool, filter: gem_filter.Config | None = None
) -> dict[str, Any]:
    """What a runtime needs to know of the cache and the filter, for the manifest's `graph.generation`."""
    layers, heads, width = decoder.cache_shape()
    more = {} if filter is None else {"filter": filter_facts(filter, decoder)}
    return {
        "layers": layers,
        "kv_heads": heads,
        "head_dim": width,
        "vocab_size": decoder.vocabulary,
        "max_positions": decoder.max_positions,
        "in_place": IN_PLACE if in_place else None,
        "dtype": DTYPES[precision],
        **more,
    }


def filter_facts(config: gem_filter.Config, decoder: Decoder) -> dict[str, Any]:
    """`graph.generation.filter`: the files, how many tokens stay, and the defaults of what is pinned."""
    layer = gem_filter.filter_layer(config, len(decoder.layers))
    return {
        "files": [FILTER.format(index) for index in range(layer + 1)],
        "hidden_size": int(decoder.head.weight.shape[1]),
        "k": config.k,
        "layer": layer,
        "pin_first": config.pin_first,
        "pin_last": config.pin_last,
    }


def specs(entry: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of an ONNX file."""
    import onnx

    from ..formats.onnx import tensor_specs

    graph = onnx.load(entry, load_external_data=False).graph
    return tensor_specs(graph.input), tensor_specs(graph.output)


def write(graph: graphs.Graph, opset: int, path: Path, data: SharedData) -> int:
    """Write one graph, its weights into `data`; returns its number of nodes."""
    import onnx
    import onnx_ir as ir

    model = _program(graph, opset).model
    lower(model)  # shift layers, packed, decoded to floats
    tidy(model)
    data.take(model)
    ir.save(model, path)
    onnx.checker.check_model(str(path))
    count = len(model.graph)
    del model
    gc.collect()  # the program holds copies of weights
    return count


def _program(graph: graphs.Graph, opset: int) -> Any:
    try:
        with quiet_export(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                graph.module.eval(),
                graph.example,
                dynamo=True,
                opset_version=opset,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_shapes=graph.shapes,
                custom_translation_table=table(opset),
                verbose=False,
            )
    except Exception as error:
        raise ExportError(explain(error, ())) from error
