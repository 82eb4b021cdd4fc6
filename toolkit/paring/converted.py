"""What a conversion hands back, and how its folder is closed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paring_runtimes import Manifest
from paring_runtimes.artifact import hash_files, write_manifest


@dataclass(frozen=True)
class Converted:
    """What a conversion made. `notes` are sentences that the user should read."""

    artifact: Path
    baseline: Path | None
    manifest: Manifest
    notes: tuple[str, ...] = ()


def add_quality(folder: Path, manifest: Manifest, found: dict[str, Any]) -> Manifest:
    """Write the manifest of a finished folder again, with what was measured of it."""
    whole = replace(manifest, quality=found)
    write_manifest(folder, whole)
    return whole


def finish(folder: Path, manifest: Manifest, found: dict[str, Any] | None) -> Manifest:
    """Write the manifest, with the digests of all files, as the last thing."""
    whole = replace(manifest, files=hash_files(folder), quality=found)
    write_manifest(folder, whole)
    return whole
