"""A trial's time limit counts its own work, not its waiting for the machine."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from paring.sweep import waits
from paring.sweep.apart import run_limited
from paring.sweep.locks import converting, measuring
from paring.sweep.waits import waited_s

WAITS_THEN_ENDS = """
import sys, time
def note():
    with open(sys.argv[1], "a") as file:
        file.write(f"{time.monotonic()}\\n")
note()
time.sleep(1.0)
note()
time.sleep(float(sys.argv[2]))
sys.exit(7)
"""


@pytest.mark.parametrize(("works_s", "ends"), [(0.0, (7, False)), (60.0, None)])
def test_only_its_own_work_counts(tmp_path: Path, works_s: float, ends: tuple[int, bool] | None) -> None:
    file, begin = tmp_path / "waits", time.monotonic()
    command = [sys.executable, "-S", "-c", WAITS_THEN_ENDS, str(file), str(works_s)]
    code, timed_out = run_limited(command, tmp_path / "log", file, 0.8)
    assert time.monotonic() - begin > 1.0
    assert (code, timed_out) == ends if ends is not None else timed_out
    assert waited_s(file, time.monotonic()) > 0.9


def test_a_wait_that_lasts_counts_until_now_and_half_a_line_does_not(tmp_path: Path) -> None:
    file = tmp_path / "waits"
    assert waited_s(file, 5.0) == 0
    file.write_text("10.0\n12.5\n20.0\n")
    assert waited_s(file, 21.0) == pytest.approx(3.5)
    file.write_text("10.0\n12.")
    assert waited_s(file, 13.0) == pytest.approx(3.0)


def test_who_waits_for_the_machine_notes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, inside = tmp_path / "waits", threading.Event()
    monkeypatch.setattr(waits, "_file", file)

    def measure() -> None:
        with measuring():
            inside.set()
            time.sleep(0.3)

    with converting(), converting():  # conversions do not wait for each other
        pass
    assert not file.exists()
    other = threading.Thread(target=measure)
    other.start()
    inside.wait(10)
    begin = time.monotonic()
    with converting():
        took_s = time.monotonic() - begin
    other.join(10)
    assert waited_s(file, time.monotonic()) == pytest.approx(took_s, abs=0.1)
    assert took_s > 0.1
