"""Devices that can be measured here. One file a device, found by its file name.

A device's module has `why_not()`: None when it works here, otherwise one line that says what would
mend it. Importing the module must not import an engine.
"""

from __future__ import annotations

import importlib
import pkgutil


def devices() -> dict[str, str | None]:
    """Return every device that is known, with the reason why it does not work here, or None."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {n: importlib.import_module(f"{__name__}.{n}").why_not() for n in names}
