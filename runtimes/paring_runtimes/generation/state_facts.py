"""What a manifest says of a recurrent language model's state. Standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from paring_runtimes.errors import ArtifactError

NO_LIMIT = 2**62  # positions of a model that has no most of them


@dataclass(frozen=True)
class StateFacts:
    """`manifest.graph["generation"]["state"]`: what stands for a cache and does not grow.

    Attributes:
        width: of each tensor, which is [layers, batch, width].
        initial: the tensors' names, each with the value that fills it before the first token.
    """

    width: int
    initial: tuple[tuple[str, float], ...]

    def names(self, prefix: str) -> list[str]:
        """Return "PREFIX.NAME" of each tensor: inputs are "state.NAME", outputs "updated.NAME"."""
        return [f"{prefix}.{name}" for name, _ in self.initial]


def state_facts(told: Any, where: str) -> StateFacts | None:
    """Check the manifest's entry.

    Raises:
        ArtifactError: it is neither null nor such an object.
    """
    if told is None:
        return None
    width, initial = (told.get("width"), told.get("initial")) if isinstance(told, dict) else (None, None)
    if type(width) is not int or width < 1:
        raise ArtifactError(f"{where}.width: expected a whole number of at least 1, given {width!r}")
    if not isinstance(initial, dict) or not initial:
        raise ArtifactError(f"{where}.initial: expected an object of numbers by name, given {initial!r}")
    for name, value in initial.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ArtifactError(f"{where}.initial.{name}: expected a finite number, given {value!r}")
    return StateFacts(width, tuple((name, float(value)) for name, value in initial.items()))
