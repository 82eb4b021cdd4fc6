"""Tuning: what is kept, resumed after a kill, chosen or refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paring_exporters.tvm.shift_choice import choose
from paring_exporters.tvm.shift_database import FILE, SHIPPED, Comparison, Database, Timing
from paring_exporters.tvm.shift_problem import Schedule, ShiftShape
from paring_exporters.tvm.shift_tuning import candidates, compare, tune
from paring_exporters.tvm.target import describe, host_target, portable_target
from paring_runtimes.errors import InputError

SHAPE = ShiftShape(16, 256, 64)
HOST = host_target(2)

# Times that depend on the schedule only, slowly: a kill comes in the middle.
SLOW = """
import sys, time
from paring_exporters.tvm.shift_problem import ShiftShape
from paring_exporters.tvm.shift_tuning import tune
from paring_exporters.tvm.target import host_target

def timed(shape, schedule, target):
    time.sleep(0.1)
    return float(sum(map(ord, repr(schedule))) * 7919 % 1009)

tune(ShiftShape(16, 256, 64), host_target(2), sys.argv[1], timed)
"""


def timed(shape: ShiftShape, schedule: Schedule, target: object) -> float:
    return float(sum(map(ord, repr(schedule))) * 7919 % 1009)


def test_kill_then_resume_gives_the_same_result(tmp_path: Path) -> None:
    whole = tune(SHAPE, HOST, tmp_path / "whole", timed)
    killed = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(killed)])
    deadline = time.monotonic() + 60
    while not (killed / FILE).is_file() or len(Database(killed).timings) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = Database(killed).timings
    assert 3 <= len(kept) < len(candidates(SHAPE, HOST))
    asked: list[Schedule] = []

    def counted(shape: ShiftShape, schedule: Schedule, target: object) -> float:
        asked.append(schedule)
        return timed(shape, schedule, target)

    assert tune(SHAPE, HOST, killed, counted) == whole
    assert not {t.schedule for t in kept} & set(asked)
    assert (killed / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()


def test_a_line_cut_off_is_dropped_and_others_are_not(tmp_path: Path) -> None:
    tune(SHAPE, HOST, tmp_path, timed)
    data = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(data[:-9])
    cut = Database(tmp_path)
    assert len(cut.timings) == len(candidates(SHAPE, HOST)) - 1
    tune(SHAPE, HOST, tmp_path, timed)
    assert (tmp_path / FILE).read_bytes() == data
    (tmp_path / FILE).write_bytes(b"{}\n" + data)
    with pytest.raises(InputError, match=r"jsonl:1"):
        Database(tmp_path)


def test_tuned_once_then_reused(tmp_path: Path) -> None:
    first = tune(SHAPE, HOST, tmp_path, timed)

    def never(shape: ShiftShape, schedule: Schedule, target: object) -> float:
        raise AssertionError("measured again")

    assert tune(SHAPE, HOST, tmp_path, never) == first


def test_real_tuning_and_comparison(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    shape, target = ShiftShape(2, 64, 16), portable_target(1)
    best = tune(shape, target, tmp_path)
    assert best.median_ms > 0
    found = compare(shape, target, tmp_path, threads=1)
    assert found.schedule == best.schedule
    assert Database(tmp_path).comparison(describe(target), shape) == found
    assert (choose(shape, target, [tmp_path]).schedule is not None) == (found.ratio >= 1)


def test_choice_says_why_not(tmp_path: Path) -> None:
    assert choose(SHAPE, HOST, [tmp_path]).schedule is None
    assert "untuned" in choose(SHAPE, HOST, [tmp_path]).reason
    key, schedule = describe(HOST), Schedule(8)
    database = Database(tmp_path)
    database.add(Timing(key, SHAPE, schedule, 2.0))
    assert "not yet" in choose(SHAPE, HOST, [tmp_path]).reason
    database.add(Comparison(key, SHAPE, schedule, 2.0, "other", 1.0, 0.5))
    slower = choose(SHAPE, HOST, [tmp_path])
    assert slower.schedule is None
    assert "slower" in slower.reason
    database.add(Comparison(key, SHAPE, schedule, 1.0, "other", 2.0, 2.0))
    assert choose(SHAPE, HOST, [tmp_path]).schedule == schedule
    assert choose(SHAPE, host_target(1), [tmp_path]).schedule is None


def test_shipped_database_opens_and_names_common_shapes() -> None:
    found = Database(SHIPPED).comparisons
    assert ShiftShape(1, 4096, 4096) in {c.shape for c in found}
    for record in found:
        assert record.ratio == pytest.approx(record.baseline_ms / record.median_ms, rel=0.25)


def test_candidates_fit_the_shape() -> None:
    for shape in (ShiftShape(1, 64, 48), ShiftShape(197, 64, 48, 5), ShiftShape(3136, 64, 64)):
        for target in (HOST, portable_target()):
            found = candidates(shape, target)
            assert found
            assert len(set(found)) == len(found) <= 40
            for schedule in found:
                assert shape.blocks % schedule.column_blocks == 0
                assert schedule.row_block <= shape.rows
