"""`paring serve`: reports in a browser, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..api import extras
from .import_command import Others
from .output import console
from .store_options import Store, place


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(serve)


def serve(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="folders of sweeps, or that a report was written into"),
    ] = None,
    store: Store = None,
    imported: Others = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 0,
) -> None:
    """Show reports of sweeps, folders and the store at 127.0.0.1, to this machine alone; Ctrl-C ends it."""
    with extras("serving reports"):
        import jinja2  # noqa: F401  before the first page is asked for

        from paring_profiles.serving import Site
        from paring_profiles.serving import serve as run

        known = place(store)
        shown = known if store is not None or known.exists() or not folders else None
        site = Site(folders or [], shown, imported or [])
        run(site, port, _tell)


def _tell(url: str) -> None:
    console.print(f"serving   {url}  (Ctrl-C ends it)", soft_wrap=True, highlight=False)
