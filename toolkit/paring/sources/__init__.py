"""Where models come from: one file a source, found by its file name, which is the prefix of its spec.

A source is a module with

- `HELP`: one line, with the form of its spec;
- `why_not() -> str | None`: why it cannot be used here, None when it can;
- `load(request) -> LoadedModel | LoadedLanguageModel | LoadedGraph`;
- where its models may answer prompts, `writes_text(request) -> bool`: whether this one does, as its
  description says, without its weights.

Weights are safetensors. Pickles and code from a model's repository are refused unless the caller
allows them by name: "pickle", "remote-code".
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any, Protocol

from paring_runtimes.errors import SourceError
from paring_runtimes.suggest import near_miss

from ._digest import digest
from ._graph import LoadedGraph
from ._language import LoadedLanguageModel
from ._loaded import LoadedModel, Request, fill_zeros
from ._recurrent import LoadedRecurrentModel
from ._vision_language import LoadedVisionLanguageModel

__all__ = [
    "RISKS",
    "LoadedGraph",
    "LoadedLanguageModel",
    "LoadedModel",
    "LoadedRecurrentModel",
    "LoadedVisionLanguageModel",
    "Request",
    "Source",
    "answers_prompts",
    "digest",
    "load_model",
    "sources",
]

RISKS = frozenset({"pickle", "remote-code"})


class Source(Protocol):
    """What a source's module offers."""

    HELP: str

    def why_not(self) -> str | None:
        """Why the source cannot be used here."""

    def load(self, request: Request) -> LoadedModel | LoadedLanguageModel | LoadedGraph:
        """Load the model that is asked for."""


def sources() -> dict[str, Source]:
    """Every source by its prefix. Nothing heavy is imported before a source loads a model."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")]
    found: dict[str, Any] = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return found


def load_model(
    spec: str,
    *,
    weights: str | Path | None = None,
    allow: frozenset[str] = frozenset(),
    image_size: int | tuple[int, int] | None = None,
    any_image_size: bool = False,
    seed: int = 0,
) -> LoadedModel | LoadedLanguageModel | LoadedGraph:
    """Load a model, ready to be transformed.

    Args:
        spec: `embedded`, `timm:NAME`, `hf:ID-OR-PATH`, `gguf:FILE`, `spikegpt:FILE`,
            `py:FILE.py:FACTORY`, `onnx:FILE` or `nir:FILE`.
        weights: a safetensors file for the model; it must fit exactly.
        allow: risks taken knowingly, out of `RISKS`.
        image_size: input size in pixels, a number or (height, width); None is the model's own.
        any_image_size: build the model so that it takes other image sizes too, where it can.
        seed: of random weights. The same seed gives the same weights; the caller's own random state
            is left alone.

    Raises:
        SourceError: the model or its weights cannot be loaded.
        MissingExtraError: the source needs packages that are not installed.
    """
    known = sources()
    prefix, _, target = spec.partition(":")
    if prefix not in known:
        raise SourceError(_unknown(spec, prefix, list(known)))
    risks = sorted(allow - RISKS)
    if risks:
        listed = ", ".join(sorted(RISKS))
        raise SourceError(f"allow: unknown {risks[0]!r}{near_miss(risks[0], RISKS)}; known: {listed}")
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if size is not None and min(size) < 1:
        raise SourceError(f"{spec}: image size {size} must be positive")
    request = Request(
        spec=spec,
        target=target,
        weights=None if weights is None else Path(weights),
        allow=allow,
        image_size=size,
        any_image_size=any_image_size,
        seed=seed,
    )
    loaded = known[prefix].load(request)
    if loaded.random_weights and loaded.model is not None:
        fill_zeros(loaded.model, seed)
    return loaded


def answers_prompts(spec: str, allow: frozenset[str] = frozenset()) -> bool:
    """Whether a model writes text, as far as can be told without loading it.

    Args:
        spec: as for `load_model`.
        allow: risks taken knowingly.

    Raises:
        SourceError: nothing like that is there.
    """
    prefix, _, target = spec.partition(":")
    asked = getattr(sources().get(prefix), "writes_text", None)
    return asked is not None and bool(asked(Request(spec=spec, target=target, allow=allow)))


def _unknown(spec: str, prefix: str, known: list[str]) -> str:
    forms = (
        "embedded, timm:NAME, hf:ID-OR-PATH, gguf:FILE, spikegpt:FILE, py:FILE.py:FACTORY, onnx:FILE,"
        " nir:FILE"
    )
    path = Path(spec)
    guess = near_miss(prefix, known)
    if path.suffix in (".onnx", ".gguf", ".nir"):
        guess = f" (did you mean '{path.suffix[1:]}:{spec}'?)"
    elif path.suffix == ".py":
        guess = f" (did you mean 'py:{spec}:FACTORY'?)"
    elif (path / "config.json").is_file() or "/" in spec:
        guess = f" (did you mean 'hf:{spec}'?)"
    elif not guess and ":" not in spec:
        guess = f" (did you mean 'timm:{spec}'?)"
    return f"model {spec!r}: no such source{guess}; a model is one of {forms}"
