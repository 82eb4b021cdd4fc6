"""What disturbs a run is told: CPUs taken by others, workers that could not wake in time."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from paring_profiles.load.interference import Interference, late_takers
from paring_profiles.load.timeline import Timeline

BUSY = """
import os, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
end = time.time() + 20
while time.time() < end: pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="pinning is Linux's")
def test_a_neighbour_on_the_pinned_cpu_is_told():
    first = min(os.sched_getaffinity(0))
    neighbour = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        time.sleep(0.3)
        with Interference(1, 1.0, (first,)) as watch:
            time.sleep(0.5)
    finally:
        neighbour.kill()
        neighbour.wait()
    said = [line for line in watch.sentences() if f"the CPUs {first} that the run is pinned to" in line]
    assert len(said) == 1


def served(late_s):
    """Of one worker, idle at every arrival: when it took each query."""
    made = Timeline(len(late_s))
    made.schedule(np.arange(1.0, len(late_s) + 1))
    for number, late in enumerate(late_s):
        taken = float(made.due[number]) + late
        made.answer(number, 1, taken, taken + 0.3)
    return made


def test_workers_that_wake_late_are_told():
    assert late_takers(served([5e-5] * 200), 1) == []
    (said,) = late_takers(served([5e-5] * 190 + [0.02] * 10), 1)
    assert "more than 20.0 ms late" in said


def test_a_queue_is_no_lateness():
    made = Timeline(100)
    made.schedule(np.linspace(0.0, 1.0, 100))
    for number in range(100):
        made.answer(number, 1, 0.1 * number, 0.1 * number + 0.1)
    assert late_takers(made, 1) == []
