"""Dataclasses as JSON files: what a file holds is derived from the fields, both ways."""

from __future__ import annotations

import dataclasses
import functools
import os
import tempfile
import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints


class Wrong(ValueError):
    """A value does not fit its field: "KEY: expected ..., given ..."."""


def write_whole(path: str | Path, text: str) -> Path:
    """Write a text file, whole or not at all; return its path."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target


def decode(kind: Any, value: Any, key: str = "") -> Any:
    """Turn a JSON value into what `kind`, a dataclass or a field's type, asks for.

    Raises:
        Wrong: a value does not fit; the text begins with its key.
    """
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _decode_record(kind, value, key)
    if origin in (Union, types.UnionType):
        inner = next(arg for arg in args if arg is not type(None))
        return None if value is None else decode(inner, value, key)
    if origin is list:
        items = _expect(value, list, key)
        return [decode(args[0], item, f"{key}[{i}]") for i, item in enumerate(items)]
    if origin is tuple:
        return _decode_tuple(args, value, key)
    if origin is dict:
        entries = _expect(value, dict, key).items()
        return {name: decode(args[1], item, f"{key}.{name}") for name, item in entries}
    if kind is float and type(value) is int:
        return float(value)
    return _expect(value, kind, key)


def _decode_tuple(args: tuple[Any, ...], value: Any, key: str) -> tuple[Any, ...]:
    items = _expect(value, list, key)
    kinds = [args[0]] * len(items) if args[-1] is Ellipsis else list(args)
    if len(kinds) != len(items):
        raise Wrong(f"{key}: expected {len(kinds)} values, given {len(items)}")
    pairs = zip(kinds, items, strict=True)
    return tuple(decode(kind, item, f"{key}[{i}]") for i, (kind, item) in enumerate(pairs))


_type_hints = functools.cache(get_type_hints)


def _decode_record(kind: Any, value: Any, key: str) -> Any:
    data = _expect(value, dict, key)
    hints = _type_hints(kind)
    prefix = f"{key}." if key else ""
    for name in data:
        if name not in hints:
            raise Wrong(f"{prefix}{name}: unknown; expected some of {', '.join(hints)}")
    for field in dataclasses.fields(kind):
        optional = field.default is not dataclasses.MISSING
        optional = optional or field.default_factory is not dataclasses.MISSING
        if field.name not in data and not optional:
            raise Wrong(f"{prefix}{field.name}: missing")
    return kind(**{n: decode(hints[n], item, f"{prefix}{n}") for n, item in data.items()})


def _expect(value: Any, kind: type, key: str) -> Any:
    if type(value) is not kind:
        raise Wrong(f"{key or 'the file'}: expected {kind.__name__}, given {value!r:.60}")
    return value
