"""One file a rule, found by its file name: `check(view, origins, table) -> Iterator[Finding]`."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def rules() -> dict[str, ModuleType]:
    """Every rule by name."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}
