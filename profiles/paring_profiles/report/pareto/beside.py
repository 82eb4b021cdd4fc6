"""Pictures of other runs that go into a variant's section: kept patches, needle maps, spikes of one image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paring_profiles.needle.result import NeedleResult
from paring_profiles.records import Wrong, decode
from paring_profiles.report import needle_tables, pictures
from paring_profiles.report.drawing import Plot
from paring_profiles.report.pareto.html import Extras
from paring_profiles.report.pareto.page import Report, Variant
from paring_profiles.report.raster import Raster, drawn
from paring_runtimes.errors import InputError


def pictures_of(report: Report, folder: Path | None, beside: Sequence[Path] = ()) -> dict[str, Extras]:
    """By the variants' keys.

    Args:
        report: patches are shown for what is, or may be, on its front.
        folder: that artifacts' paths are relative to; None: no `samples.npz` is looked for.
        beside: files of `paring needle -o` and `paring simulate -o`.

    Raises:
        InputError: a file that is neither, or of an artifact that no variant has.
        ArtifactError: an artifact's `samples.npz` is damaged.
    """
    found: dict[str, Extras] = {}
    for one in report.variants:
        path = _inside(folder, one.artifact)
        if path is not None and (one.baseline or one.place in ("on", "maybe")):
            strips = pictures.strips(path, f"sample-{one.key}")
            if strips:
                found[one.key] = Extras(strips=strips)
    for file in beside:
        artifacts, result = _read(file)
        owners = [one for one in report.variants if _is_of(one, artifacts, folder)]
        if not owners:
            listed = ", ".join(sorted(artifacts))
            raise InputError(f"{file}: it is of {listed}, and no variant of the report has that artifact")
        for one in owners:
            found[one.key] = _with(found.get(one.key, Extras()), one, result, folder)
    return found


def _inside(folder: Path | None, artifact: str | None) -> Path | None:
    if folder is None or not artifact or "://" in artifact:
        return None
    root, path = folder.resolve(), (folder / artifact).resolve()
    return path if path.is_relative_to(root) and path.is_dir() else None


def _where(artifact: str, folder: Path | None) -> Path:
    return ((folder or Path()) / artifact).resolve()


def _is_of(variant: Variant, artifacts: set[str], folder: Path | None) -> bool:
    """Whether a variant's artifact is one of those, each as its own file wrote it."""
    if not variant.artifact:
        return False
    return _where(variant.artifact, folder) in {Path(name).resolve() for name in artifacts}


def _read(file: Path) -> tuple[set[str], NeedleResult | Plot]:
    try:
        told: Any = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error})") from None
    if isinstance(told, dict) and isinstance(told.get("spikes"), dict):
        try:
            picture = drawn(decode(Raster, told["spikes"]))
        except Wrong as error:
            raise InputError(f"{file}: its spikes: {error}") from None
        headline = f"{told['headline']}. " if told.get("headline") else ""
        return {str(told.get("artifact"))}, replace(picture, caption=headline + picture.caption)
    if isinstance(told, dict) and "readers" in told:
        try:
            needle: NeedleResult = decode(NeedleResult, told)
        except Wrong as error:
            raise InputError(f"{file}: no needle.json: {error}") from None
        return {reader.artifact for reader in needle.readers}, needle
    raise InputError(f"{file}: neither a needle.json of `paring needle` nor a simulation.json with spikes")


def _with(extras: Extras, variant: Variant, result: NeedleResult | Plot, folder: Path | None) -> Extras:
    if isinstance(result, Plot):
        return Extras(extras.strips, [*extras.plots, result], extras.maps)
    own = {r.name for r in result.readers if _is_of(variant, {r.artifact}, folder)}
    maps = [one for one in needle_tables.maps(result) if one.title in own]
    return Extras(extras.strips, extras.plots, [*extras.maps, *maps])
