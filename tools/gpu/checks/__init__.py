"""What `tools/gpu/verify` runs: one file a subject, found by its name.

A file offers `CHECKS`, a tuple of `Check`. A check's `needs` names what is missing, or None; its `run`
returns facts (numbers with their units in the names) and raises where something is wrong.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """One check of the GPU lane."""

    name: str
    needs: Callable[[], str | None]
    run: Callable[[], dict[str, Any]]


def checks() -> tuple[Check, ...]:
    """Every check, by the order of the files' names."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))
    return tuple(one for name in names for one in importlib.import_module(f"{__name__}.{name}").CHECKS)
