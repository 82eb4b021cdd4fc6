"""Where the store lies when nobody says where."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "PARING_STORE"


def default_place() -> Path:
    """Return the store's file: the environment's `PARING_STORE`, or one in the user's data folder.

    That folder is `$XDG_DATA_HOME` or `~/.local/share`; on macOS `~/Library/Application Support`; on
    Windows `%LOCALAPPDATA%`.
    """
    if told := os.environ.get(VARIABLE):
        return Path(told)
    return _data_folder() / "paring" / "history.sqlite"


def _data_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    told = Path(os.environ.get("XDG_DATA_HOME") or "")
    # The XDG specification: a relative path is to be ignored.
    return told if told.is_absolute() else Path.home() / ".local" / "share"
