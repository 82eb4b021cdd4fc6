"""Meters of energy. One file a meter, found by its file name.

A meter's module has `probe(choice)`, which tells whether it is present and otherwise what would mend that,
and `open_meter(choice)`, which returns a `Meter` or raises `Refused`. `choice` is what the user chose among
its sensors, "" for none. `RESOLUTION` says in words how finely and how often it reads. One that sees GPUs and
nothing of the host has `GPUS_ALONE = True`. Importing the module imports no driver's library.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from paring_profiles.energy.meter import Availability


def modules() -> dict[str, ModuleType]:
    """Return every meter's module by its name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


def meters() -> dict[str, Availability]:
    """Return every meter that is known, and whether it is present here."""
    return {name: module.probe() for name, module in modules().items()}
