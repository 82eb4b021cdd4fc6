"""Profiles as JSON files. Both ways are derived from the dataclasses' fields."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import tempfile
import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from paring_profiles.result import SCHEMA_VERSION, Profile
from paring_runtimes.errors import ArtifactError


class _Wrong(ValueError):
    """A value does not fit its field: "KEY: expected ..., given ..."."""


def to_json(profile: Profile) -> str:
    """Return a profile as JSON text (UTF-8, no NaN, no infinities)."""
    return json.dumps(dataclasses.asdict(profile), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write(profile: Profile, path: str | Path) -> Path:
    """Write a profile, whole or not at all; return the path."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(to_json(profile))
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target


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
        profile: Profile = _decode(Profile, data, "")
    except _Wrong as error:
        raise ArtifactError(f"{path}: not a profile: {error}") from None
    return profile


def _decode(kind: Any, value: Any, key: str) -> Any:
    """Turn a JSON value into what a field's type asks for."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _decode_record(kind, value, key)
    if origin in (Union, types.UnionType):
        inner = next(arg for arg in args if arg is not type(None))
        return None if value is None else _decode(inner, value, key)
    if origin is list:
        items = _expect(value, list, key)
        return [_decode(args[0], item, f"{key}[{i}]") for i, item in enumerate(items)]
    if origin is tuple:
        return _decode_tuple(args, value, key)
    if origin is dict:
        entries = _expect(value, dict, key).items()
        return {name: _decode(args[1], item, f"{key}.{name}") for name, item in entries}
    if kind is float and type(value) is int:
        return float(value)
    return _expect(value, kind, key)


def _decode_tuple(args: tuple[Any, ...], value: Any, key: str) -> tuple[Any, ...]:
    items = _expect(value, list, key)
    kinds = [args[0]] * len(items) if args[-1] is Ellipsis else list(args)
    if len(kinds) != len(items):
        raise _Wrong(f"{key}: expected {len(kinds)} values, given {len(items)}")
    pairs = zip(kinds, items, strict=True)
    return tuple(_decode(kind, item, f"{key}[{i}]") for i, (kind, item) in enumerate(pairs))


_type_hints = functools.cache(get_type_hints)


def _decode_record(kind: Any, value: Any, key: str) -> Any:
    data = _expect(value, dict, key)
    hints = _type_hints(kind)
    prefix = f"{key}." if key else ""
    for name in data:
        if name not in hints:
            raise _Wrong(f"{prefix}{name}: unknown; expected some of {', '.join(hints)}")
    for field in dataclasses.fields(kind):
        optional = field.default is not dataclasses.MISSING
        optional = optional or field.default_factory is not dataclasses.MISSING
        if field.name not in data and not optional:
            raise _Wrong(f"{prefix}{field.name}: missing")
    return kind(**{n: _decode(hints[n], item, f"{prefix}{n}") for n, item in data.items()})


def _expect(value: Any, kind: type, key: str) -> Any:
    if type(value) is not kind:
        raise _Wrong(f"{key or 'the file'}: expected {kind.__name__}, given {value!r:.60}")
    return value
