from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from paring_profiles.history import VARIABLE, default_place, working_tree


def test_the_environment_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "x.sqlite"))
    assert default_place() == tmp_path / "x.sqlite"


@pytest.mark.parametrize(
    ("platform", "variables", "place"),
    [
        ("linux", {}, ".local/share/paring/history.sqlite"),
        ("linux", {"XDG_DATA_HOME": "relative"}, ".local/share/paring/history.sqlite"),
        ("darwin", {}, "Library/Application Support/paring/history.sqlite"),
        ("win32", {}, "AppData/Local/paring/history.sqlite"),
    ],
)
def test_the_data_folder_is_the_systems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, variables: dict[str, str], place: str
) -> None:
    for name in (VARIABLE, "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path), **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    assert default_place() == tmp_path / place


def test_xdg_data_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_place() == tmp_path / "paring" / "history.sqlite"


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    line = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()


def test_a_working_tree_is_its_commit_and_whether_files_differ(tmp_path: Path) -> None:
    assert working_tree(tmp_path) is None
    git(tmp_path, "init")
    assert working_tree(tmp_path) is None  # no commit yet
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "One")
    (tmp_path / "untracked").write_text("x")
    found = working_tree(tmp_path)
    assert found is not None
    assert (found.commit, found.changed) == (git(tmp_path, "rev-parse", "HEAD"), False)
    (tmp_path / "file").write_text("two")
    changed = working_tree(tmp_path)
    assert changed is not None
    assert changed.changed
