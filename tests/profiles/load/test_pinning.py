"""CPUs and nodes: read, refused, set and given back."""

import os
import sys
import threading

import pytest

from paring_profiles.load import pinning
from paring_runtimes.errors import InputError

linux = pytest.mark.skipif(sys.platform != "linux", reason="pinning is Linux's")


def test_lists_of_cpus_are_read_and_shown():
    assert pinning.parse_cpus("0-2,8, 4") == (0, 1, 2, 4, 8)
    assert pinning.shown((0, 1, 2, 4, 8)) == "0-2,4,8"
    for wrong in ("", "a", "3-1", "1-", "-1", "0,,1"):
        with pytest.raises(InputError, match="such as 0-3,8"):
            pinning.parse_cpus(wrong)


def test_workers_get_neighbours():
    assert pinning.shares((0, 1, 2, 3), 2) == [(0, 1), (2, 3)]
    assert pinning.shares((4, 5, 6), 2) == [(4,), (5, 6)]
    assert pinning.shares((0,), 2) == [(0,), (0,)]
    assert pinning.shares((), 2) == [(), ()]


@linux
def test_cpus_that_are_not_there_are_refused_with_those_that_are():
    usable = pinning.shown(tuple(os.sched_getaffinity(0)))
    with pytest.raises(InputError, match=rf"no CPU 4095 here: this process may use {usable}"):
        pinning.choose((4095,), None)
    if pinning.nodes():
        with pytest.raises(InputError, match="no node 99 here; there is 0"):
            pinning.choose((), 99)


def test_a_node_gives_its_cpus(tmp_path, monkeypatch):
    for node, cpus in ((0, "0-511"), (1, "512-1023"), (2, "")):
        (tmp_path / f"node{node}").mkdir()
        (tmp_path / f"node{node}" / "cpulist").write_text(cpus + "\n")
    monkeypatch.setattr(pinning, "_NODES", tmp_path)
    first = min(os.sched_getaffinity(0))
    assert pinning.choose((), 0) == tuple(sorted(os.sched_getaffinity(0)))
    assert pinning.choose((first,), 0) == (first,)
    with pytest.raises(InputError, match="node 1 has the CPUs 512-1023, of which none may be used"):
        pinning.choose((first,), 1)
    with pytest.raises(InputError, match="node 2 has the CPUs none"):
        pinning.choose((), 2)


@linux
def test_threads_are_pinned_and_given_back():
    usable = os.sched_getaffinity(0)
    first = min(usable)
    seen = []
    go, told, done = threading.Event(), threading.Event(), threading.Event()

    def old():
        go.wait()
        seen.append(os.sched_getaffinity(0))
        told.set()
        done.wait()

    thread = threading.Thread(target=old)
    thread.start()
    with pinning.pinned((first,)):
        go.set()
        told.wait()
        new = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        new.start()
        new.join()
        assert pinning.astray((first,)) == 0
    assert os.sched_getaffinity(thread.native_id) == usable
    done.set()
    thread.join()
    assert os.sched_getaffinity(0) == usable
    assert seen == [{first}, {first}]
    if len(usable) > 1:
        assert pinning.astray((first,)) > 0


@linux
def test_memory_of_a_node_is_bound_or_the_reason_is_told(monkeypatch):
    with pinning.memory_of(None) as said:
        assert said == pinning.FIRST_TOUCH
    with pinning.memory_of(0) as said:
        assert said == "node 0 alone (libnuma)" or "was not possible: " in said
    monkeypatch.setattr("ctypes.util.find_library", lambda _name: None)
    with pinning.memory_of(0) as said:
        assert "libnuma is not installed" in said
