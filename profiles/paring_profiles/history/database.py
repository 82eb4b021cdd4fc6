"""The store's file: SQLite, opened so that many processes may write at once.

Write-ahead logging: readers never wait for a writer, and a writer that is killed leaves a log whose
unfinished end the next one ignores. `synchronous=FULL`: a profile that is told to be stored outlives a
power cut too; the flush costs milliseconds beside the seconds that a profile takes. A writer waits for
another one up to `PATIENCE_S`. A file system without shared memory (some network drives) refuses the
log; SQLite then keeps its rollback journal, which is as safe, and readers wait.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from paring_profiles.history import schema
from paring_runtimes.errors import StoreError

PATIENCE_S = 30.0
_PAUSE_S = 0.02
_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables


@contextmanager
def reading(path: Path, patience_s: float = PATIENCE_S) -> Iterator[sqlite3.Connection]:
    """Open a store to read it; one that is not there is an error.

    Raises:
        StoreError: says what is wrong and what to do.
    """
    if not path.exists():
        raise StoreError(
            f"{path}: there is no store yet; `paring profile` makes one"
            " (another place: --store PATH or the environment's PARING_STORE)"
        )
    with _told(path, patience_s), closing(_connect(path, "ro", patience_s)) as connection:
        _check(path, connection)
        if schema.version(connection) < len(schema.MIGRATIONS):
            with writing(path, patience_s):
                pass  # opened for writing, it is brought up to date
        connection.execute("BEGIN")  # one state of the store for all that is read
        yield connection


@contextmanager
def writing(path: Path, patience_s: float = PATIENCE_S) -> Iterator[sqlite3.Connection]:
    """Open a store, made or brought up to date where needed, for one transaction: all of it or nothing.

    Raises:
        StoreError: says what is wrong and what to do.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: its folder cannot be made ({error.strerror})") from error
    with _told(path, patience_s), closing(_connect(path, "rwc", patience_s)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        _check(path, connection)
        if schema.version(connection) == 0:
            _log_ahead(connection, patience_s)
        connection.execute("BEGIN IMMEDIATE")
        try:
            _check(path, connection)  # again: another process may have come first
            schema.migrate(connection)
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.commit()


def _connect(path: Path, mode: str, patience_s: float) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        wanted = ".".join(map(str, _OLDEST_SQLITE))
        raise StoreError(f"{path}: SQLite {wanted} is needed, this Python has {sqlite3.sqlite_version}")
    address = f"{path.resolve().as_uri()}?mode={mode}"
    # isolation_level=None: transactions begin where this module says so.
    return sqlite3.connect(address, uri=True, timeout=patience_s, isolation_level=None)


def _log_ahead(connection: sqlite3.Connection, patience_s: float) -> None:
    """Switch to write-ahead logging. SQLite does not wait by itself where two processes switch at once."""
    end = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(_PAUSE_S)


def _check(path: Path, connection: sqlite3.Connection) -> None:
    if schema.is_foreign(connection):
        raise StoreError(f"{path}: a database of another program; name another file with --store")
    found, known = schema.version(connection), len(schema.MIGRATIONS)
    if found > known:
        raise StoreError(
            f"{path}: its schema is {found}, and this version of paring knows up to {known}:"
            " upgrade paring, or name another file with --store"
        )


@contextmanager
def _told(path: Path, patience_s: float) -> Iterator[None]:
    """Inside, what SQLite raises becomes a sentence."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {_sentence(str(error), patience_s)}") from error


def _sentence(message: str, patience_s: float) -> str:
    """What SQLite's message means for who reads it."""
    if "locked" in message:
        return (
            f"another process has been writing to it for more than {patience_s:g} s ({message}); try again"
            " when it is done, or name another file with --store"
        )
    if "readonly" in message or "read-only" in message:
        return f"it cannot be written ({message}); name another file with --store, or give --no-store"
    if "unable to open" in message:
        return f"it cannot be opened ({message}): no file, no right to it, or its folder cannot be written"
    if "not a database" in message or "malformed" in message:
        return f"it is damaged or no store ({message}); move it away, and a new one is made"
    if "full" in message:
        return f"no space is left for it ({message})"
    return message
