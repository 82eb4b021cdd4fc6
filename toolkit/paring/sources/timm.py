"""`timm:NAME`: an architecture of timm, with weights from a file or random ones. Nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paring.data import Preprocess
from paring_runtimes.errors import SourceError
from paring_runtimes.suggest import near_miss

from ._loaded import LoadedModel, Request, missing_extra, require, seeded
from ._trial import check_sizes
from ._weights import fit, read_weights

if TYPE_CHECKING:
    from ._weights import State

HELP = "timm:NAME: an architecture of timm; random weights unless --weights FILE.safetensors"


def why_not() -> str | None:
    """Why timm's models cannot be built here."""
    return missing_extra("torch", "torchvision", "timm", "safetensors")


def load(request: Request) -> LoadedModel:
    """Build the architecture; classes and input channels follow the weights where they are given."""
    require("a timm model", "torch", "torchvision", "timm", "safetensors")
    import timm

    if not timm.is_model(request.target):
        near = near_miss(request.target, timm.list_models())
        raise SourceError(f"{request.spec}: timm has no such model{near}")
    state = None if request.weights is None else read_weights(request.weights, request.allow)
    model = _create(request, {} if state is None else _fitting(request.target, state))
    if state is not None and request.weights is not None:
        fit(model, state, request.weights)
    config: dict[str, Any] = model.pretrained_cfg
    shape = _resize(model, request, tuple(config["input_size"]))
    loaded = LoadedModel(
        model=model.eval(),
        name=request.target.replace("/", "-"),
        spec=request.spec,
        input_name="pixel_values",
        input_shape=shape,
        output_names=("logits",) if model.num_classes else ("features",),
        preprocess=_preprocess(config, shape),
        random_weights=state is None,
        source_files=() if request.weights is None else (request.weights,),
    )
    check_sizes(loaded, tuple(config["input_size"])[1:], request.any_image_size)
    return loaded


def _create(request: Request, options: dict[str, int]) -> Any:
    import timm

    if request.any_image_size:
        try:
            with seeded(request.seed):
                return timm.create_model(request.target, dynamic_img_size=True, **options)
        except TypeError:  # no such option; whether the architecture needs it is tried later
            pass
    with seeded(request.seed):
        return timm.create_model(request.target, **options)


def _fitting(name: str, state: State) -> dict[str, int]:
    """Options that give the first and the last layer the sizes that the weights have."""
    import timm

    config = timm.get_pretrained_cfg(name)
    options = {}
    for option, layer, axis in (("num_classes", "classifier", 0), ("in_chans", "first_conv", 1)):
        weight = state.get(f"{getattr(config, layer, None)}.weight")
        if weight is not None and weight.ndim > axis:
            options[option] = int(weight.shape[axis])
    return options


def _resize(model: Any, request: Request, native: tuple[int, ...]) -> tuple[int, int, int]:
    """Set the input size, after the weights have been read, for they belong to the native one."""
    channels = int(getattr(model, "in_chans", native[0]))
    if request.image_size is None or request.image_size == native[1:]:
        return channels, native[1], native[2]
    if hasattr(model, "set_input_size"):
        try:
            model.set_input_size(img_size=request.image_size)
        except (AssertionError, ValueError, RuntimeError) as error:
            reason = f"cannot take images of {request.image_size}: {error}"
            raise SourceError(f"{request.spec}: {reason}") from error
    return channels, *request.image_size


def _preprocess(config: dict[str, Any], shape: tuple[int, int, int]) -> Preprocess | None:
    mean, std = config.get("mean"), config.get("std")
    if mean is None or std is None or shape[0] not in (1, 3):
        return None
    kept = 1 if shape[0] == 1 else None
    return Preprocess(size=shape[1:], channels=shape[0], mean=tuple(mean)[:kept], std=tuple(std)[:kept])
