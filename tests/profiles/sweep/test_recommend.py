from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from paring_profiles.result import Machine
from paring_profiles.sweep import (
    Measure,
    Objective,
    Sweep,
    SweepSettings,
    Trial,
    constraints,
    read_sweep,
    recommend,
    write_sweep,
)
from paring_profiles.sweep.schema import sweep_schema
from paring_runtimes.errors import ArtifactError, InputError

PRESENT = {
    "latency_p99_ms",
    "drop",
    "size_bytes",
    "latency_relative",
    "throughput_per_s",
    "energy_modelled_uj",
}


def measure(value: float, low: float, high: float, unit: str, provenance: str = "measured") -> Measure:
    return Measure(value, low, high, unit, provenance, "given")


def trial(
    number: int, p99: tuple[float, float, float], drop: tuple[float, float, float], energy: float
) -> Trial:
    measures = {
        "latency_p99_ms": measure(*p99, "ms"),
        "latency_relative": measure(p99[0] / 10, p99[1] / 10, p99[2] / 10, "x baseline"),
        "drop": measure(*drop, "share"),
        "energy_modelled_uj": measure(energy, energy, energy, "uJ", "modelled"),
    }
    return Trial(
        number,
        {},
        [],
        f"{number:064}",
        f"artifacts/{number}",
        "onnxruntime",
        "cpu",
        "complete",
        measures=measures,
    )


def sweep(*trials: Trial) -> Sweep:
    settings = SweepSettings(1, 2, 100, 3.0, 0, "tpe", len(trials), None, 100, 60.0)
    objective = Objective("energy", "energy_modelled_uj", True, "energy", "uJ", "modelled")
    machine = {"cpu": Machine("a CPU", 2, 2, 1, "Linux", "3.11", 0.0)}
    return Sweep("now", "now", "complete", machine, {}, {}, {}, None, [objective], settings, [], list(trials))


THREE = sweep(
    trial(0, (11.0, 10.0, 11.9), (0.004, 0.002, 0.0049), 30.0),
    trial(1, (9.0, 8.0, 13.0), (0.003, 0.001, 0.0045), 20.0),  # its p99 may be 13 ms
    trial(2, (8.0, 7.5, 8.5), (0.02, 0.015, 0.025), 10.0),
)


@pytest.mark.parametrize(
    ("text", "measure_name", "limit"),
    [
        ("p99 <= 12 ms", "latency_p99_ms", 12.0),
        ("p99<=0.012s", "latency_p99_ms", 12.0),
        ("p99 ≤ 12 ms", "latency_p99_ms", 12.0),
        (" p99≤12ms ", "latency_p99_ms", 12.0),
        ("p99\u00a0≤\u00a012\u202fms", "latency_p99_ms", 12.0),
        ("throughput ≥ 400", "throughput_per_s", 400.0),
        ("drop<=0.5pp", "drop", 0.005),
        ("size <= 2 MiB", "size_bytes", 2 * 2**20),
        ("latency<=0.5x", "latency_relative", 0.5),
        ("throughput>=400", "throughput_per_s", 400.0),
        ("energy<=0.02mJ", "energy_modelled_uj", 20.0),
    ],
)
def test_constraints_are_read_with_their_units(text: str, measure_name: str, limit: float) -> None:
    [found] = constraints([text], PRESENT)
    assert found.named.measure == measure_name
    assert found.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("p99 12ms", "expected MEASURE <= NUMBER UNIT"),
        ("p99<=12", "needs a unit: write p99<=12ms (or s"),
        ("drop<=0.5", "needs a unit: write drop<=0.5pp (or %)"),
        ("drop ≤ 0.5", "constraint 'drop ≤ 0.5': it needs a unit: write drop<=0.5pp"),
        ("p99<=12MB", "no unit of it"),
        ("p99>=12ms", "less is better: write p99<=12ms"),
        ("throughput<=5", "more is better: write throughput>=5"),
        ("drop<0.5pp", "write <= or >="),
        ("dorp<=0.5pp", "did you mean 'drop'"),
        ("memory<=5MB", "no trial of this sweep has peak_memory_bytes"),
    ],
)
def test_what_is_wrong_with_a_constraint_is_said(text: str, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        constraints([text], PRESENT)


def test_what_is_made_small_may_stand_among_the_constraints() -> None:
    asked = recommend(THREE, ["p99 ≤ 12 ms, drop ≤ 0.5 pp, least energy"])
    assert asked == recommend(THREE, ["p99<=12ms", "drop<=0.5pp"], "energy")
    assert asked.constraints == ["latency_p99_ms <= 12.000 ms", "drop <= 0.50 pp"]
    assert recommend(THREE, ["least energy"], "energy").goal == "energy_modelled_uj"
    with pytest.raises(InputError, match="one thing can be made small, and energy and p99 are named"):
        recommend(THREE, ["least energy"], "p99")


@pytest.mark.parametrize(
    ("text", "goal", "says"),
    [
        ("p99<=12ms", None, "has latency_p99_ms: `paring sweep --objectives p99,...` with another --output"),
        ("drop<=1pp", None, "`paring sweep --objectives accuracy,...`"),
        ("size<=1MB", "energy", "neither measured nor modelled: `paring sweep --objectives energy,...`"),
        (
            "energy_measured<=1mJ",
            None,
            "--objectives energy,...` with another --output gives it on a machine",
        ),
    ],
)
def test_what_would_give_a_figure_that_is_not_there_is_named(text: str, goal: str | None, says: str) -> None:
    measures = {"size_bytes": measure(1e6, 1e6, 1e6, "bytes"), "latency_relative": measure(1, 1, 1, "x")}
    without = sweep(dataclasses.replace(THREE.trials[0], measures=measures))
    with pytest.raises(InputError, match=re.escape(says)):
        recommend(without, [text], goal)


def test_the_worse_end_of_an_interval_must_keep_to_a_constraint() -> None:
    texts = ["p99 <= 12 ms, drop <= 0.5 pp"]
    bound = recommend(THREE, texts, "energy")
    assert (bound.trial, bound.runner_up, bound.goal) == (0, None, "energy_modelled_uj")
    assert "modelled" in bound.sentences[0]
    point = recommend(THREE, texts, "energy", "point")
    assert (point.trial, point.runner_up) == (1, 0)


def test_where_none_fits_the_nearest_is_named_with_what_it_misses() -> None:
    found = recommend(THREE, ["p99<=7ms"], "latency")
    assert found.trial is None
    assert found.nearest == 2
    assert found.misses[0].by == pytest.approx(1.5)
    assert "misses 7.000 by 1.500 ms" in found.sentences[1]


def test_an_order_that_the_intervals_do_not_show_is_said_so() -> None:
    near = sweep(
        trial(0, (11.0, 10.0, 11.9), (0.0, 0.0, 0.0), 30.0),
        trial(1, (11.5, 11.2, 11.9), (0.0, 0.0, 0.0), 30.0),
    )
    assert "intervals overlap" in recommend(near, [], "latency").sentences[1]
    assert "same energy" in recommend(near, [], "energy").sentences[1]


def test_a_sweep_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write_sweep(THREE, tmp_path)
    assert read_sweep(tmp_path) == THREE
    file = tmp_path / "sweep.json"
    file.write_text(file.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(ArtifactError, match="upgrade paring"):
        read_sweep(file)


def test_the_schema_tells_every_field() -> None:
    schema = sweep_schema()
    assert set(schema["properties"]) == {field.name for field in dataclasses.fields(Sweep)}
    assert set(schema["$defs"]["Trial"]["properties"]) == {field.name for field in dataclasses.fields(Trial)}


def test_nothing_complete_is_nothing_to_recommend() -> None:
    with pytest.raises(InputError, match="no trial of this sweep is complete"):
        recommend(sweep(dataclasses.replace(THREE.trials[0], state="failed")), [])
