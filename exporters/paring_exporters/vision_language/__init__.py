"""A vision-language model as ONNX: graphs over one file of weights.

- `encoder.onnx`: pixels to features of the language model's width, projector included; perhaps the key set.
- `embed.onnx`: token ids to embeddings.
- `prefill.onnx`: text, image and text, embedded, to logits and the cache, image tokens dropped on the way.
- `in_place.onnx` (opset 24): what comes after, over cache buffers of a fixed capacity; also prompts without
  an image. Layers whose caches have the same length are a group with slots and a capacity of its own.

Where image tokens depend on the question (QueCC), the encoder gives what is the image's alone, and there are
two more:

- `question.onnx`: the ids after the image, read by the language model, to what they add to the queries.
- `compressor.onnx`: both of these to features.

All refer to `model.onnx.data`, which holds every weight once. In fp16 what passes between graphs is fp16 too;
pixels and logits are fp32.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from paring.transforms._vision_language import VisionLanguage
from paring_runtimes import TensorSpec
from paring_runtimes.errors import ExportError, MissingExtraError

from ..formats.onnx import why_not
from ..language import DATA, IN_PLACE, IN_PLACE_OPSET, LanguageRequest, generation_facts, specs, write
from ..onnx_graph.shared_data import SharedData
from . import compressing, graphs

ENCODER, EMBED, PREFILL = "encoder.onnx", "embed.onnx", "prefill.onnx"
QUESTION, COMPRESSOR = "question.onnx", "compressor.onnx"


@dataclass(frozen=True)
class ExportedVisionLanguage:
    """What was written. `inputs` and `outputs` are those of `entry`, the prompt's graph."""

    entry: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    facts: dict[str, Any] = field(default_factory=dict)


def files_of(model: VisionLanguage) -> tuple[str, ...]:
    """Names of the graphs that a model is exported to."""
    more = (QUESTION, COMPRESSOR) if model.asks else ()
    return (ENCODER, EMBED, *more, PREFILL, IN_PLACE)


def export(model: VisionLanguage, request: LanguageRequest, folder: Path) -> ExportedVisionLanguage:
    """Write the graphs and their weights into `folder`.

    Raises:
        ExportError: the steps do not fit each other, or torch cannot export the model.
        MissingExtraError: the `onnx` extra is not installed.
    """
    if why_not():
        raise MissingExtraError("exporting to ONNX", "onnx")
    if not request.in_place:
        raise ExportError("a vision-language model needs its in-place graph: leave export.in_place true")
    try:
        model.image_rows()
    except ValueError as error:
        raise ExportError(str(error)) from error
    if request.precision == "fp16":
        model = copy.deepcopy(model).half()
    made = {
        ENCODER: graphs.encoder,
        EMBED: graphs.embed,
        QUESTION: compressing.question,
        COMPRESSOR: compressing.compressor,
        PREFILL: graphs.prefill,
        IN_PLACE: graphs.in_place,
    }
    nodes = {}
    with SharedData(folder / DATA) as data:
        for name in files_of(model):
            opset = IN_PLACE_OPSET if name == IN_PLACE else request.opset
            nodes[name] = write(made[name](model), opset, folder / name, data)
    inputs, outputs = specs(folder / PREFILL)
    facts = {
        "opset": request.opset,
        "precision": request.precision,
        "optimizer": f"onnxscript {version('onnxscript')}",
        "dynamic": ["batch_size", "before_length", "after_length"],
        "in_place_opset": IN_PLACE_OPSET,
        "nodes": nodes,
    }
    return ExportedVisionLanguage(folder / PREFILL, inputs, outputs, facts)


def vision_language_facts(
    model: VisionLanguage, preparation: dict[str, Any], precision: str = "fp32"
) -> dict[str, Any]:
    """The manifest's `graph.generation`: as of a language model, and what the image needs.

    Args:
        model: what is exported.
        preparation: "shortest_edge", "mean" and "std" of the image.
        precision: of the export.
    """
    tiling = None if model.untile is None else model.untile.tiling
    tiles = {} if tiling is None else {"tiles": {"grid": list(tiling.grid), "image": list(tiling.image)}}
    asking = {"question": QUESTION, "compressor": COMPRESSOR} if model.asks else {}
    return {
        **generation_facts(model.decoder, precision, True),
        "image": {
            "encoder": ENCODER,
            "embed": EMBED,
            "prefill": PREFILL,
            "token_id": model.image_token,
            "tokens": model.image_tokens,
            "keys": model.tower.keys(),
            "size": list(model.tower.size),
            **preparation,
            "rows": model.image_rows(),
            **tiles,
            **asking,
        },
    }
