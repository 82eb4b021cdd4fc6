"""An artifact on disk: a folder with `manifest.json` and the files that it names. Stdlib only.

The digests guard against accidents (a broken download, an edited file), not against an attacker who
can also write the manifest.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from paring_runtimes.decode import (
    ManifestRefused,
    check_file_name,
    manifest_from_json,
    manifest_to_json,
)
from paring_runtimes.errors import ArtifactError, IntegrityError, OutputError
from paring_runtimes.manifest import FILE_NAME, Manifest

_CHUNK_BYTES = 1 << 20


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Read and check `folder/manifest.json`.

    Raises:
        ArtifactError: no such file, or a manifest that is wrong; names the file and the key.
    """
    path = Path(folder) / FILE_NAME
    try:
        return manifest_from_json(path.read_text(encoding="utf-8"))
    except ManifestRefused as error:
        raise ArtifactError(f"{path}: {error}") from None
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path}: not UTF-8 text at byte {error.start}") from None
    except OSError as error:
        raise ArtifactError(
            f"{folder}: not an artifact: {FILE_NAME} cannot be read ({error.strerror})"
        ) from None


def write_manifest(folder: str | os.PathLike[str], manifest: Manifest) -> None:
    """Write `folder/manifest.json`, whole or not at all.

    Raises:
        ArtifactError: a manifest that `read_manifest` would refuse.
    """
    path = Path(folder) / FILE_NAME
    try:
        text = manifest_to_json(manifest)
    except ManifestRefused as error:
        raise ArtifactError(f"{path}: {error}") from None
    draft = _sibling(path, "tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        fsync(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes, in lower-case hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def hash_files(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Return the SHA-256 of every file under `folder` but the manifest, by relative POSIX name.

    Raises:
        ArtifactError: a link or a special file: an artifact holds its own bytes.
    """
    root = Path(folder)
    return {name: sha256_of(root / name) for name in _file_names(root)}


def verify_files(folder: str | os.PathLike[str], manifest: Manifest) -> None:
    """Check every file that the manifest names against its SHA-256.

    Files that it does not name are left alone: an engine opens only the entry and what the entry
    refers to, all of which was hashed when the artifact was written, so a report or an engine's
    cache laid beside them cannot change what is computed. Links are followed, since model hubs hand
    out folders of links: what counts is the bytes.

    Raises:
        IntegrityError: a file is missing or differs; names the file, the expected and the found.
    """
    for name, expected in manifest.files.items():
        path = Path(folder) / name
        if not path.is_file():
            raise IntegrityError(f"{path}: missing; expected a file with SHA-256 {expected}")
        found = sha256_of(path)
        if found != expected:
            raise IntegrityError(
                f"{path}: not the file that was written: expected SHA-256 {expected}, found {found}"
            )


@contextmanager
def new_artifact(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it becomes `path`, an artifact. See `new_folder`.

    Raises:
        OutputError: as `new_folder`.
        ArtifactError: the folder that was filled is not whole (no manifest, other files than its).
    """
    with new_folder(path, overwrite) as draft:
        yield draft
        _check_whole(draft)


@contextmanager
def new_folder(
    path: str | os.PathLike[str], overwrite: bool = False, mark: str = FILE_NAME
) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it becomes `path`, whole or not at all.

    An exception removes the temporary folder and leaves what was at `path`. A killed process leaves
    `path` as it was, and a hidden `.NAME.*.tmp` beside it. Overwriting takes two renames: a process
    killed between them leaves the old artifact, whole, as `.NAME.*.old`.

    Args:
        path: the folder to make.
        overwrite: replace a folder of the same kind that is there.
        mark: the file by which such a folder is known.

    Raises:
        OutputError: `path` is taken, by such a folder and `overwrite` is false or by something else; or
            no folder can be made there.
    """
    target = Path(os.path.abspath(path))  # noqa: PTH100 - a link stays the name it is
    check_target(target, overwrite, mark)
    missing_parents = [parent for parent in target.parents if not parent.exists()]
    draft = _sibling(target, "tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()  # unlike tempfile's folders, with the permissions that the user's umask gives
    except OSError as error:
        raise OutputError(f"{target}: cannot be made: {error.filename}: {error.strerror}") from error
    try:
        yield draft
        _fsync_tree(draft)
        _put_in_place(draft, target, overwrite)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        for parent in missing_parents:
            with suppress(OSError):  # another process has put something there
                parent.rmdir()
        raise


def check_target(target: Path, overwrite: bool, mark: str = FILE_NAME) -> None:
    """Refuse, early, a place where `new_folder` could not put its folder.

    Raises:
        OutputError: something is there that may not be replaced.
    """
    if not os.path.lexists(target) or (_is_folder(target) and not any(target.iterdir())):
        return
    if not overwrite:
        raise OutputError(
            f"{target}: exists already; choose another path, or replace it with --overwrite (overwrite=True)"
        )
    if not _is_folder(target) or not (target / mark).is_file():
        kind = "an artifact (a folder with" if mark == FILE_NAME else "what this writes (a folder with"
        raise OutputError(f"{target}: not overwritten: only {kind} {mark}) or an empty folder is")


def _check_whole(draft: Path) -> None:
    manifest = read_manifest(draft)
    found, named = set(_file_names(draft)), set(manifest.files)
    if found != named:
        names = ", ".join(sorted(found ^ named))
        raise ArtifactError(
            f"{draft}: {FILE_NAME} and the folder disagree about: {names}; "
            "expected `files` to name every file but the manifest"
        )


def _put_in_place(draft: Path, target: Path, overwrite: bool) -> None:
    if not (overwrite and target.is_dir() and any(target.iterdir())):
        try:
            draft.rename(target)  # an empty folder may be there: POSIX replaces it
        except OSError as error:
            raise ArtifactError(f"{target}: cannot be put in place ({error.strerror})") from None
        fsync(target.parent)
        return
    old = _sibling(target, "old")
    target.rename(old)
    try:
        draft.rename(target)
    except BaseException:
        old.rename(target)
        raise
    fsync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _file_names(root: Path) -> list[str]:
    names = []
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ArtifactError(f"{path}: expected a plain file, given a link or a special file")
        if path.is_file() and name != FILE_NAME:
            try:
                check_file_name(name, "files")
            except ManifestRefused as error:
                raise ArtifactError(f"{path}: {error}") from None
            names.append(name)
    return sorted(names)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _sibling(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{os.urandom(4).hex()}.{ending}")


def _fsync_tree(root: Path) -> None:
    for path in root.rglob("*"):
        fsync(path)
    fsync(root)


def fsync(path: Path) -> None:
    """Flush a file or a folder to the disk, but not on Windows, which cannot open a folder."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
