"""Open an artifact, or a bare model file."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paring_runtimes.artifact import read_manifest, verify_files
from paring_runtimes.engines import Engine, NativeSession, Options, engines
from paring_runtimes.errors import ArtifactError, EngineError, InputError
from paring_runtimes.manifest import FILE_NAME, Manifest, TensorSpec
from paring_runtimes.session import Session
from paring_runtimes.suggest import near_miss


def load(
    path: str | os.PathLike[str],
    *,
    engine: str | None = None,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    verify: bool = True,
    provider_options: Mapping[str, Mapping[str, Any]] | None = None,
    profile_to: str | os.PathLike[str] | None = None,
) -> Session:
    """Open an artifact's folder, or a bare model file (".onnx"; it has no manifest).

    A language model (task "text-generation"), or one that also sees ("image-text-to-text"),
    opens as a `GenerativeSession`.

    Args:
        path: the folder or the file.
        engine: name of the engine; None takes the one that runs the artifact's format.
        threads: threads inside one operator; None leaves it to the engine.
        providers: the engine's backends in order of preference ("cpu", "CUDAExecutionProvider");
            None means the CPU.
        verify: check every file's SHA-256 against the manifest first.
        provider_options: settings by provider's name.
        profile_to: start of the path at which the engine writes its own profile
            ("runs/vit" gives "runs/vit_DATE.json"); see `Session.end_profiling`.

    Raises:
        ArtifactError: no artifact is there, or its manifest is wrong or does not fit its model.
        IntegrityError: a file is missing or differs from the manifest.
        EngineError: the model cannot be opened (truncated, an operator that is not known).
        InputError: a wrong argument.
        MissingExtraError: the engine is not installed.
    """
    where = Path(path)
    options = _options(threads, providers, provider_options, profile_to)
    if not where.is_dir():
        chosen = _engine_for(_bare_format(where), engine)
        native = chosen.open_session(where, options)
        return Session(native, where, native.inputs, native.outputs, None)
    manifest = read_manifest(where)
    chosen = _engine_for(manifest.format, engine)
    if verify:
        verify_files(where, manifest)
    if manifest.graph.get("task") in ("text-generation", "image-text-to-text"):
        from paring_runtimes.generation.open import open_language_model  # others need none of it

        agree = functools.partial(_check_agreement, where / FILE_NAME, manifest)
        return open_language_model(where, manifest, chosen, options, agree)
    native = chosen.open_session(where / manifest.entry, options)
    _check_agreement(where / FILE_NAME, manifest, native)
    return Session(native, where, manifest.inputs, manifest.outputs, manifest)


def _options(
    threads: int | None,
    providers: Sequence[str] | None,
    provider_options: Mapping[str, Mapping[str, Any]] | None,
    profile_to: str | os.PathLike[str] | None,
) -> Options:
    if threads is not None and (type(threads) is not int or threads < 1):
        raise InputError(f"threads: expected a whole number of at least 1, given {threads!r}")
    profile = None if profile_to is None else Path(profile_to)
    if profile is not None and not profile.parent.is_dir():
        raise InputError(f"profile_to: no such folder: {profile.parent}")
    names = (providers,) if isinstance(providers, str) else providers
    return Options(threads, None if names is None else tuple(names), provider_options or {}, profile)


def _bare_format(path: Path) -> str:
    """Return the format of a bare model file, by its suffix."""
    suffixes = {suffix: name for module in engines().values() for name, suffix in module.FORMATS.items()}
    if path.suffix.lower() not in suffixes:
        raise ArtifactError(
            f"{path}: {'not an artifact' if path.exists() else 'no such file or folder'}; expected "
            f"a folder with {FILE_NAME}, or a file ending in {', '.join(sorted(suffixes))}"
        )
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file")
    return suffixes[path.suffix.lower()]


def _engine_for(format_name: str, engine: str | None) -> Engine:
    """Return the named engine, or the first that runs the format and works here."""
    known = engines()
    if engine is not None:
        if engine not in known:
            raise EngineError(f"no engine {engine!r}{near_miss(engine, known)}; known: {', '.join(known)}")
        if format_name not in known[engine].FORMATS:
            runs = ", ".join(known[engine].FORMATS)
            raise EngineError(f"engine {engine!r} runs {runs}, and this artifact is {format_name}")
        return known[engine]
    fitting = [module for module in known.values() if format_name in module.FORMATS]
    if not fitting:
        formats = sorted({name for module in known.values() for name in module.FORMATS})
        raise EngineError(f"no engine runs the format {format_name!r}; known: {', '.join(formats)}")
    if len(fitting) == 1:
        return fitting[0]
    return next((module for module in fitting if module.why_not() is None), fitting[0])


def _check_agreement(file: Path, manifest: Manifest, native: NativeSession) -> None:
    """Check that the manifest speaks of this very model."""
    pairs = (
        ("inputs", manifest.inputs, native.inputs),
        ("outputs", manifest.outputs, native.outputs),
    )
    for key, told, real in pairs:
        names, real_names = [spec.name for spec in told], [spec.name for spec in real]
        if names != real_names:
            raise ArtifactError(f"{file}: {key}: names {names}, and the model has {real_names}")
        for spec, found in zip(told, real, strict=True):
            if not _same(spec, found):
                raise ArtifactError(
                    f"{file}: {key}: {spec.name!r} is told as {spec.dtype} {list(spec.shape)}, "
                    f"and the model has {found.dtype} {list(found.shape)}"
                )


def _same(told: TensorSpec, real: TensorSpec) -> bool:
    """Whether two specs can be of one tensor. Symbolic sizes may be named or resolved otherwise."""
    if told.dtype != real.dtype:
        return False
    if not real.shape:  # a scalar, or a rank that the model does not tell
        return True
    sizes = zip(told.shape, real.shape, strict=False)
    return len(told.shape) == len(real.shape) and all(
        a == b for a, b in sizes if isinstance(a, int) and isinstance(b, int)
    )
