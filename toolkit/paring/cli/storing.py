"""A profile that was just measured goes into the store, which never stands in a measurement's way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paring_runtimes.errors import StoreError

from .output import errors
from .store_options import place

if TYPE_CHECKING:
    from paring_profiles.result import Profile

NoStore = Annotated[bool, typer.Option("--no-store", help="store nothing")]


def usable(store: Path | None, no_store: bool) -> Path | None:
    """The store to write to, seen to be writable before anything is measured; None for none.

    One that was named must be writable. The default one is a convenience: where it is not, a warning is all.

    Raises:
        StoreError: the store that was named cannot be written.
    """
    from paring_profiles.history import check

    if store is not None and no_store:
        raise typer.BadParameter("--store and --no-store: one of them")
    if no_store:
        return None
    where = place(store)
    try:
        check(where)
    except StoreError as error:
        if store is not None:
            raise
        errors.print(f"warning: the profile will not be stored: {error}", soft_wrap=True)
        return None
    return where


def keep(found: Profile, store: Path | None, labels: Mapping[str, str]) -> int | None:
    """Store a profile with the labels and the git commit of the folder that the command runs in.

    What was measured is still to be shown: where it cannot be stored, a warning is all, and None returned.
    """
    from paring_profiles.history import add_profile, working_tree

    if store is None:
        return None
    try:
        number, _ = add_profile(store, found, labels, working_tree(Path.cwd()))
    except StoreError as error:
        errors.print(f"warning: the profile was not stored: {error}", soft_wrap=True)
        return None
    return number
