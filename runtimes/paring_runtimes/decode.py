"""`manifest.json` to `Manifest` and back, strictly. Derived from the dataclass fields; stdlib only.

Everything wrong with a manifest is told as "KEY: expected ..., given ...": the reader puts the
file's name before it.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from paring_runtimes.manifest import FILE_NAME, SCHEMA_VERSION, Manifest, TensorSpec
from paring_runtimes.suggest import near_miss

Record = TypeVar("Record")

DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
)  # fmt: skip

_JSON_NAMES: dict[Any, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


class ManifestRefused(ValueError):
    """A manifest is wrong at one key. The message is "KEY: expected ..., given ..."."""


def manifest_from_json(text: str) -> Manifest:
    """Decode and check a manifest.

    Raises:
        ManifestRefused: not JSON, a schema newer than ours, a missing or unknown key, a wrong type,
            a path that leaves the folder.
    """
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ManifestRefused("nested too deep to be a manifest") from None
    except json.JSONDecodeError as error:
        raise ManifestRefused(f"line {error.lineno}: not JSON ({error.msg})") from None
    if type(data) is not dict:
        raise ManifestRefused(f"expected an object, given {_told(data)}")
    _check_version(data)
    manifest = _decode_record(Manifest, data, "")
    check_manifest(manifest)
    return manifest


def manifest_to_json(manifest: Manifest) -> str:
    """Encode a manifest that passes `check_manifest`.

    Raises:
        ManifestRefused: also for values that JSON cannot hold (NaN, infinities, arrays).
    """
    check_manifest(manifest)
    document = {field.name: getattr(manifest, field.name) for field in dataclasses.fields(manifest)}
    for key, value in document.items():
        try:
            json.dumps(value, allow_nan=False, default=_encode_record)
        except (TypeError, ValueError) as error:
            raise ManifestRefused(f"{key}: expected JSON values ({error})") from None
    return json.dumps(document, allow_nan=False, default=_encode_record, indent=2) + "\n"


def check_manifest(manifest: Manifest) -> None:
    """Check what types alone cannot say.

    Raises:
        ManifestRefused: an unsafe or repeated name, an unknown dtype, a bad size, digest or entry.
    """
    if not manifest.format:
        raise ManifestRefused("format: expected the name of a format, given an empty string")
    for name, digest in manifest.files.items():
        check_file_name(name, "files")
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise ManifestRefused(
                f"files[{name!r}]: expected a SHA-256 as 64 lower-case hexadecimal digits, given {digest!r}"
            )
    check_file_name(manifest.entry, "entry")
    if manifest.entry not in manifest.files:
        raise ManifestRefused(f"entry: {manifest.entry!r} is not among the files")
    for key, specs in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        _check_specs(key, specs)


def check_file_name(name: str, key: str) -> None:
    """Check that `name` stays inside the artifact's folder on every system.

    Raises:
        ManifestRefused: an absolute path, "..", a backslash, a drive, or the manifest itself.
    """
    path = PurePosixPath(name)
    leaves = path.is_absolute() or ".." in path.parts or any(char in name for char in "\\:\0")
    if leaves or not name or str(path) != name or name in (".", FILE_NAME):
        raise ManifestRefused(
            f"{key}: expected a plain relative path of a file inside the artifact's folder, given {name!r}"
        )


def _check_specs(key: str, specs: tuple[TensorSpec, ...]) -> None:
    names = [spec.name for spec in specs]
    for index, spec in enumerate(specs):
        where = f"{key}[{index}]"
        if not spec.name or names.count(spec.name) > 1:
            raise ManifestRefused(f"{where}.name: expected a unique name, given {spec.name!r}")
        if spec.dtype not in DTYPES:
            raise ManifestRefused(
                f"{where}.dtype: expected one of {', '.join(DTYPES)}, given {spec.dtype!r}"
                f"{near_miss(spec.dtype, DTYPES)}"
            )
        for axis, size in enumerate(spec.shape):
            if size == "" or (isinstance(size, int) and size < 0):
                raise ManifestRefused(
                    f"{where}.shape[{axis}]: expected a size of at least 0 or a symbolic name, given {size!r}"
                )


def _check_version(data: dict[str, Any]) -> None:
    if "schema_version" not in data:
        raise ManifestRefused("schema_version: missing")
    version = data["schema_version"]
    if type(version) is not int or version < 1:
        raise ManifestRefused(
            f"schema_version: expected an integer from 1 to {SCHEMA_VERSION}, given {version!r}"
        )
    if version > SCHEMA_VERSION:
        raise ManifestRefused(
            f"schema_version: expected {SCHEMA_VERSION} at most, given {version}: "
            "written by a newer paring; pip install --upgrade paring"
        )


def _decode_record(kind: type[Record], value: dict[str, Any], where: str) -> Record:
    hints = get_type_hints(kind)
    for key in value:
        if key not in hints:
            raise ManifestRefused(f"{_join(where, key)}: unknown key{near_miss(key, hints)}")
    decoded = {}
    for name in _required(kind):
        if name not in value:
            raise ManifestRefused(f"{_join(where, name)}: missing")
    for name, item in value.items():
        decoded[name] = _decode(item, hints[name], _join(where, name))
    return kind(**decoded)


def _decode(value: Any, kind: Any, where: str) -> Any:
    """Decode one JSON value as the type `kind`, one of those that `Manifest` is made of."""
    if kind is Any:
        return value
    arms = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    arm = next((arm for arm in arms if type(value) is _json_type(arm)), None)
    if arm is None:
        expected = " or ".join(_JSON_NAMES[_json_type(arm)] for arm in arms)
        raise ManifestRefused(f"{where}: expected {expected}, given {_told(value)}")
    inner = get_args(arm)
    if get_origin(arm) is dict:
        return {key: _decode(item, inner[1], f"{where}[{key!r}]") for key, item in value.items()}
    if get_origin(arm) in (list, tuple):
        items = [_decode(item, inner[0], f"{where}[{i}]") for i, item in enumerate(value)]
        return tuple(items) if get_origin(arm) is tuple else items
    if isinstance(arm, type) and dataclasses.is_dataclass(arm):
        return _decode_record(arm, value, where)
    return value


def _json_type(kind: Any) -> Any:
    """Return the type that `json` gives for a field of type `kind`."""
    if dataclasses.is_dataclass(kind):
        return dict
    origin = get_origin(kind) or kind
    return list if origin is tuple else origin


def _encode_record(value: Any) -> dict[str, Any]:
    if isinstance(value, TensorSpec):
        return dataclasses.asdict(value)
    raise TypeError(f"a {type(value).__name__} is no JSON value")


def _required(kind: Any) -> Iterator[str]:
    for field in dataclasses.fields(kind):
        no_default = field.default is dataclasses.MISSING
        if no_default and field.default_factory is dataclasses.MISSING:
            yield field.name


def _refuse_constant(name: str) -> None:
    raise ManifestRefused(f"{name} is not JSON")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _told(value: Any) -> str:
    kind = _JSON_NAMES[type(value)]
    return f"{kind}, {value!r}" if type(value) in (str, int, float) else kind
