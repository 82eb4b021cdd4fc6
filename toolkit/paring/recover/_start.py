"""A recovery that begins where an earlier one, of the recipe's first transforms, ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from paring_runtimes.errors import RecoveryError

from ..recipe import Recipe
from .folder import Recovery, read_recovery, structure


@dataclass(frozen=True)
class Start:
    """What was recovered before: the first `transforms` of the recipe's."""

    recovery: Recovery
    transforms: int


def started(folder: Path, recipe: Recipe, source_digest: str) -> Start:
    """Read the earlier recovery.

    Raises:
        RecoveryError: it is none, of another original, or not of the recipe's first transforms.
    """
    recovery = read_recovery(folder)
    count, wanted = len(recovery.record["structure"]["transforms"]), structure(recipe)["transforms"]
    if not 0 < count < len(wanted):
        raise RecoveryError(
            f"{folder}: the recovery is of {count} transforms, and one to begin with is of the first of the"
            f" recipe's, at most {len(wanted) - 1} here: {json.dumps(wanted)}"
        )
    recovery.check(recipe.model_copy(update={"transforms": recipe.transforms[:count]}), source_digest)
    return Start(recovery, count)
