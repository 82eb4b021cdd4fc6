from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from paring_profiles.history import Selection, add_profile, database, query, schema, stored_profile
from paring_profiles.history.database import writing
from paring_runtimes.errors import ArtifactError, InputError, StoreError

# Stores profile after profile, each of which it names once it is told to be stored.
WRITER = """
import dataclasses, sys
from pathlib import Path
from paring_profiles import read
from paring_profiles.history import add_profile

store, file, writer = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
profile = read(file)
for turn in range(int(sys.argv[4])):
    one = dataclasses.replace(profile, noise=[f"{writer} {turn}"])
    number, _ = add_profile(store, one, {"writer": writer, "turn": str(turn)})
    print(turn, flush=True)
"""


def _writer(store: Path, profile: Path, name: str, turns: int) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", WRITER, str(store), str(profile), name, str(turns)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def profile_file(make, tmp_path):
    from paring_profiles import write

    return write(make(0, 8.0, 9.0), tmp_path / "profile.json")


def test_two_writers_at_once_one_killed_lose_nothing(store, profile_file):
    """Both make the store, and write; one is killed with a signal that nothing can catch."""
    doomed = _writer(store, profile_file, "doomed", 100_000)
    steady = _writer(store, profile_file, "steady", 60)
    assert doomed.stdout is not None
    told = [doomed.stdout.readline() for _ in range(25)]
    doomed.send_signal(signal.SIGKILL)
    told += doomed.stdout.readlines()
    doomed.wait()
    assert steady.communicate(timeout=120)[0].split() == [str(turn) for turn in range(60)]
    assert (doomed.returncode, steady.returncode) == (-signal.SIGKILL, 0)
    rows = query(store)
    kept = {
        name: sorted({int(row.labels["turn"]) for row in rows if row.labels["writer"] == name})
        for name in ("doomed", "steady")
    }
    said = sum(line.endswith("\n") for line in told)
    assert kept["steady"] == list(range(60))
    # The kill may fall between the commit and the word about it.
    assert kept["doomed"] in (list(range(said)), list(range(said + 1)))
    assert len(rows) == 2 * (60 + len(kept["doomed"]))
    assert all(stored_profile(store, row.profile).noise == list(row.noise) for row in rows[:5])
    with sqlite3.connect(store) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_failure_inside_a_profile_leaves_nothing_of_it(make, store):
    add_profile(store, make(0, 8.0))
    with pytest.raises(InputError, match="a name is missing"):
        add_profile(store, make(1, 8.0), {"": "x"})
    with pytest.raises(StoreError, match="no such column: z"), writing(store) as connection:
        [connection.execute(f"UPDATE results SET {column} = 'other'") for column in ("name", "z")]
    assert [row.name for row in query(store)] == ["vit"]


def test_a_reader_sees_the_state_of_before_while_a_writer_is_busy(make, store):
    add_profile(store, make(0, 8.0))
    with writing(store) as connection:
        connection.execute("UPDATE results SET name = 'other'")
        assert [row.name for row in query(store)] == ["vit"]
    assert [row.name for row in query(store)] == ["other"]


def test_a_locked_store_is_waited_for_and_then_told(make, store, monkeypatch):
    add_profile(store, make(0, 8.0))
    with (
        writing(store),
        pytest.raises(StoreError, match=r"history\.sqlite: another process .* 0\.2 s .*try again"),
        writing(store, patience_s=0.2),
    ):
        pass
    add_profile(store, make(1, 8.0))
    assert len(query(store)) == 2


def test_a_newer_schema_is_refused(make, store, monkeypatch):
    known = len(schema.MIGRATIONS)
    with monkeypatch.context() as newer:
        newer.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "ALTER TABLE results ADD COLUMN x TEXT;\n"))
        add_profile(store, make(0, 8.0))
    for use in (lambda: query(store), lambda: add_profile(store, make(1, 8.0))):
        with pytest.raises(
            StoreError, match=f"its schema is {known + 1}, .* knows up to {known}: upgrade paring"
        ):
            use()


def test_an_older_schema_is_brought_up_to_date(make, store, monkeypatch):
    add_profile(store, make(0, 8.0))
    add = "ALTER TABLE results ADD COLUMN x TEXT NOT NULL DEFAULT 'new';\n"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, add))
    assert [row.p50_ms for row in query(store)] == [8.0]
    with sqlite3.connect(store) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
        assert connection.execute("SELECT x FROM results").fetchone() == ("new",)


def test_a_store_of_before_gpus_were_told_goes_on(make, store, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        with writing(store):
            pass
    with sqlite3.connect(store) as connection:
        assert "gpus" not in str(connection.execute("SELECT sql FROM sqlite_schema").fetchall())
    add_profile(store, make(0, 8.0))
    assert [row.host.gpus for row in query(store)] == [None]


def test_a_migration_that_fails_changes_nothing(make, store, monkeypatch):
    add_profile(store, make(0, 8.0))
    broken = "ALTER TABLE results ADD COLUMN x TEXT;\nALTER TABLE absent ADD COLUMN x TEXT;\n"
    with monkeypatch.context() as newer:
        newer.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(StoreError, match="no such table: absent"):
            query(store)
    assert len(query(store)) == 1


def test_what_is_no_store_is_left_alone(make, store, tmp_path):
    with pytest.raises(StoreError, match=r"there is no store yet; .*PARING_STORE"):
        query(store)
    assert not store.exists()
    foreign = tmp_path / "theirs.sqlite"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="a database of another program"):
        add_profile(foreign, make(0, 8.0))
    with sqlite3.connect(foreign) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    text = tmp_path / "notes.txt"
    text.write_text("Not a database, and long enough to be seen as none. " * 20)
    with pytest.raises(StoreError, match="damaged or no store"):
        query(text)
    with pytest.raises(StoreError, match="cannot be opened"):
        add_profile(tmp_path, make(0, 8.0))
    with pytest.raises(StoreError, match="its folder cannot be made"):
        add_profile(text / "history.sqlite", make(0, 8.0))


def test_a_profile_of_no_time_is_refused(make, store):
    import dataclasses

    with pytest.raises(ArtifactError, match="created: expected a time"):
        add_profile(store, dataclasses.replace(make(0, 8.0), created="today"))
    assert query(store, Selection()) == []


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_a_read_only_store_says_so(make):
    """Root may write everywhere, so that it takes another user's rights meanwhile."""
    folder = Path(tempfile.mkdtemp())
    store = folder / "history.sqlite"
    add_profile(store, make(0, 8.0))
    store.chmod(0o444)
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(StoreError, match=r"it cannot be (written|opened) .*--no-store"):
            add_profile(store, make(1, 8.0))
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
    assert len(query(store)) == 1
    shutil.rmtree(folder)


def test_log_ahead_and_full_flushes(make, store):
    add_profile(store, make(0, 8.0))
    with writing(store) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (len(schema.MIGRATIONS),)
    assert database.PATIENCE_S >= 10
