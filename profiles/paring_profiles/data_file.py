"""Data files in YAML that describe one thing, such as a chip or a device: read into a pydantic model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from paring_runtimes.errors import InputError

Described = TypeVar("Described", bound=BaseModel)


def read_data_file(path: Path, kind: type[Described], what: str) -> Described:
    """A file's fields as `kind`, its name the file's where it gives none. `what` it is, in a word.

    Raises:
        InputError: not such a file, with every field that is wrong.
    """
    try:
        told: Any = YAML(typ="safe").load(path)
    except (OSError, YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(told, dict):
        raise InputError(f"{path}: expected a mapping of a {what}'s fields")
    try:
        return kind.model_validate({"name": path.stem, **told})
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or what}: {one['msg']}" for one in error.errors()
        )
        raise InputError(f"{path}: {wrong}") from None
