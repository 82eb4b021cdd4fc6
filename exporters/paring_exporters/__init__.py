"""A module becomes an artifact: one file a format, found by its file name.

A format's module offers `NAME`, `why_not() -> str | None` (None when it works here, otherwise one line)
and `export(model, request, path) -> Exported`; a format of one kind of network alone says so in `TAKES`; it
may offer `locate(exported, pixels, tolerance)`, the first value on the way from PyTorch to the artifact that
differs, and `refusal(wanted)`, why it never writes what is wanted, as far as that is known without a model.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

__all__ = ["exporters", "format_names"]


def format_names() -> tuple[str, ...]:
    """The formats that there are exporters for; none of them is imported."""
    return tuple(sorted(info.name for info in pkgutil.iter_modules([f"{path}/formats" for path in __path__])))


def exporters() -> dict[str, ModuleType]:
    """Every exporter by its format's name."""
    return {name: importlib.import_module(f"{__name__}.formats.{name}") for name in format_names()}
