"""Open the graphs of a language model's artifact."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from paring_runtimes.engines import Engine, NativeSession, Options
from paring_runtimes.errors import ArtifactError, EngineError
from paring_runtimes.generation.concat_cache import check_concat
from paring_runtimes.generation.deferred import DeferredSession
from paring_runtimes.generation.filter_layers import FilterLayers
from paring_runtimes.generation.image_facts import ImageFacts
from paring_runtimes.generation.image_graphs import check_graphs, opened
from paring_runtimes.generation.in_place_cache import check_in_place
from paring_runtimes.generation.language_model import LanguageModel, language_model
from paring_runtimes.generation.session import GenerativeSession
from paring_runtimes.generation.state_cache import check_state
from paring_runtimes.manifest import Manifest


def open_language_model(
    folder: Path,
    manifest: Manifest,
    engine: Engine,
    options: Options,
    check: Callable[[NativeSession], None],
) -> GenerativeSession:
    """Open the in-place graph where it runs; then the entry is opened only when it is asked for.

    Args:
        folder: the artifact's.
        manifest: read from it.
        engine: what computes.
        options: how to open.
        check: raises when the entry is not what the manifest tells.

    Raises:
        ArtifactError: the manifest does not fit the graphs.
        EngineError: the entry cannot be opened.
    """
    model = language_model(folder, manifest)
    if model.image is not None:
        return _open_with_image(folder, manifest, engine, options, check, (model, model.image))
    entry = folder / manifest.entry

    def open_entry(settings: Options) -> NativeSession:
        native = engine.open_session(entry, settings)
        check(native)
        (check_concat if model.state is None else check_state)(entry, native, model)
        return native

    in_place = _in_place(folder, model, engine, options)
    quiet = replace(options, profile_to=None)
    chooser = None if model.filter is None else FilterLayers(folder, model, engine, options)
    if in_place is None:
        return GenerativeSession(open_entry(options), folder, manifest, model, None, chooser)
    deferred = DeferredSession(lambda: open_entry(quiet), in_place, manifest.inputs, manifest.outputs)
    return GenerativeSession(deferred, folder, manifest, model, in_place, chooser)


def _open_with_image(
    folder: Path,
    manifest: Manifest,
    engine: Engine,
    options: Options,
    check: Callable[[NativeSession], None],
    told: tuple[LanguageModel, ImageFacts],
) -> GenerativeSession:
    """Open every graph of a vision-language model; there is no form without the in-place graph."""
    model, image = told
    if model.in_place is None:
        raise ArtifactError(f"{folder}: a vision-language model without an in-place graph")
    path, quiet = folder / model.in_place, replace(options, profile_to=None)
    in_place = engine.open_session(path, quiet)
    check_in_place(path, in_place, model)
    graphs = opened(
        image, lambda name: engine.open_session(folder / name, options if name == image.prefill else quiet)
    )
    check(graphs.prefill)
    check_graphs(folder, graphs, model)
    return GenerativeSession(graphs.prefill, folder, manifest, model, in_place, graphs=graphs)


def _in_place(folder: Path, model: LanguageModel, engine: Engine, options: Options) -> NativeSession | None:
    """Return the in-place graph's session, None when it cannot run here."""
    if model.in_place is None:
        return None
    path = folder / model.in_place
    try:
        native = engine.open_session(path, options)
    except EngineError as error:  # an engine older than the graph's operators
        warnings.warn(f"the cache is copied in every step: {error}", RuntimeWarning, stacklevel=4)
        return None
    check_in_place(path, native, model)
    return native
