"""The keys of a space file. A field's description is its documentation, here and in the JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from paring.recipe import Part


class Key(Part):
    """What one key of the recipe may be: `choices`, or a `range`."""

    choices: tuple[Any, ...] | None = Field(
        default=None, min_length=1, description="values, each as the recipe would have it"
    )
    range: tuple[int | float, int | float] | None = Field(
        default=None, description="[lowest, highest], both included; between whole numbers are whole numbers"
    )
    log: bool = Field(default=False, description="of a range: draw evenly over its logarithm")
    step: Annotated[int | float, Field(gt=0)] | None = Field(
        default=None, description="of a range: only every so many; a grid needs it"
    )
    when: dict[str, Any] = Field(
        default={},
        description="only where other parameters (a group of transforms, engine, an earlier key) have these"
        " values; one value, or a list of them",
    )


class SpaceFile(Part):
    """What a sweep varies."""

    transforms: dict[str, dict[str, list[Any]]] = Field(
        default={},
        description="groups of alternatives, {GROUP: {NAME: [steps]}}; the recipe's own steps come first,"
        " then each group's, in this order",
    )
    keys: dict[str, Key] = Field(
        default={}, description="recipe keys as for --set: export.precision, token_prune.keep_ratio, ..."
    )
    engine: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="engines, see `paring list engines`; those that are not here are left out. null is the"
        " one that runs the recipe's format",
    )
    device: tuple[str, ...] = Field(
        default=(),
        description="kinds of device, each with a front of its own: names of a Ray cluster's resources",
    )
