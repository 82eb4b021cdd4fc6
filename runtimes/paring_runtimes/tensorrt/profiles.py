"""Which of an engine's optimisation profiles takes inputs of given shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paring_runtimes.errors import InputError

Shape = tuple[int, ...]
Range = tuple[Shape, Shape, Shape]  # smallest, best, largest
Profile = Mapping[str, Range]


def fitting(profiles: Sequence[Profile], shapes: Mapping[str, Shape]) -> int:
    """Return the number of the profile that takes these shapes and whose best is nearest to them.

    Raises:
        InputError: none takes them; says what each would take.
    """
    found = [
        (sum(_distance(shape, profiles[index][name][1]) for name, shape in shapes.items()), index)
        for index in range(len(profiles))
        if all(_inside(shape, profiles[index][name]) for name, shape in shapes.items())
    ]
    if found:
        return min(found)[1]
    name = next(
        (n for n, shape in shapes.items() if not any(_inside(shape, one[n]) for one in profiles)),
        next(iter(shapes)),
    )
    ranges = " or ".join(f"{list(one[name][0])} to {list(one[name][2])}" for one in profiles)
    raise InputError(
        f"input {name!r}: shape {list(shapes[name])} is outside of what this engine was built for: {ranges}"
    )


def _inside(shape: Shape, limits: Range) -> bool:
    smallest, _, largest = limits
    return len(shape) == len(smallest) and all(
        low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True)
    )


def _distance(shape: Shape, best: Shape) -> float:
    """How far off, by the factors between the sizes."""
    return sum(max(size, other) / max(min(size, other), 1) for size, other in zip(shape, best, strict=True))
