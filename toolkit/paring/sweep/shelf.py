"""Artifacts by their recipe's digest, on this machine and in storage that several machines share.

In shared storage an artifact is a folder of its own, and `KEY.json` names it: that one small file is written
last, so a reader finds an artifact whole or finds none, whoever was killed, and whoever wrote the same one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from paring.api import extras
from paring_runtimes.artifact import FILE_NAME, new_artifact, read_manifest, verify_files
from paring_runtimes.decode import check_file_name
from paring_runtimes.errors import OutputError

from .jobs import Shelf

NAME_LENGTH = 16  # of a digest: enough for the artifacts of one sweep


def folder_of(shelf: Shelf, key: str) -> Path:
    """Where the artifact of that key lies on this machine, if it does."""
    return Path(shelf.folder) / key[:NAME_LENGTH]


def find(shelf: Shelf, key: str) -> Path | None:
    """The artifact on this machine, fetched from the shared storage if need be; None where there is none.

    Raises:
        OutputError: the storage cannot be read.
        IntegrityError: what was fetched is not what was written.
    """
    folder = folder_of(shelf, key)
    if (folder / FILE_NAME).is_file():
        return folder
    if not shelf.url:
        return None
    system, root = _storage(shelf.url)
    try:
        with system.open(f"{root}/{folder.name}.json", "rb") as file:
            told = json.load(file)
    except FileNotFoundError:
        return None
    try:
        with new_artifact(folder) as draft:
            for name in told["files"]:
                if name != FILE_NAME:
                    check_file_name(name, "files")
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                system.get_file(f"{root}/{told['folder']}/{name}", str(draft / name))
            verify_files(draft, read_manifest(draft))
    except OutputError:  # another process of this machine was faster
        if not (folder / FILE_NAME).is_file():
            raise
    return folder


def publish(shelf: Shelf, key: str) -> str:
    """Put an artifact of this machine into the shared storage, if there is one; say where it lies."""
    folder = folder_of(shelf, key)
    if not shelf.url:
        return f"{Path(shelf.folder).name}/{folder.name}"
    system, root = _storage(shelf.url)
    if system.exists(f"{root}/{folder.name}.json"):
        return f"{shelf.url.rstrip('/')}/{folder.name}.json"
    own = f"{folder.name}-{os.urandom(4).hex()}"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    for name in files:
        target = f"{root}/{own}/{name}"
        system.makedirs(target.rpartition("/")[0], exist_ok=True)
        system.put_file(str(folder / name), target)
    _write_last(system, f"{root}/{folder.name}.json", {"folder": own, "files": files})
    return f"{shelf.url.rstrip('/')}/{folder.name}.json"


def _write_last(system: Any, target: str, told: dict[str, Any]) -> None:
    """One object appears whole in an object store; in a file system it does by a rename."""
    text = json.dumps(told).encode()
    if "file" not in system.protocol:
        system.pipe_file(target, text)
        return
    draft = Path(f"{target}.{os.urandom(4).hex()}.tmp")
    draft.write_bytes(text)
    draft.replace(target)


def _storage(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it.

    Raises:
        MissingExtraError: fsspec is not installed.
        OutputError: a URL of a kind that fsspec does not open here.
    """
    with extras("shared storage"):
        import fsspec
    try:
        system, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise OutputError(f"storage {url}: {error}") from None
    return system, str(root).rstrip("/")


def check_storage(url: str) -> None:
    """Write and remove a small file.

    Raises:
        OutputError: the storage cannot be written to.
    """
    system, root = _storage(url)
    probe = f"{root}/.probe-{os.urandom(4).hex()}"
    try:
        system.makedirs(root, exist_ok=True)
        system.pipe_file(probe, b"paring")
        system.rm_file(probe)
    except Exception as error:  # each file system of fsspec has its own
        raise OutputError(f"storage {url}: cannot be written to: {type(error).__name__}: {error}") from error
