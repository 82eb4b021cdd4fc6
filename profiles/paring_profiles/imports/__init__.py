"""Results of other tools, marked by their source. One file a tool, found by its file name.

A tool's module has `TITLE`, `HELP`, and `rows(path)`, which reads its file. What is read was not measured by
paring, and is never put into a ratio with what was.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from paring_runtimes.errors import InputError
from paring_runtimes.suggest import near_miss

from ._row import Imported, Results, read_results, write_results

__all__ = ["Imported", "Results", "import_results", "peers", "read_results", "write_results"]


def peers() -> dict[str, Any]:
    """Every tool's module by its name on the command line."""
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    return {name.replace("_", "-"): importlib.import_module(f"{__name__}.{name}") for name in names}


def import_results(path: str | Path, peer: str) -> Results:
    """Read a file that another tool wrote.

    Args:
        path: its file.
        peer: the tool: a key of `peers()`.

    Raises:
        InputError: no such tool; the message lists those there are.
        ArtifactError: not such a file, and what was expected.
    """
    known = peers()
    if peer not in known:
        raise InputError(f"no importer {peer!r}{near_miss(peer, known)}; known: {', '.join(known)}")
    module = known[peer]
    return Results(peer=peer, title=module.TITLE, file=str(path), rows=module.rows(Path(path)))
