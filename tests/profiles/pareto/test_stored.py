"""The report of the store: rows as variants, compared within one machine and case."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paring_profiles.history import Selection, add_profile
from paring_profiles.report.pareto import Asked, from_store, render, to_json
from paring_profiles.result import (
    Candidate,
    Comparison,
    Energy,
    Latency,
    Machine,
    MeterState,
    ModelledEnergy,
    Profile,
    Settings,
)
from paring_runtimes.errors import InputError

MACHINE = Machine("A CPU", 2, 4, 8_200_000_000, "Linux-6.1.0-x86_64", "CPython 3.11", 0.1, False)


def profile(day: int, p50_ms: float, size: int, accuracy: float, **changed: Any) -> Profile:
    """A baseline of 4 ms and one candidate at batch 1."""

    def latency(ms: float) -> Latency:
        samples = [float(t) for t in ms * np.random.default_rng(0).normal(1, 0.01, size=100)]
        ends = (0.99 * ms, 1.01 * ms)
        return Latency(1, samples, 10, ms, ends, ms, None, ms, 0.1, ms, 1e3 / ms, method="timed")

    def candidate(name: str, ms: float, size: int, accuracy: float) -> Candidate:
        quality = {
            "metric": "top-1 accuracy", "before": 0.8, "after": accuracy, "drop": 0.8 - accuracy,
            "after_ci95": [accuracy - 0.01, accuracy + 0.01], "samples": 1000, "data": "fashion-mnist",
            "drop_ci95": [0.79 - accuracy, 0.81 - accuracy],
        }  # fmt: skip
        return Candidate(
            name, f"/models/{name}", "onnx", size, 5, {"1": int(25 * ms)}, [], [17, 17, 9], 4_000_000, 1.5,
            [latency(ms)], {}, "timm:x", [{"name": "evit"}], {"export": {"precision": "int8"}},
            None, quality, artifact_digest=f"{name[0]}" * 64, engine="onnxruntime 1.32.0",
        )  # fmt: skip

    own = dataclasses.replace(candidate(f"{day}-vit", p50_ms, size, accuracy), **changed)
    ratio = 4 / p50_ms
    against = Comparison("base", own.name, 1, ratio, (ratio - 0.02, ratio + 0.02), 2.0, ratio / 2, "faster")
    created = (datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(days=day)).isoformat()
    meters = [MeterState("rapl", "the processor", "no counters here")]
    base = candidate("base", 4.0, 9000, 0.8)
    return Profile(created, MACHINE, Settings(), {}, [base, own], [against], [], meters=meters)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    place = tmp_path / "store.sqlite"
    for day, ms, size, accuracy in ((1, 2.0, 3000, 0.79), (2, 3.0, 3000, 0.70), (3, 1.5, 8000, 0.74)):
        add_profile(place, profile(day, ms, size, accuracy), {"branch": "main"})
    return place


def test_the_newest_of_each_artifact_stands_on_the_front_or_not(store: Path) -> None:
    found = from_store(store, Selection())
    places = {one.name.partition(",")[0]: one.place for one in found.variants}
    assert places == {"1-vit": "on", "2-vit": "dominated", "3-vit": "on", "base": "maybe"}
    assert len(found.groups) == 1
    one = next(one for one in found.variants if one.name.startswith("1-vit"))
    assert one.figures["latency_p50_ms"].value == 2.0
    assert (one.figures["latency_p50_ms"].low, one.figures["latency_p50_ms"].high) == (1.98, 2.02)
    assert one.figures["drop"].value == pytest.approx(1.0)
    assert one.gain is not None
    assert (one.gain.realised, one.gain.ideal) == (2.0, 2.0)
    assert one.precision == "int8"
    assert one.tokens_per_layer == [17, 17, 9]
    assert "rapl: no counters here" in found.energy_not_measured
    assert "1-vit, profile 1" in render(found)


def test_energy_of_meters_and_of_the_ledger_lie_on_axes_apart(store: Path) -> None:
    energy = Energy(
        1, "rapl", 5.0, (4.8, 5.2), 7.0, {"dram": 1.0}, [5.0], 3.0, (2.9, 3.1), 1.0, 50, "cpu", "read"
    )
    modelled = ModelledEnergy(1, 0.25, "45 nm, Eyeriss-like", "ledger, accounting: full")
    add_profile(
        store, profile(4, 1.0, 2000, 0.75, energies=[energy], modelled_energies=[modelled], energy="measured")
    )
    found = from_store(store, Selection())
    one = next(one for one in found.variants if one.name.startswith("4-vit"))
    measured = next(axis for axis in found.axes if axis.title == "energy an inference, rapl")
    ledger = next(axis for axis in found.axes if axis.title == "energy an inference, modelled")
    assert one.figures[measured.name].value == 5.0
    assert one.figures[ledger.name].value == 250.0
    assert (measured.provenance, ledger.provenance) == ("measured", "modelled")
    assert [number.value for number in found.modelled] == [250.0]
    assert found.constants
    assert one.metered[0].domains == {"dram": 1.0}
    assert found.energy_not_measured == ""


def test_other_machines_are_another_group(store: Path) -> None:
    other = dataclasses.replace(
        profile(5, 0.5, 100, 0.8), machine=dataclasses.replace(MACHINE, cpu="Another")
    )
    add_profile(store, other)
    found = from_store(store, Selection())
    assert len(found.groups) == 2
    places = {one.name.partition(",")[0]: one.place for one in found.variants if one.group == found.groups[0]}
    assert places["1-vit"] == "on", "what another machine measured does not dominate it"
    with pytest.raises(InputError, match="do not compare"):
        from_store(store, Selection(), Asked(["size<=1MB"]))


def test_a_recommendation_among_stored_rows(store: Path) -> None:
    found = from_store(store, Selection(), Asked(["drop<=3pp"]))
    assert found.advice is not None
    chosen = next(one for one in found.variants if one.key == found.advice.variant)
    assert chosen.name.startswith("1-vit")
    assert to_json(found)


def test_a_store_without_fitting_rows_says_so(store: Path) -> None:
    with pytest.raises(InputError, match="no stored profile fits"):
        from_store(store, Selection(names=["nothing"]))


def test_qualities_that_tell_little_are_shown_as_far_as_they_go(store: Path) -> None:
    """Accuracy on data without a name; a perplexity, whose increase alone has an interval."""
    bare = {"metric": "top-1 accuracy", "after": 0.7, "after_ci95": [0.68, 0.72], "samples": 500}
    text = {
        "metric": "perplexity", "before": 20.0, "after": 22.0, "increase": 0.1,
        "increase_ci95": [0.09, 0.11], "samples": 64,
    }  # fmt: skip
    add_profile(store, profile(4, 1.0, 2000, 0.0, quality=bare))
    add_profile(store, profile(5, 1.0, 2000, 0.0, quality=text))
    figures = {one.name[:5]: one.figures for one in from_store(store, Selection()).variants}
    assert figures["4-vit"]["accuracy"].method.endswith("on 500 images of unnamed data")
    assert "drop" not in figures["4-vit"]
    shown = figures["5-vit"]["perplexity"]
    assert (shown.low, shown.value, shown.high) == pytest.approx((21.8, 22.0, 22.2))
