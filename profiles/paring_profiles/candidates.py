"""What is told of an artifact beside what is timed: its name, its size, its manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paring_profiles import onnx_graph, openings
from paring_profiles.result import Candidate, ExpertShare, Settings
from paring_runtimes.errors import InputError
from paring_runtimes.manifest import Manifest


def check(
    paths: Sequence[str | Path],
    settings: Settings,
    names: Sequence[str] | None,
    engines: Sequence[str] | None = None,
) -> None:
    """Check what `profile` is asked for.

    Raises:
        InputError: nothing to measure, names that clash, or sizes that are none.
    """
    if isinstance(paths, str | Path) or not paths:
        raise InputError(f"profile: expected a list of at least one path, given {paths!r}")
    if names is not None and len(names) != len(paths):
        raise InputError(f"profile: {len(paths)} paths and {len(names)} names; give one a path")
    if engines is not None and len(engines) != len(paths):
        raise InputError(f"profile: {len(paths)} paths and {len(engines)} engines; give one a path")
    if names is not None and len(set(names)) < len(names):
        raise InputError(f"profile: names must differ, given {', '.join(names)}")
    for what, sizes in (("batch_sizes", settings.batch_sizes), ("prompt_tokens", settings.prompt_tokens)):
        if not sizes or min(sizes) < 1 or len(set(sizes)) < len(sizes):
            raise InputError(f"{what}: expected different whole numbers of at least 1, given {list(sizes)}")
    openings.check(settings)
    if settings.new_tokens < 2:
        raise InputError(
            f"new_tokens: expected at least 2, for a step comes after the first, given {settings.new_tokens}"
        )


def default_names(paths: Sequence[str | Path], engines: Sequence[str] | None = None) -> list[str]:
    """Return the files' stems and the folders' names, with the engines chosen; numbers tell equals apart."""
    names: list[str] = []
    for number, path in enumerate(map(Path, paths), 1):
        where = path.resolve()
        name = where.stem if where.suffix == ".onnx" else where.name
        name = name if engines is None else f"{name} on {engines[number - 1]}"
        names.append(name if name not in names else f"{name}-{number}")
    return names


def size_bytes(path: Path, manifest: Manifest | None) -> int:
    """Return the size of the model: the artifact's files, or a bare file and its weights."""
    if manifest is not None:
        return sum((path / name).stat().st_size for name in manifest.files)
    if path.suffix.lower() != ".onnx":  # a program or a library, which is one file
        return path.stat().st_size
    beside = onnx_graph.external_files(onnx_graph.open_graph(path))
    return sum(file.stat().st_size for file in [path, *(path.parent / name for name in beside)])


def artifact_digest(path: Path, manifest: Manifest | None) -> str:
    """Return the SHA-256 of what runs: equal where and only where all the model's files are.

    Of a bare ONNX file without external weights it is the file's own. Of several files it is that of the
    lines "NAME SHA-256", sorted; the file that the engine opens, whose name says nothing, is "" in them.
    """
    if manifest is not None:
        files = {"" if name == manifest.entry else name: sha for name, sha in manifest.files.items()}
    else:
        beside = onnx_graph.external_files(onnx_graph.open_graph(path))
        files = {"": _sha256(path), **{name: _sha256(path.parent / name) for name in sorted(beside)}}
    if list(files) == [""]:
        return files[""]
    lines = [f"{name} {sha}\n" for name, sha in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _expert_share(told: Mapping[str, Any]) -> ExpertShare:
    """Of a manifest, whose lists JSON made of tuples."""
    lists = {name: tuple(told[name]) for name in ("experts", "tokens", "alpha")}
    preferred = told.get("preferred")
    return ExpertShare(
        layer=told["layer"],
        costs=told["costs"],
        preferred=None if preferred is None else tuple(preferred),
        **lists,
    )


def candidate(name: str, path: Path, manifest: Manifest | None, **measured: Any) -> Candidate:
    """Return what the manifest tells, with `measured`: the other fields of `Candidate`."""
    graph: Mapping[str, Any] = manifest.graph if manifest else {}
    counted = measured.pop("parameters", None)
    return Candidate(
        name=name,
        path=str(path),
        format=manifest.format if manifest else path.suffix[1:].lower(),
        size_bytes=size_bytes(path, manifest),
        artifact_digest=artifact_digest(path, manifest),
        parameters=graph.get("parameters", counted),
        tokens_per_layer=graph.get("tokens_per_layer"),
        expert_shares=[_expert_share(one) for one in graph.get("expert_shares", [])],
        source=manifest.source.get("spec") if manifest else None,
        transforms=manifest.transforms if manifest else [],
        recipe=manifest.recipe if manifest else {},
        parity=manifest.parity if manifest else None,
        quality=manifest.quality if manifest else None,
        **measured,
    )
