"""The log of an external meter."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone

import pytest

from paring_profiles.energy.meter import Mark, Refused
from paring_profiles.meters import external


@pytest.fixture
def log(tmp_path):
    """Return `log(rows, header)`, which writes a log of times and watts."""

    def write(rows, header="time,watts"):
        path = tmp_path / "plug.csv"
        path.write_text(header + "\n" + "".join(f"{','.join(map(str, row))}\n" for row in rows))
        return path

    return write


def _marks(begin_s: float, end_s: float) -> tuple[Mark, Mark]:
    return Mark(0.0, begin_s), Mark(end_s - begin_s, end_s)


def test_a_window_is_integrated_between_its_rows(log):
    path = log([(1000 + 0.5 * i, 20 if i < 10 else 30) for i in range(21)])
    meter = external.open_meter(str(path))
    assert meter.facts.update_period_s == pytest.approx(0.5)
    assert meter.facts.resolution_j == pytest.approx(5)
    assert meter.joules(*_marks(1001.2, 1003.2))["meter"] == pytest.approx(40)
    assert meter.joules(*_marks(1006.0, 1008.0))["meter"] == pytest.approx(60)


def test_iso_times_and_other_columns_and_an_offset(log):
    zone = timezone(timedelta(hours=2))
    start = datetime(2026, 5, 1, 12, 0, 0, tzinfo=zone)
    rows = [((start + timedelta(seconds=i)).isoformat(), "x", 5.5) for i in range(4)]
    meter = external.open_meter(f"{log(rows, 'time, note, watts')}|100.0")
    begin = start.timestamp() + 100
    assert meter.joules(*_marks(begin + 0.5, begin + 2.5))["meter"] == pytest.approx(11)
    with pytest.raises(Refused, match="do not reach over the window"):
        meter.joules(*_marks(begin - 50, begin + 2))


def test_it_may_grow_until_after_the_last_window(log):
    now = time.time()
    path = log([(now - 0.3 + 0.1 * i, 7) for i in range(4)])
    meter = external.open_meter(str(path))
    begin, end = Mark(0.0, now - 0.1), Mark(0.6, now + 0.5)
    with pytest.raises(Refused, match=r"plug\.csv ends 0\.5 s before the window does: does it still grow"):
        meter.joules(begin, end)

    def write_on():
        time.sleep(0.1)
        with path.open("a") as file:
            file.writelines(f"{now + 0.1 * i},7\n" for i in range(1, 8))

    writer = threading.Thread(target=write_on)
    writer.start()
    meter.wait_for(end)
    writer.join()
    assert meter.joules(begin, end)["meter"] == pytest.approx(7 * 0.6)


def test_a_line_that_is_being_written_is_left_out(log):
    path = log([(i, 1) for i in range(5)])
    with path.open("a") as file:
        file.write("5,1")
    assert len(external.read_log(path)) == 5


@pytest.mark.parametrize(
    ("rows", "header", "reason"),
    [
        ([(1, 2)], "when,power", "expected a header with the columns time and watts, given when, power"),
        ([(1, 2), (2, "lots")], "time,watts", r"plug\.csv:3: 'lots' is no number of watts"),
        ([(1, 2), (2, "nan")], "time,watts", r"plug\.csv:3: 'nan' is no number of watts"),
        ([(1, 2), (2,)], "time,watts", r"plug\.csv:3: '' is no number of watts"),
        ([("noon", 2)], "time,watts", r"plug\.csv:2: 'noon' is no time"),
        ([("2026-05-01T12:00:00", 2)], "time,watts", "names no time zone"),
        ([(2, 2), (1, 2)], "time,watts", r"plug\.csv:3: its time is not after that of the row before"),
        ([(1, 2), (2, 2)], "time,watts", "2 rows; at least 3 are needed before the start"),
        ([], "", "given "),
    ],
)
def test_a_wrong_log_is_named_with_its_line(log, rows, header, reason):
    path = log(rows, header)
    assert external.probe(str(path)).why_not
    with pytest.raises(Refused, match=reason):
        external.open_meter(str(path))


def test_a_missing_log_is_named(tmp_path):
    with pytest.raises(Refused, match=r"gone\.csv: cannot be read"):
        external.open_meter(str(tmp_path / "gone.csv"))
