"""The keys of a recipe. A field's description is its documentation, here and in the JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from paring_exporters import format_names
from paring_exporters.tensorrt.options import BuildOptions
from paring_runtimes.suggest import near_miss

from ..corruptions import CORRUPTIONS, CorruptionName
from ._parts import NotNegative, Part, Positive
from ._recover import Recover
from ._steps import step_model


def _pair(value: object) -> object:
    """One number of pixels stands for a square."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    return tuple(value) if isinstance(value, list) else value


_PIXELS = {"type": "integer", "minimum": 1}
ImageSize = Annotated[
    tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]],
    BeforeValidator(_pair),
    WithJsonSchema(
        {
            "title": "pixels, or [height, width]",
            "anyOf": [
                _PIXELS,
                {"type": "array", "prefixItems": [_PIXELS, _PIXELS], "minItems": 2, "maxItems": 2},
            ],
        }
    ),
]


PLACE = "{question}"
PROMPT = "USER: <image>\n{question} ASSISTANT:"


def _known(name: str) -> str:
    if name not in format_names():
        raise ValueError(
            f"no exporter {name!r}{near_miss(name, format_names())}; {', '.join(format_names())}"
        )
    return name


FormatName = Annotated[
    str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(format_names())})
]


# A model whose fields are BuildOptions' own: to a type checker it is made at run time.
TensorRT: Any = step_model("TensorRT", BuildOptions)


class Step(Part):
    """One transform: its recipe name, and an instance of its `Config`."""

    name: str
    config: Any


class Quantize(Part):
    """How the graph becomes what export.precision says, where that is not fp32."""

    per_channel: bool = Field(default=True, description="int8, fp8: a step for every output of a weight")
    method: Literal["minmax", "entropy", "percentile"] = Field(
        default="minmax", description="int8_static, fp8: what calibration takes for an activation's range"
    )
    activations: Literal["uint8", "int8"] = Field(
        default="uint8",
        description="int8_static: uint8 is what ONNX Runtime on x86 has kernels for, int8 without zero points"
        " what TensorRT takes",
    )
    reduce_range: bool | None = Field(
        default=None,
        description="int8: weights in 7 bits, for CPUs without VNNI, whose sums saturate; null is so but for"
        " activations of int8",
    )
    block_size: Literal[16, 32, 64, 128, 256] = Field(
        default=32, description="int4: rows of a weight that share a step"
    )
    exclude: tuple[str, ...] = Field(
        default=(), description="names of nodes that stay in fp32; * stands for anything"
    )


class Tune(Part):
    """How long the kernels of a compiled model are tuned."""

    seconds: float = Field(
        default=0.0, ge=0, description="that measurements may take in all, a model; 0 is no tuning"
    )
    database: str | None = Field(
        default=None,
        description="a folder that keeps measurements between conversions; null is the user's cache",
    )
    batch: Positive = Field(default=1, description="the batch size that is timed, where the batch is open")


class Export(Part):
    """How the model is written."""

    format: FormatName = Field(default="onnx", description="format of the artifact")
    opset: Positive | None = Field(
        default=None, description="ONNX opset; null leaves the choice to the exporter"
    )
    precision: Literal["fp32", "fp16", "bf16", "int8", "int8_static", "fp8", "int4"] = Field(
        default="fp32",
        description="of weights and arithmetic; of models that answer images also bf16, int8 (activations"
        " rounded by ranges found at run time), int8_static and fp8 (by calibration images) and int4 (weights"
        " alone); their fp16 and bf16 leave in fp32 what 16 bits are measured to harm",
    )
    quantize: Quantize = Quantize()
    dynamic: tuple[Literal["batch", "image_size"], ...] = Field(
        default=("batch",), description="dimensions of the input that stay open"
    )
    image_size: ImageSize | None = Field(
        default=None, description="input size, pixels or [height, width]; null is the model's own"
    )
    optimizer: Literal["auto", "none", "onnxslim", "onnxscript"] = Field(
        default="auto", description="what cleans up the graph"
    )
    shift: Literal["auto", "float", "dequantize", "integer"] = Field(
        default="auto",
        description="how shift_linear's weights are written: packed and decoded to floats, exact (float);"
        " DequantizeLinear of int8 or int16; or packed and multiplied as integers by rounded activations."
        " auto is float for onnx and integer for tvm",
    )
    target: str = Field(
        default="host",
        description="of a compiled format: host, portable, aarch64, riscv64, or LLVM's name of a CPU"
        " (x86-64-v3, cortex-a76), all but the first two with +FEATURE",
    )
    threads: Positive | None = Field(
        default=None,
        description="of a compiled format: threads that its kernels are split for; null is the usable cores",
    )
    tune: Tune = Tune()
    tensorrt: TensorRT = Field(
        default_factory=TensorRT, description="of the format tensorrt: how its engine is built"
    )
    in_place: bool = Field(
        default=True,
        description="of a language model: also write the graph whose cache is updated in place",
    )
    token_map: bool = Field(
        default=False,
        description="one more output: which token each patch ended in, -1 where it was dropped",
    )
    baseline: bool = Field(
        default=True,
        description="also export the untransformed model the same way",
    )


class Verify(Part):
    """The inputs on which the artifact is compared with PyTorch, and how close it must come."""

    batch_sizes: tuple[Positive, ...] = Field(
        default=(1, 2, 5),
        min_length=1,
        description="images, or prompts, a call",
    )
    prompt_lengths: tuple[Positive, ...] = Field(
        default=(5, 32), min_length=1, description="of a language model's prompts, tokens"
    )
    steps: NotNegative = Field(default=8, description="tokens after each prompt, over the cache")
    image_sizes: tuple[ImageSize, ...] = Field(
        default=(), description="further input sizes, where export.dynamic leaves the size open"
    )
    sizes: dict[str, tuple[Positive, ...]] = Field(
        default={}, description="of an onnx: graph, what to try for each open size that is not the batch"
    )
    inputs: tuple[str, ...] = Field(
        default=(), description="of an onnx: graph, .npz files of its inputs, in place of random ones"
    )
    seeds: tuple[NotNegative, ...] = Field(
        default=(0, 1),
        min_length=1,
        description="of the random inputs",
    )
    atol: float | None = Field(default=None, ge=0, description="absolute tolerance; null is the dtype's own")
    rtol: float | None = Field(default=None, ge=0, description="relative tolerance; null is the dtype's own")


class Data(Part):
    """Labelled images, a text, or questions on images. What is null is the model's own, if that is known."""

    source: str = Field(
        description="embedded, npz:FILE, idx:FOLDER, idx:FOLDER,train, idx:IMAGES,LABELS, folder:DIR,"
        " text:FILE or vqa:DIR"
    )
    limit: Positive | None = Field(
        default=None, description="use so many images, chunks of a text, or questions, evenly spaced"
    )
    prompt: str = Field(
        default=PROMPT, description="of questions on images: a text with {question} and the image's token"
    )
    judge: Literal["generate", "choice"] = Field(
        default="generate",
        description="of questions on images: the answer is what the model says, or the likeliest of all"
        " answers in the data",
    )
    chunk: Annotated[int, Field(ge=2)] = Field(
        default=256, description="tokens of a text that a language model reads at once"
    )
    image_size: ImageSize | None = Field(
        default=None, description="resize images to this, pixels or [height, width]"
    )
    channels: Literal[1, 3] | None = Field(default=None, description="of the model's input")
    padding: NotNegative | None = Field(
        default=None, description="black pixels put on each side after resizing"
    )
    mean: tuple[float, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=3,
        description="subtracted from pixels scaled to 0..1",
    )
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        default=None, min_length=1, max_length=3, description="what they are divided by then"
    )


class Calibration(Part):
    """Images that transforms are fitted to; their labels are not looked at."""

    source: str = Field(description="as data.source; other images than those, best of the training side")
    limit: Positive = Field(default=256, description="use so many images, evenly spaced")


class Robustness(Part):
    """Corruptions under which the accuracy on `data` is measured too: ImageNet-C's, arXiv 1903.12261."""

    corruptions: tuple[CorruptionName, ...] = Field(
        default=CORRUPTIONS, min_length=1, description="each measured at each severity"
    )
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(
        default=(1, 3, 5), min_length=1, description="1 is the weakest"
    )
    seed: NotNegative = Field(default=0, description="of the noise")


class Gate(Part):
    """A condition without which no artifact is written."""

    metric: Literal["top1", "vqa_accuracy", "perplexity"] = Field(
        description="share of images whose largest logit is at the label, share of questions answered right,"
        " or a text's perplexity"
    )
    max_drop: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="of top1 and vqa_accuracy: largest loss, a share"
    )
    max_increase: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="of perplexity: largest increase, relative to the value before"
    )
    corruption: Literal["mean"] | CorruptionName | None = Field(
        default=None,
        description="of top1: hold the drop under this corruption, over its severities, or the mean over"
        " all of robustness; null is the drop on the images as they are",
    )
    confidence: Literal["point", "bound"] = Field(
        default="point",
        description="what must stay within the limit: the measured loss, or the upper end of its"
        " 95 % interval",
    )


class Recipe(Part):
    """What to do to a model. Paths are relative to the working directory."""

    model: str | None = Field(
        default=None,
        description="timm:NAME, hf:ID-OR-PATH, gguf:FILE, nir:FILE, spikegpt:FILE, onnx:FILE,"
        " py:FILE.py:FACTORY or embedded",
    )
    weights: str | None = Field(default=None, description="a safetensors file for the model")
    seed: NotNegative = Field(default=0, description="of random weights")
    transforms: Annotated[tuple[Step, ...], WithJsonSchema({"type": "array"})] = Field(
        default=(), description="steps, in order"
    )
    export: Export = Export()
    verify: Verify = Verify()
    data: Data | None = None
    calibration: Calibration | None = Field(
        default=None,
        description="images for export.precision int8_static and fp8, on which fp16 and bf16 are measured"
        " too, and for transforms that have something to fit (additive_attention); null fits these to"
        " normally distributed tokens, and in `paring recover` to the training images",
    )
    robustness: Robustness | None = Field(
        default=None, description="measure the accuracy under corruptions of the images too; {} is the usual"
    )
    recover: Recover | None = Field(
        default=None, description="of `paring recover`: training that gets accuracy back; {} is the usual"
    )
    gates: tuple[Gate, ...] = Field(
        default=(),
        description="conditions on the result; they need data",
    )
