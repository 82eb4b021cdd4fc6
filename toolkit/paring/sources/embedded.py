"""`embedded`: the small networks that come with paring: two for Fashion-MNIST, one that writes."""

from __future__ import annotations

from paring.data import Preprocess
from paring_runtimes.errors import SourceError

from ._loaded import LoadedModel, Request, missing_extra, require
from ._recurrent import LoadedRecurrentModel, spike_gpt
from ._weights import fit, read_weights

HELP = (
    "embedded: the packaged fashion-vit, a ViT for 28x28 grey images; embedded:fashion-cnn, a small ResNet;"
    " embedded:spike-gpt, a SpikeGPT of bytes"
)
SPIKE_GPT = "spike-gpt"
NAMES = ("", "fashion-vit", "fashion-cnn", SPIKE_GPT)


def why_not() -> str | None:
    """Why the model cannot be built here."""
    return missing_extra("torch", "timm", "safetensors")


def writes_text(request: Request) -> bool:
    """One of them does."""
    return request.target == SPIKE_GPT


def load(request: Request) -> LoadedModel | LoadedRecurrentModel:
    """Build the model that is named with its own weights, or those of the request."""
    if request.target not in NAMES:
        raise SourceError(
            f"{request.spec}: the embedded models are embedded:fashion-vit ('embedded' for short),"
            " embedded:fashion-cnn and embedded:spike-gpt"
        )
    if request.target == SPIKE_GPT:
        from paring.assets.spike_gpt import WEIGHTS

        return spike_gpt(request, request.weights or WEIGHTS, "spike-gpt")
    require("the embedded model", "torch", "timm", "safetensors")
    return _cnn(request) if request.target == "fashion-cnn" else _vit(request)


def _vit(request: Request) -> LoadedModel:
    from paring.assets.fashion_vit import MEAN, PADDING, STD, WEIGHTS, fashion_vit

    if request.image_size not in (None, (30, 30)) or request.any_image_size:
        raise SourceError(f"{request.spec}: takes images of 30x30 pixels only (28x28, padded by 1)")
    model = fashion_vit()
    file = request.weights or WEIGHTS
    fit(model, read_weights(file, request.allow), file)
    return LoadedModel(
        model=model.eval(),
        name="fashion-vit",
        spec=request.spec,
        input_name="pixel_values",
        input_shape=(1, 30, 30),
        output_names=("logits",),
        preprocess=Preprocess(channels=1, padding=PADDING, mean=(MEAN,), std=(STD,)),
        source_files=(file,),
    )


def _cnn(request: Request) -> LoadedModel:
    from paring.assets.fashion_cnn import INPUT_SHAPE, WEIGHTS, FashionCNN
    from paring.assets.fashion_vit import MEAN, STD

    if request.image_size not in (None, INPUT_SHAPE[1:]) or request.any_image_size:
        raise SourceError(f"{request.spec}: takes images of 28x28 pixels only")
    model, file = FashionCNN(), request.weights or WEIGHTS
    fit(model, read_weights(file, request.allow), file)
    return LoadedModel(
        model=model.eval(),
        name="fashion-cnn",
        spec=request.spec,
        input_name="pixel_values",
        input_shape=INPUT_SHAPE,
        output_names=("logits",),
        preprocess=Preprocess(channels=1, mean=(MEAN,), std=(STD,)),
        source_files=(file,),
    )
