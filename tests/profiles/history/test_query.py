from __future__ import annotations

import dataclasses
import sqlite3

import pytest

from paring_profiles.history import (
    Selection,
    WorkingTree,
    add_profile,
    history,
    query,
    stored_profile,
)
from paring_profiles.history.database import reading
from paring_profiles.history.measured import Measured, newest_of
from paring_profiles.result import Settings
from paring_runtimes.errors import InputError

QUALITY = {
    "metric": "top-1 accuracy", "before": 0.9, "after": 0.8, "after_ci95": [0.77, 0.83], "samples": 700,
    "data_digest": "d" * 64,
}  # fmt: skip


def test_a_row_says_what_the_profile_said(make, store):
    tree = WorkingTree("c0ffee", changed=True)
    profile = make(0, 8.0, baseline=10.0, quality=QUALITY, noise=["It was loud."])
    assert add_profile(store, profile, {"branch": "main"}, tree) == (1, True)
    vit, base = query(store)
    assert (base.name, base.speedup, base.baseline) == ("base", None, None)
    assert (vit.name, vit.created, vit.case) == ("vit", "2026-01-01T12:00:00Z", (1, None, ""))
    assert (vit.p50_ms, vit.p50_ci95_ms, vit.p90_ms, vit.p99_ms) == (8.0, (8 * 0.998, 8 * 1.002), 8.0, None)
    assert (vit.calls, vit.macs, vit.size_bytes, vit.peak_memory_bytes) == (100, 100, 1000, 4_000_000)
    assert (vit.artifact_digest, vit.baseline_digest) == ("a" * 64, "b" * 64)
    assert (vit.engine, vit.engine_name) == ("onnxruntime 1.32.0", "onnxruntime")
    assert (vit.quality, vit.quality_ci95, vit.quality_samples) == (0.8, (0.77, 0.83), 700)
    assert vit.speedup == 1.25
    assert vit.speedup_ci95 == (1.25 * 0.998, 1.25 * 1.002)
    assert (vit.energy_measured_mj, vit.energy_modelled_mj) == (None, None)
    assert vit.recipe == {"model": "timm:x"}
    assert vit.settings["threads"] == 2
    assert "min_runs" not in vit.settings
    assert vit.environment == {
        "onnxruntime": "1.32.0",
        "python": "CPython 3.11",
        "system": "Linux-6.1.0-x86_64",
    }
    assert vit.noise == ("It was loud.",)
    assert vit.labels == {"branch": "main"}
    assert (vit.git_commit, vit.git_changed) == ("c0ffee", True)
    assert set(vars(vit)) == {field.name for field in dataclasses.fields(vit)}
    assert (vit.host.memory_gib, vit.host.system, vit.machine) == (8, "Linux", vit.host.fingerprint)


def test_the_whole_profile_comes_back(make, store):
    profile = make(0, 8.0, 15.0, baseline=10.0, quality=QUALITY)
    add_profile(store, profile)
    assert stored_profile(store, 1) == profile
    with pytest.raises(InputError, match="no stored profile has the number 2"):
        stored_profile(store, 2)


def test_a_profile_is_stored_once(make, store):
    assert add_profile(store, make(0, 8.0)) == (1, True)
    assert add_profile(store, make(0, 8.0)) == (1, False)
    assert len(query(store)) == 1


@pytest.mark.parametrize(
    ("wanted", "days"),
    [
        ({"since": "2026-01-03"}, [3, 2]),
        ({"since": "2026-01-03T12:00"}, [3, 2]),
        ({"since": "2026-01-03T14:00+01:00"}, [3]),
        ({"since": "2"}, [3, 2, 1]),
        ({"names": ["other"]}, [3]),
        ({"artifact": "aaaa"}, [1, 0]),
        ({"case": {"batch_size": 2}}, [2]),
        ({"labels": {"branch": "next"}}, [1]),
        ({"machine": "0"}, []),
        ({"profiles": [1, 4]}, [3, 0]),
        ({"limit": 1}, [3]),
        ({"since": "2026-01-02", "artifact": "a"}, [1]),
    ],
)
def test_what_is_selected(make, store, wanted, days):
    add_profile(store, make(0, 8.0))
    add_profile(store, make(1, 8.1), {"branch": "next"})
    add_profile(store, make(2, 8.2, 15.0, digest="e"))
    add_profile(store, make(3, 8.3, digest="f", name="other"))
    found = query(store, Selection(**wanted))
    assert list(dict.fromkeys(row.created[8:10] for row in found)) == [f"{day + 1:02}" for day in days]


def test_an_age_counts_from_now(make, store):
    add_profile(store, make(0, 8.0))
    assert query(store, Selection(since="2h")) == []
    assert len(query(store, Selection(since="9999w"))) == 1


@pytest.mark.parametrize("since", ["yesterday", "7", "7y", "", "2026-13-01"])
def test_what_is_no_time_is_named(make, store, since):
    add_profile(store, make(0, 8.0))
    with pytest.raises(InputError, match="since: "):
        query(store, Selection(since=since))


def test_the_latest_of_each(make, store):
    two = dataclasses.replace(Settings(), threads=1)
    for day, p50, more in [
        (0, 8.0, {}), (2, 8.2, {}), (1, 8.1, {}), (3, 9.0, {"settings": two}), (4, 7.0, {"digest": "c"}),
    ]:  # fmt: skip
        add_profile(store, make(day, p50, **more))
    found = query(store, Selection(latest=True))
    assert [row.p50_ms for row in found] == [7.0, 9.0, 8.2]
    assert query(store, Selection(latest=True, limit=2)) == found[:2]
    assert [row.p50_ms for row in query(store, Selection(latest=True, artifact="a", since="2026-01-04"))] == [
        9.0
    ]


def test_what_spreads_are_estimated_from_agrees_with_the_rows(make, store):
    other = dataclasses.replace(make(0, 1.0).machine, cpu="Another CPU")
    for day in range(4):
        add_profile(store, make(day, 8.0 + day, 9.0, baseline=20.0))
        add_profile(store, make(day, 1.0, machine=other))
    rows = query(store, Selection(names=["vit", "base"], limit=12))
    rows = [row for row in rows if row.host.cpu == "A CPU"]
    with reading(store) as connection:
        found = newest_of(connection, rows[0].machine, 6)
    assert len(found) == 6
    for one, row in zip(found, rows, strict=False):
        for name in ("case", "engine_name", "p50_ci95_ms", "speedup_ci95", *Measured._fields[:10]):
            assert getattr(one, name) == getattr(row, name), name
        assert (one.peak_memory_bytes, one.baseline_digest) == (row.peak_memory_bytes, row.baseline_digest)


def test_the_row_before_is_of_the_same_name_machine_and_case(make, store):
    add_profile(store, make(0, 10.0, 20.0))
    add_profile(store, make(2, 11.0, 18.0, digest="c"))
    add_profile(store, make(1, 99.0, name="other"))
    add_profile(store, make(3, 12.0, settings=Settings(threads=1)))
    told = {(e.row.profile, e.row.batch_size): (e.before, e.change) for e in history(store)}
    assert told[2, 1] == (1, pytest.approx(0.1))
    assert told[2, 2] == (1, pytest.approx(-0.1))
    assert told[4, 1] == (2, None)  # other threads
    assert told[1, 1] == told[3, 1] == (None, None)
    (newest,) = history(store, Selection(names=["vit"], since="2026-01-03", case={"batch_size": 2}))
    assert newest.change == pytest.approx(-0.1)


def test_shared_texts_are_kept_once(make, store):
    for day in range(3):
        add_profile(store, make(day, 8.0, 9.0))
    with sqlite3.connect(store) as connection:
        count = {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("profiles", "results", "documents", "machines")
        }
    assert count == {"profiles": 3, "results": 6, "documents": 3, "machines": 1}
