"""`sweep.json`, written whole or not at all and read back strictly."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from paring_profiles.records import Wrong, decode, write_whole
from paring_profiles.sweep.result import FILE_NAME, SCHEMA_VERSION, Sweep
from paring_runtimes.errors import ArtifactError


def to_json(sweep: Sweep) -> str:
    """Return a sweep as JSON text (no NaN, no infinities)."""
    return json.dumps(dataclasses.asdict(sweep), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_sweep(sweep: Sweep, folder: str | Path) -> Path:
    """Write `sweep.json` into a sweep's folder; return its path."""
    return write_whole(Path(folder) / FILE_NAME, to_json(sweep))


def read_sweep(path: str | Path) -> Sweep:
    """Read a sweep from its folder or its file.

    Raises:
        ArtifactError: no such file, no sweep, or a newer schema; names the file and the key.
    """
    file = Path(path) / FILE_NAME if Path(path).is_dir() else Path(path)
    try:
        data = json.loads(file.read_bytes())
    except OSError as error:
        raise ArtifactError(
            f"{file}: cannot be read ({error.strerror}); `paring sweep` writes it into its folder"
        ) from error
    except ValueError as error:
        raise ArtifactError(f"{file}: not a sweep: not JSON ({error})") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise ArtifactError(f"{file}: not a sweep: expected an object with `schema_version`")
    if version > SCHEMA_VERSION:
        raise ArtifactError(
            f"{file}: its schema is {version}, and this version of paring reads up to {SCHEMA_VERSION}:"
            " upgrade paring"
        )
    try:
        sweep: Sweep = decode(Sweep, data)
    except Wrong as error:
        raise ArtifactError(f"{file}: not a sweep: {error}") from None
    return sweep
