from __future__ import annotations

import dataclasses
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from paring_profiles import noise

RNG = np.random.default_rng(0)
QUIET = 10 * RNG.normal(1, 0.02, 200)
CALM = noise.Reading(wall=0, ours=0, busy=0, steal=0, total=0, throttled=0)


def test_a_quiet_series_says_nothing():
    assert noise.in_series(QUIET, "base") == []


def test_spread():
    (said,) = noise.in_series(10 * RNG.normal(1, 0.2, 400), "base")
    assert said.startswith("base: latencies spread by ")


def test_rare_slow_calls():
    series = QUIET.copy()
    series[::40] = 60
    (said,) = noise.in_series(series, "base")
    assert "rare slow calls" in said


@pytest.mark.parametrize(("factor", "way"), [(1.1, "slower"), (0.9, "faster")])
def test_drift(factor, way):
    series = QUIET.copy()
    series[100:] *= factor
    (said,) = noise.in_series(series, "base")
    assert "drift" in said
    assert said.endswith(f"10% {way}.")


def test_a_step_within_the_limit_is_no_drift():
    series = QUIET.copy()
    series[100:] *= 1.03
    assert noise.in_series(series, "base") == []


def test_too_few_rounds():
    assert "only 5 rounds" in noise.in_series(QUIET[:5], "base")[0]


def _after(**changes: float) -> noise.Reading:
    # 10 s on 2 cores, of which we used both
    return dataclasses.replace(CALM, wall=10, ours=19.5, busy=19.9, total=20, **changes)


def test_a_quiet_machine_says_nothing():
    assert noise.between(CALM, _after(), threads=2, cores=2) == []


def test_other_processes():
    end = dataclasses.replace(_after(), ours=15)  # 19.9 s busy, 15 s of it ours
    (said,) = noise.between(CALM, end, threads=2, cores=2)
    assert said == "Other processes used 0.49 cores during the timed part."
    assert noise.between(CALM, end, threads=2, cores=16) == []  # enough cores for both
    assert noise.between(CALM, end, threads=1, cores=2) == []


def test_steal_and_throttling():
    (said,) = noise.between(CALM, _after(steal=1.0), threads=2, cores=2)
    assert "hypervisor gave 5%" in said
    (said,) = noise.between(CALM, _after(throttled=3), threads=2, cores=2)
    assert "stopped this process 3 times" in said


def test_the_watch_sees_a_neighbour_and_not_ourselves():
    """A busy child is another process; our own work is not."""
    command = [sys.executable, "-c", "import time\nwhile True: pass"]
    with subprocess.Popen(command) as child:
        time.sleep(0.2)
        begin, used, give_up = noise.take_reading(), child_seconds(child.pid), time.monotonic() + 60
        spent = 0.0
        while spent < 0.6 or time.process_time() - begin.ours < 0.6:  # our own work meanwhile
            if time.monotonic() > give_up:
                break
            spent = child_seconds(child.pid) - used
        end = noise.take_reading()
        child.kill()
    assert spent >= 0.6
    wall, ours = end.wall - begin.wall, end.ours - begin.ours
    others = noise.others_cores(begin, end) * wall
    assert others >= 0.8 * spent
    assert others + ours <= 1.02 * wall * (psutil.cpu_count() or 1) + 0.1  # counted in ticks


def child_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def test_a_quiet_machine_is_waited_for_and_not_for_ever(monkeypatch):
    monkeypatch.setattr(noise, "_LOOK_S", 0.01)
    loud = [dataclasses.replace(CALM, wall=10.0 * n, busy=10.0 * n, total=20.0 * n) for n in range(3)]
    calm = dataclasses.replace(loud[-1], wall=30.0, total=60.0)
    readings = iter([*loud, calm])
    monkeypatch.setattr(noise, "take_reading", lambda: next(readings))
    monkeypatch.setattr(noise.time, "perf_counter", lambda: 0.0)
    assert noise.wait_until_quiet(2, 2, 100)
    assert list(readings) == []
    readings = iter(loud)
    assert not noise.wait_until_quiet(2, 2, 20.0)


def test_surroundings():
    assert noise.in_surroundings(2, usable_cores=2, load_1m=0.5, cores=2) == []
    (said,) = noise.in_surroundings(4, usable_cores=2, load_1m=0.5, cores=2)
    assert said == "4 threads were asked for and 2 cores may be used."
    (said,) = noise.in_surroundings(2, usable_cores=2, load_1m=3.2, cores=2)
    assert "load average was 3.2 on 2 cores" in said
