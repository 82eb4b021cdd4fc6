"""Profiles as JSON files. Both ways are derived from the dataclasses' fields."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from paring_profiles.records import Wrong, decode, write_whole
from paring_profiles.result import SCHEMA_VERSION, Profile
from paring_runtimes.errors import ArtifactError


def to_json(profile: Profile) -> str:
    """Return a profile as JSON text (UTF-8, no NaN, no infinities)."""
    return json.dumps(dataclasses.asdict(profile), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write(profile: Profile, path: str | Path) -> Path:
    """Write a profile, whole or not at all; return the path."""
    return write_whole(path, to_json(profile))


def read(path: str | Path) -> Profile:
    """Read a profile.

    Raises:
        ArtifactError: no such file, no profile, or a newer schema; names the file and the key.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error
    return from_json(text, path)


def from_json(text: bytes, path: object) -> Profile:
    """Return the profile that JSON text (UTF-8) tells; `path` is what an error names as its place.

    Raises:
        ArtifactError: no profile, or a newer schema.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ArtifactError(f"{path}: not a profile: not JSON ({error})") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise ArtifactError(f"{path}: not a profile: expected an object with `schema_version`")
    if version > SCHEMA_VERSION:
        raise ArtifactError(
            f"{path}: its schema is {version}, and this version of paring reads up to "
            f"{SCHEMA_VERSION}: upgrade paring"
        )
    try:
        profile: Profile = decode(Profile, data, "")
    except Wrong as error:
        raise ArtifactError(f"{path}: not a profile: {error}") from None
    return profile
