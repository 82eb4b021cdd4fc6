"""A module becomes an artifact: one file a format, found by its file name.

A format's module offers `NAME`, `why_not() -> str | None` (None when it works here, otherwise one line)
and `export(model, request, path) -> Exported`.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

__all__ = ["exporters"]


def exporters() -> dict[str, ModuleType]:
    """Every exporter by its format's name."""
    found = {}
    for info in pkgutil.iter_modules([f"{path}/formats" for path in __path__]):
        module = importlib.import_module(f"{__name__}.formats.{info.name}")
        found[module.NAME] = module
    return found
