"""What an export is asked for, and what it hands back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from paring_runtimes import TensorSpec

from .tensorrt.options import BuildOptions
from .tune_options import TuneOptions

DEFAULT_OPSET = 20  # the first with Gelu; LayerNormalization came with 17
MAX_BATCH = 4096


class Wanted(Protocol):
    """What decides before there is a model whether a format takes it; a `Request`, and a recipe's export."""

    @property
    def precision(self) -> str:
        """See `Request`."""

    @property
    def dynamic(self) -> Sequence[str]:
        """See `Request`."""

    @property
    def shift(self) -> str:
        """See `Request`."""


@dataclass(frozen=True)
class Request:
    """How to export a model with one image input [B, C, H, W].

    Attributes:
        example: an input; its batch size must be at least 2 when the batch is dynamic.
        input_name, output_names: names in the artifact.
        opset: ONNX opset of the default domain.
        precision: "fp32" or "fp16" (fp32 inputs and outputs either way).
        dynamic: which of "batch" and "image_size" stay open.
        size_step: the image size is a multiple of this (the patch size), when it is dynamic.
        optimizer: "auto", "none", "onnxslim" or "onnxscript".
        shift: how shift layers are written, "auto" (the format's own choice), "float", "dequantize" or
            "integer"; see onnx_graph.shift_linear and tvm_graph.
        target: of a compiled format: "host", "portable", an architecture or a CPU's name.
        threads: of a compiled format: how many its kernels are split for; None is the usable cores.
        tune: of a compiled format: how long its kernels are tuned.
        tensorrt: how an engine of TensorRT is built; None is its defaults.
    """

    example: torch.Tensor
    input_name: str = "pixel_values"
    output_names: tuple[str, ...] = ("logits",)
    opset: int = DEFAULT_OPSET
    precision: str = "fp32"
    dynamic: tuple[str, ...] = ("batch",)
    size_step: int = 1
    optimizer: str = "auto"
    shift: str = "auto"
    target: str = "host"
    threads: int | None = None
    tune: TuneOptions = field(default_factory=TuneOptions)
    tensorrt: BuildOptions | None = None


@dataclass(frozen=True)
class Exported:
    """A model that has been written.

    `program` is the exporter's own object, for finding differences; `format` is the entry's, where it is not
    the exporter's own; `twin` computes the same and can be opened here, where the entry cannot: it answers in
    the entry's place, and who asked for the export removes it.
    """

    entry: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    program: Any = None
    format: str | None = None
    twin: Path | None = None

    @property
    def runnable(self) -> Path:
        """What can be opened on this machine."""
        return self.twin or self.entry
