"""From a transform's `Config` dataclass to the schema of its step, with ranges and choices."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from paring_runtimes.errors import MissingExtraError

STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def discovered() -> Mapping[str, Any]:
    """Every transform by name.

    Raises:
        MissingExtraError: PyTorch, which transforms are written in, is not installed.
    """
    try:
        from paring.transforms import discover
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "paring":
            raise
        raise MissingExtraError("transforming a model", "torch") from error
    return discover()


def step_model(name: str, config: type[Any]) -> type[BaseModel]:
    """The pydantic model of one transform's keys."""
    hints = get_type_hints(config)
    fields: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        annotation = _ranged(hints[item.name], item.metadata)
        fields[item.name] = (annotation, Field(_default(item), description=_help(item.metadata)))
    return create_model(name, __config__=STRICT, __doc__=config.__doc__, **fields)


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default is not dataclasses.MISSING:
        return item.default
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return ...


def _help(metadata: Mapping[str, Any]) -> str | None:
    text, unit = metadata.get("help"), metadata.get("unit", "1")
    return text if unit == "1" or not text else f"{text} [{unit}]"


def _ranged(hint: Any, metadata: Mapping[str, Any]) -> Any:
    """`hint` with the metadata's range or choices on its numbers or its text, however deep."""
    if get_origin(hint) in (Union, types.UnionType):
        return Union[tuple(_ranged(part, metadata) for part in get_args(hint))]  # noqa: UP007
    if get_origin(hint) is tuple:
        parts = (p if p is Ellipsis else _ranged(p, metadata) for p in get_args(hint))
        return tuple[tuple(parts)]  # type: ignore[misc]
    if hint in (int, float):
        low, high = metadata.get("minimum"), metadata.get("maximum")
        return Annotated[hint, Field(ge=low, le=high)]
    if hint is str and "choices" in metadata:
        return Literal[tuple(metadata["choices"])]
    return hint
