"""`hf:ID-OR-PATH`: a transformers vision or language model, from a folder, the local cache or the Hub.

What the model's task is, what its tensors are called and what its input looks like are optimum's
tables, so that an export is named as optimum names it and optimum can load it. `hf:ID@REVISION` takes
a revision of the Hub.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paring.data import Preprocess
from paring_runtimes.errors import SourceError

from ._hub import Checkpoint, checkpoint
from ._language import LoadedLanguageModel, is_causal, refuse_image_options, tokenizer_files
from ._loaded import LoadedModel, Request, missing_extra, require, seeded
from ._trial import check_sizes
from ._vision_language import (
    DESCRIPTION,
    NEXT,
    LoadedVisionLanguageModel,
    preparation,
    prepared_side,
    sees_and_speaks,
)
from ._weights import fit, read_weights

HELP = "hf:ID-OR-PATH: a transformers model (image classifier, causal LM, LLaVA), safetensors weights"
PACKAGES = ("torch", "transformers", "optimum", "safetensors")
INPUT = "pixel_values"


@dataclass(frozen=True)
class Interface:
    """What optimum's tables say of a model."""

    model_class: Any
    input_shape: tuple[int, int, int]
    output_names: tuple[str, ...]


def why_not() -> str | None:
    """Why transformers' models cannot be loaded here."""
    return missing_extra(*PACKAGES)


def writes_text(request: Request) -> bool:
    """Whether the checkpoint's config states a language model; one of the Hub is fetched first."""
    require("a transformers model", *PACKAGES)
    found = checkpoint(request)
    return is_causal(found.folder) or sees_and_speaks(found.folder, request.spec)


def load(request: Request) -> LoadedModel | LoadedLanguageModel:
    """Load the model in the class of its task: language, vision, or both."""
    require("a transformers model", *PACKAGES)
    found = checkpoint(request)
    if sees_and_speaks(found.folder, request.spec):
        return _load_vision_language(found, request)
    return _load_language(found, request) if is_causal(found.folder) else _load_vision(found, request)


def _load_language(found: Checkpoint, request: Request) -> LoadedLanguageModel:
    from transformers import AutoModelForCausalLM

    refuse_image_options(request)
    with quiet():
        config = _config(found, request)
        model, files = _model(found, config, AutoModelForCausalLM, request)
    kept = tokenizer_files(found.folder)
    return LoadedLanguageModel(
        model=model.eval(),
        name=(Path(found.name).name or "model").partition("@")[0],
        spec=request.spec,
        config=model.config,
        generation=model.generation_config,
        tokenizer_files=kept,
        random_weights=request.weights is None and not found.weights,
        source_files=(*files, *kept),
    )


def _load_vision_language(found: Checkpoint, request: Request) -> LoadedVisionLanguageModel:
    from transformers import AutoModelForImageTextToText

    with quiet():
        config = _config(found, request)
        tiled = config.architectures == [NEXT]
        if request.any_image_size or not tiled:
            refuse_image_options(request)
        own, side = int(config.vision_config.image_size), prepared_side(found.folder, config)
        prepared = preparation(found.folder, side, request.spec, tiled)
        model, files = _model(found, config, AutoModelForImageTextToText, request)
    kept, description = tokenizer_files(found.folder), found.folder / DESCRIPTION
    return LoadedVisionLanguageModel(
        model=model.eval(),
        name=(Path(found.name).name or "model").partition("@")[0],
        spec=request.spec,
        config=model.config,
        generation=model.generation_config,
        tokenizer_files=kept,
        random_weights=request.weights is None and not found.weights,
        source_files=(*files, *kept, description),
        preparation=prepared,
        description=description,
        image_size=request.image_size if tiled or side == own else (side, side),
    )


def _load_vision(found: Checkpoint, request: Request) -> LoadedModel:
    """The model behind a module that returns plain tensors."""
    from ._plain_outputs import PlainOutputs

    with quiet():
        config = _config(found, request)
        interface = _interface(config, request)
        inner, files = _model(found, config, interface.model_class, request)
    channels, native = interface.input_shape[0], interface.input_shape[1:]
    size = request.image_size or native
    other = request.any_image_size or size != native
    loaded = LoadedModel(
        model=PlainOutputs(inner, interface.output_names, any_image_size=other).eval(),
        name=(Path(found.name).name or "model").partition("@")[0],
        spec=request.spec,
        input_name=INPUT,
        input_shape=(channels, *size),
        output_names=interface.output_names,
        preprocess=_preprocess(found.folder, channels, size),
        hf_config=inner.config,
        random_weights=request.weights is None and not found.weights,
        source_files=files,
    )
    check_sizes(loaded, native, request.any_image_size)
    return loaded


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back transformers' own log: what matters of it is raised or recorded here."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _config(found: Checkpoint, request: Request) -> Any:
    from transformers import AutoConfig

    remote = "remote-code" in request.allow
    try:
        config = AutoConfig.from_pretrained(found.folder, trust_remote_code=remote)
    except (ValueError, KeyError, OSError, ImportError) as error:
        stated = json.loads((found.folder / "config.json").read_text(encoding="utf-8"))
        if "auto_map" in stated and not remote:
            raise SourceError(
                f"{request.spec}: needs code from its repository, which can do anything on this"
                " machine; read it, then pass --allow remote-code"
            ) from error
        reason = str(error).partition("\n")[0]
        raise SourceError(f"{request.spec}: transformers cannot read its config ({reason})") from error
    config.return_dict = True
    return config


def _interface(config: Any, request: Request) -> Interface:
    """Ask optimum. Task: that of the config's architecture; none stated means the plain encoder."""
    from optimum.exporters.onnx import model_configs  # noqa: F401  registers the tables' rows
    from optimum.exporters.tasks import TasksManager

    stated = next(iter(config.architectures or []), None)
    try:
        task = _task(config, stated)
        constructor = TasksManager.get_exporter_config_constructor(
            "onnx", model_type=config.model_type, task=task, library_name="transformers"
        )
        tables = constructor(config)
        model_class = TasksManager.get_model_class_for_task(task, model_type=config.model_type)
    except (KeyError, ValueError) as error:
        reason = str(error.args[0]).partition(". ")[0]
        raise SourceError(f"{request.spec}: optimum cannot export {stated}: {reason}") from error
    if list(tables.inputs) != [INPUT]:
        raise SourceError(
            f"{request.spec}: {stated or config.model_type} takes {', '.join(tables.inputs)}; a vision"
            f" model that takes {INPUT} alone is needed"
        )
    shape = _dummy(tables, config).shape[1:]
    return Interface(model_class, (shape[0], shape[1], shape[2]), tuple(tables.outputs))


def _task(config: Any, stated: str | None) -> str:
    """The task of the stated architecture, by optimum's name for it."""
    import transformers
    from optimum.exporters.tasks import TasksManager
    from transformers.models.auto import modeling_auto

    # optimum does not see the architectures of a model type that has two of them, such as DeiT.
    names = modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.get(config.model_type, ())
    if stated in ((names,) if isinstance(names, str) else names):
        return "image-classification"
    kind = getattr(transformers, stated, None) if stated else None
    return str(TasksManager.infer_task_from_model(kind)) if kind else "feature-extraction"


def _dummy(tables: Any, config: Any) -> Any:
    """optimum's example of the input: [B, C, H, W]."""
    from optimum.utils import DummyVisionInputGenerator

    try:
        return tables.generate_dummy_inputs(framework="np")[INPUT]
    except IndexError:  # DINOv2's own generator wants a preprocessor_config.json
        plain = DummyVisionInputGenerator(tables.task, tables.NORMALIZED_CONFIG_CLASS(config))
        return plain.generate(INPUT, framework="np")


def _model(
    found: Checkpoint, config: Any, model_class: Any, request: Request
) -> tuple[Any, tuple[Path, ...]]:
    """The model, and the files that it was read from."""
    remote = "remote-code" in request.allow
    described = found.folder / "config.json"
    if request.weights is None and found.weights:
        model = _pretrained(found, config, model_class, request)
        return model, (described, *found.weights)
    with seeded(request.seed):
        model = model_class.from_config(config, trust_remote_code=remote)
    if request.weights is None:
        return model, (described,)
    fit(model, read_weights(request.weights, request.allow), request.weights)
    return model, (described, request.weights)


def _pretrained(found: Checkpoint, config: Any, model_class: Any, request: Request) -> Any:
    import torch
    from safetensors import SafetensorError

    try:
        model, report = model_class.from_pretrained(
            found.folder,
            config=config,
            use_safetensors=not found.is_pickle,
            trust_remote_code="remote-code" in request.allow,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise SourceError(f"{request.spec}: weights cannot be loaded ({reason})") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise SourceError(
            f"{request.spec}: {len(missing)} weights of {type(model).__name__} are not in its file:"
            f" {', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}"
        )
    return model


def _preprocess(folder: Path, channels: int, size: tuple[int, int]) -> Preprocess | None:
    """What preprocessor_config.json says of normalisation; resizing is always to the input's size."""
    file = folder / "preprocessor_config.json"
    if not file.is_file() or channels not in (1, 3):
        return None
    stated = json.loads(file.read_text(encoding="utf-8"))
    plain = not stated.get("do_normalize", True)
    mean = (0.0,) if plain else tuple(stated.get("image_mean") or (0.0,))
    std = (1.0,) if plain else tuple(stated.get("image_std") or (1.0,))
    return Preprocess(size=size, channels=channels, mean=mean, std=std)
