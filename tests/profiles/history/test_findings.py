from __future__ import annotations

import dataclasses
import hashlib
from xml.etree import ElementTree

import pytest

from paring_profiles.history import Limits, Selection, add_profile, regressions
from paring_profiles.history.fingerprint import Host, as_json
from paring_profiles.history.junit import write_junit
from paring_profiles.history.sentences import sentence
from paring_profiles.result import Settings
from paring_runtimes.errors import InputError

NEAR = (10.0, 10.02, 9.98, 10.01, 9.99, 10.0)  # ms, one a day: a spread of 0.14 %
ALL = Selection(since="2026-01-01")
QUALITY = {"metric": "top-1 accuracy", "samples": 2000, "data_digest": "d" * 64}


def _stored(store, *profiles):
    for profile in profiles:
        add_profile(store, profile)


def _told(store, figure="latency", wanted=ALL, limits=None):
    found = regressions(store, wanted, limits or Limits())
    (one,) = (change for change in found.changes if change.figure == figure)
    return one


@pytest.fixture
def steady(make, store):
    """Six days of one artifact."""
    _stored(store, *(make(day, p50) for day, p50 in enumerate(NEAR)))
    return store


def test_a_slower_artifact_is_a_regression(make, steady):
    add_profile(steady, make(7, 10.3, digest="c"))
    one = _told(steady)
    assert one.verdict == "regression"
    assert one.change == pytest.approx(0.03, abs=0.001)
    assert one.change_ci95[0] < 0.03 < one.change_ci95[1]
    assert (one.before, one.after) == (pytest.approx(10.0), 10.3)
    assert one.q_value == pytest.approx(one.p_value * 2)  # beside it, peak memory: no difference
    assert one.changed == ("artifact aaaaaaaaaaaa to cccccccccccc",)
    assert (one.newest, one.earlier) == ((7,), (1, 2, 3, 4, 5, 6))
    assert "run-to-run spread" in one.reason
    assert "5 repeats of it" in one.reason


def test_what_is_tolerated_is_told_and_fails_nothing(make, steady):
    add_profile(steady, make(7, 10.3, digest="c"))
    assert _told(steady, limits=Limits(slowdown=0.05)).verdict == "worse, tolerated"
    assert not regressions(steady, ALL, Limits(slowdown=0.05)).regressions


def test_a_faster_artifact_is_an_improvement(make, steady):
    add_profile(steady, make(7, 9.5, digest="c"))
    assert _told(steady).verdict == "improvement"


def test_the_same_again_shows_no_difference(make, steady):
    add_profile(steady, make(7, 10.015))
    one = _told(steady)
    assert (one.verdict, one.changed) == ("no difference shown", ())


def test_a_new_engine_version_is_judged_and_named(make, steady):
    newer = {"engine": "onnxruntime 1.33.0", "tools": {"onnxruntime": "1.33.0"}}
    add_profile(steady, make(7, 10.5, **newer))
    one = _told(steady)
    assert one.verdict == "regression"
    assert one.changed == ("engine onnxruntime 1.32.0 to onnxruntime 1.33.0",)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"settings": Settings(threads=1)}, "other threads (2 and 1)"),
        ({"engine": "openvino 2025.2"}, "other engine (onnxruntime and openvino)"),
        ({"name": "new"}, "nothing earlier of it is stored"),
    ],
)
def test_what_does_not_compare_says_why(make, steady, changed, said):
    add_profile(steady, make(7, 20.0, **changed))
    wanted = dataclasses.replace(ALL, names=[changed.get("name", "vit")])
    one = _told(steady, wanted=wanted)
    assert one.verdict == "not comparable"
    assert said in one.reason
    assert (one.before, one.change, one.p_value) == (None, None, None)


def test_another_machine_is_another_series(make, steady):
    here = make(0, 1.0).machine

    other = dataclasses.replace(here, cpu="Another CPU", load_1m=3.0)
    add_profile(steady, make(7, 20.0, machine=other))
    ours, theirs = (c for c in regressions(steady, ALL).changes if c.figure == "latency")
    assert ours.verdict == "no difference shown"
    assert (theirs.verdict, theirs.reason) == (
        "not comparable",
        "other machine's cpu (A CPU and Another CPU)",
    )


def test_a_machine_with_a_gpu_is_another_one(make, steady):
    here = make(0, 1.0).machine
    add_profile(steady, make(7, 20.0, machine=dataclasses.replace(here, gpus=["NVIDIA T4", "NVIDIA T4"])))
    ours, theirs = (c for c in regressions(steady, ALL).changes if c.figure == "latency")
    assert ours.verdict == "no difference shown"
    assert theirs.reason == "other machine's gpus (None and NVIDIA T4, NVIDIA T4)"


def test_a_machine_without_a_gpu_keeps_the_fingerprint_that_stores_hold():
    told = {"cpu": "A CPU", "cores_physical": 2, "cores_logical": 4, "memory_gib": 8, "system": "Linux"}
    text = as_json({**told, "virtualised": False})
    assert Host(**told, virtualised=False).fingerprint == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_load_and_kernel_make_no_other_machine(make, steady):
    here = make(0, 1.0).machine

    changed = dataclasses.replace(here, system="Linux-6.2.0-x86_64", load_1m=1.5, memory_bytes=8_199_000_000)
    add_profile(steady, make(7, 10.0, machine=changed))
    assert _told(steady).changed == ("system Linux-6.1.0-x86_64 to Linux-6.2.0-x86_64",)


def test_drift_of_the_whole_machine_cancels_against_the_baseline(make, store):
    """The machine is slower by 8 % on every other day; the candidate by 3 % in the end."""
    for day, p50 in enumerate(NEAR):
        drift = 1 + 0.08 * (day % 2)
        add_profile(store, make(day, p50 * drift, baseline=20 * drift))
    add_profile(store, make(7, 10.3 * 1.08, baseline=20 * 1.08, digest="c"))
    one = _told(store, wanted=dataclasses.replace(ALL, names=["vit"]))
    assert one.reason.startswith("against its baseline's in the same runs")
    assert one.verdict == "regression"
    assert one.change == pytest.approx(0.03, abs=0.002)
    base = _told(store, wanted=dataclasses.replace(ALL, names=["base"]))
    assert base.verdict == "no difference shown"
    assert not base.reason.startswith("against")


def test_the_period_begins_with_what_the_newest_is_held_against(make, steady):
    add_profile(steady, make(7, 10.5, digest="c"))
    add_profile(steady, make(8, 10.5, digest="c"))
    assert _told(steady).verdict == "regression"
    assert _told(steady, wanted=Selection(since="7")).verdict == "no difference shown"


def test_size_is_counted(make, steady):
    add_profile(steady, make(7, 10.0, digest="c", size_bytes=1009))
    assert _told(steady, "size").verdict == "worse, tolerated"
    add_profile(steady, make(8, 10.0, digest="e", size_bytes=1020))
    one = _told(steady, "size")
    assert (one.verdict, one.change, one.p_value) == ("regression", pytest.approx(0.02), None)


def test_peak_memory_is_judged_by_its_own_repeats(make, store):
    for day in range(6):
        add_profile(store, make(day, 10.0, peak_memory_bytes=4_000_000 + 4096 * (day % 3)))
    add_profile(store, make(7, 10.0, digest="c", peak_memory_bytes=4_400_000))
    one = _told(store, "peak memory")
    assert one.verdict == "regression"
    assert one.change == pytest.approx(0.1, abs=0.002)


@pytest.mark.parametrize(
    ("after", "ci95", "data", "verdict"),
    [
        (0.83, [0.813, 0.846], "d", "no difference shown"),
        (0.70, [0.68, 0.72], "d", "regression"),
        (0.95, [0.94, 0.96], "d", "improvement"),
        (0.70, [0.68, 0.72], "e", "not comparable"),
        (0.70, None, "d", "not comparable"),
    ],
)
def test_quality_is_held_to_its_interval(make, store, after, ci95, data, verdict):
    good = {**QUALITY, "after": 0.84, "after_ci95": [0.823, 0.855]}
    bad = {**QUALITY, "after": after, "after_ci95": ci95, "data_digest": data * 64}
    _stored(store, make(0, 10.0, quality=good), make(1, 10.0, digest="c", quality=bad))
    assert _told(store, "quality").verdict == verdict


def perplexity(after, half=0.004, before=20.0, samples=64):
    """As `paring convert` records it: the increase over the source's with its interval, none of `after`."""
    increase = after / before - 1
    return {
        "metric": "perplexity", "before": before, "after": after, "increase": increase,
        "increase_ci95": [increase - half, increase + half], "samples": samples, "data_digest": "d" * 64,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("newest", "verdict"),
    [
        (perplexity(22.0), "regression"),
        (perplexity(20.5), "worse, tolerated"),
        (perplexity(22.0, half=0.2), "no difference shown"),
        (perplexity(19.0), "improvement"),
        (perplexity(20.2), "no difference shown"),
        (perplexity(22.0, samples=32), "not comparable"),
        ({**perplexity(22.0), "data_digest": "e" * 64}, "not comparable"),
        ({**perplexity(22.0), "increase_ci95": None}, "not comparable"),
    ],
)
def test_a_perplexity_that_rose_is_found(make, store, newest, verdict):
    _stored(store, make(0, 10.0, quality=perplexity(20.2)), make(1, 10.0, digest="c", quality=newest))
    limits = Limits(perplexity_rise=0.02)
    one = _told(store, "perplexity", limits=limits)
    assert one.verdict == verdict
    assert bool(regressions(store, ALL, limits).regressions) == (verdict == "regression")


def test_a_risen_perplexity_says_by_how_much(make, store):
    _stored(
        store,
        make(0, 10.0, quality=perplexity(20.0)),
        make(1, 10.0, digest="c", quality=perplexity(22.0)),
    )
    one = _told(store, "perplexity")
    assert (one.change, one.before, one.after) == (pytest.approx(0.1), 20.0, 22.0)
    low, high = one.change_ci95
    assert high / low == pytest.approx(0.1057 / 0.0943, rel=0.01)  # 0.4 % of 1 and of 1.1, in logarithms
    assert "perplexity 10.00 % higher (" in sentence(one)
    assert sentence(one).endswith("regression")
    assert "64 chunks of text" in one.reason


def test_noise_of_the_newest_run_is_told(make, steady):
    add_profile(steady, make(7, 10.0, noise=["Other processes used 1.50 cores."]))
    assert _told(steady).noise == ("Other processes used 1.50 cores.",)


def test_a_period_without_profiles_is_bad_input(steady):
    with pytest.raises(InputError, match="no stored profile fits since 1h"):
        regressions(steady, Selection(since="1h"))
    with pytest.raises(InputError, match="slowdown: expected a share"):
        Limits(slowdown=-0.1)


def test_a_junit_file_says_the_same(make, steady, tmp_path):
    add_profile(steady, make(7, 10.3, 20.0, digest="c", size_bytes=900))
    add_profile(steady, make(8, 1.0, name="bad\x00<name>&"))
    found = regressions(steady, ALL)
    path = tmp_path / "new" / "junit.xml"
    write_junit(found, path)
    root = ElementTree.parse(path).getroot()
    (suite,) = root
    cases = list(suite)
    assert [root.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["5", "1", "0", "2"]
    assert len(cases) == len(found.changes) == 5
    (failed,) = (case for case in cases if case.find("failure") is not None)
    assert failed.get("name").startswith("latency, batch 1, machine ")
    assert failed.get("classname") == "paring.vit"
    assert "vit, batch 1: latency 3.0" in failed.find("failure").get("message")
    assert "artifact aaaaaaaaaaaa to cccccccccccc" in failed.find("failure").text
    skipped = [case.find("skipped").get("message") for case in cases if case.find("skipped") is not None]
    assert any("vit, batch 2: latency not comparable: nothing earlier" in message for message in skipped)
    assert any(message.startswith("bad�<name>&, batch 1: latency") for message in skipped)
    assert [file.name for file in path.parent.iterdir()] == ["junit.xml"]
