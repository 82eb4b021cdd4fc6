"""How an engine is built. A recipe's `export.tensorrt` are these fields."""

from __future__ import annotations

from dataclasses import dataclass, field

LIBRARIES = ("tensorrt", "tensorrt_rtx")
HARDWARE = ("none", "same_compute_capability", "ampere_plus")
REFITS = ("none", "identical", "all")
Range = tuple[int, int, int]


@dataclass(frozen=True)
class BuildOptions:
    """Settings of TensorRT's builder. Networks are strongly typed: precision is the ONNX model's own."""

    library: str = field(
        default="tensorrt",
        metadata={
            "help": "tensorrt, or tensorrt_rtx, which builds without a GPU for RTX cards",
            "choices": LIBRARIES,
        },
    )
    release: str = field(
        default="11", metadata={"help": "of TensorRT, that the model is held against: 10.9, 10.16, 11"}
    )
    batches: tuple[Range, ...] = field(
        default=(),
        metadata={"help": "smallest, best, largest batch of each profile; none is [1,1,1] and [1,8,32]",
                  "unit": "images", "minimum": 1},
    )  # fmt: skip
    sizes: tuple[Range, ...] = field(
        default=(),
        metadata={"help": "smallest, best, largest side of each profile, where image_size is dynamic",
                  "unit": "pixels", "minimum": 1},
    )  # fmt: skip
    builder_level: int = field(
        default=3, metadata={"help": "optimisation level: higher builds longer", "minimum": 0, "maximum": 5}
    )
    workspace_mib: int | None = field(
        default=None,
        metadata={"help": "memory that a layer may use; null is all", "unit": "MiB", "minimum": 1},
    )
    tf32: bool = field(default=False, metadata={"help": "let fp32 products round their inputs to 10 bits"})
    version_compatible: bool = field(
        default=False, metadata={"help": "later releases of the major version run it, the lean runtime too"}
    )
    lean_runtime: bool = field(
        default=True, metadata={"help": "version_compatible engines carry their release's lean runtime"}
    )
    hardware: str = field(
        default="none", metadata={"help": "other GPUs that shall run it", "choices": HARDWARE}
    )
    refit: str = field(
        default="none",
        metadata={"help": "weights that can be replaced: by the same again (identical), or by any (all)",
                  "choices": REFITS},
    )  # fmt: skip
    strip: bool = field(
        default=False,
        metadata={"help": "leave the weights out of the plan; they come from model.onnx at loading"},
    )
    weight_streaming: bool = field(
        default=False, metadata={"help": "weights may stay on the host and be sent when needed"}
    )
