"""A space: its parameters, its points, and what each point does to the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paring_runtimes.errors import RecipeError

Point = dict[str, Any]  # a parameter's name -> its value; of a group of transforms the alternative's name
MOST_COUNTED = 100_000


@dataclass(frozen=True)
class Parameter:
    """One thing that varies.

    Attributes:
        name: a group of transforms, a recipe key, "engine" or "device".
        choices: its values; () where it is a range.
        low: of a range, included; whole numbers make whole numbers.
        high: of a range, included.
        log: whether a range is drawn evenly over its logarithm.
        step: between a range's values; None for any.
        when: other parameters' names -> the values under which this one exists.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float | int = 0
    high: float | int = 0
    log: bool = False
    step: float | int | None = None
    when: Mapping[str, tuple[Any, ...]] | None = None

    def exists(self, point: Point) -> bool:
        """Whether the values chosen so far ask for it."""
        wanted = self.when or {}
        return all(name in point and point[name] in values for name, values in wanted.items())

    @property
    def whole(self) -> bool:
        """Whether a range is of whole numbers."""
        return all(isinstance(one, int) for one in (self.low, self.high, self.step or 1))

    def values(self) -> tuple[Any, ...] | None:
        """All values; None where there is no end of them."""
        if self.choices:
            return self.choices
        step = self.step or (1 if self.whole and not self.log else None)
        if step is None:
            return None
        count = int((self.high - self.low) / step + 1e-9) + 1
        return tuple(tidy(self.low + index * step) for index in range(count))


def tidy(value: float | int) -> float | int:
    """Without the last digits, which adding steps leaves behind."""
    return value if isinstance(value, int) else float(f"{value:.10g}")


@dataclass(frozen=True)
class Space:
    """What is varied, ready to be drawn from.

    Attributes:
        parameters: in order; conditions look back only.
        alternatives: {group: {name: steps}}, steps as a recipe has them.
        own_steps: the recipe's, which come before every alternative's.
        formats: engine -> the export format to set for it, where the recipe's is none of its.
        left_out: what the file names and is not here, with the reason.
        written: the file's values, for the record.
        devices: kinds of device, at least one.
    """

    parameters: tuple[Parameter, ...]
    alternatives: Mapping[str, Mapping[str, list[Any]]]
    own_steps: tuple[Any, ...]
    formats: Mapping[str, str]
    left_out: tuple[str, ...]
    written: Mapping[str, Any]
    devices: tuple[str, ...] = ("cpu",)

    def overrides(self, point: Point) -> list[str]:
        """The "KEY=VALUE" texts that make the recipe into this point's."""
        texts = []
        if self.alternatives:
            steps = list(self.own_steps)
            for group, named in self.alternatives.items():
                steps += named[point[group]] if group in point else []
            texts.append(f"transforms={json.dumps(steps)}")
        engine = point.get("engine")
        if isinstance(engine, str) and engine in self.formats and "export.format" not in point:
            texts.append(f"export.format={self.formats[engine]}")
        special = {*self.alternatives, "engine", "device"}
        keys = {name: value for name, value in point.items() if name not in special}
        return texts + [f"{name}={json.dumps(value)}" for name, value in keys.items()]

    def grid(self) -> Iterator[Point]:
        """Every point.

        Raises:
            RecipeError: a range without steps has no end.
        """
        for parameter in self.parameters:
            if parameter.values() is None:
                raise RecipeError(
                    f"{parameter.name}: a grid needs every value of it: give its range a step, or choices"
                )
        return self._grid({}, 0)

    def _grid(self, point: Point, depth: int) -> Iterator[Point]:
        if depth == len(self.parameters):
            yield point
            return
        parameter = self.parameters[depth]
        if not parameter.exists(point):
            yield from self._grid(point, depth + 1)
            return
        for value in parameter.values() or ():
            yield from self._grid({**point, parameter.name: value}, depth + 1)

    def count(self) -> int | None:
        """How many points there are; None where there is no end of them."""
        if any(parameter.values() is None for parameter in self.parameters):
            return None
        found = 0
        for _ in self._grid({}, 0):
            found += 1
            if found > MOST_COUNTED:
                return None
        return found
