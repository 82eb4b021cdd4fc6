"""The state of the user's own work when a profile is stored: a git commit, where there is one."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_PATIENCE_S = 5.0


@dataclass(frozen=True)
class WorkingTree:
    """A commit, and whether tracked files differ from it."""

    commit: str
    changed: bool


def working_tree(folder: Path) -> WorkingTree | None:
    """Return the state of the git working tree that a folder lies in; None without git or a commit."""
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    if not commit or changes is None:
        return None
    return WorkingTree(commit, bool(changes))


def _git(folder: Path, *arguments: str) -> str | None:
    # Without optional locks: a question must not get in the way of the user's own git.
    line = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        ran = subprocess.run(line, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip()
