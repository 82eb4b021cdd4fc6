"""`paring report`: of a sweep, of the store, its schema, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from paring.cli import app
from paring_profiles.result import Machine
from paring_profiles.sweep import (
    Baseline,
    Measure,
    Objective,
    Sweep,
    SweepSettings,
    Trial,
    front,
    write_sweep,
)

MACHINE = Machine("A CPU", 2, 4, 8_200_000_000, "Linux-6.1.0-x86_64", "CPython 3.11", 0.1, False)


def figures(latency: float, size: float) -> dict[str, Measure]:
    return {
        "latency_relative": Measure(
            latency, latency - 0.01, latency + 0.01, "x baseline", "measured", "timed"
        ),
        "size_bytes": Measure(size, size, size, "bytes", "measured", "files"),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep of three points."""
    objectives = [
        Objective("latency", "latency_relative", True, "latency", "x baseline", "measured"),
        Objective("size", "size_bytes", True, "size", "bytes", "measured"),
    ]
    trials = [
        Trial(
            n, {"keep": keep}, [], None, None, "onnxruntime", "cpu", "complete", measures=figures(keep, size)
        )
        for n, (keep, size) in enumerate(((0.5, 2e6), (0.7, 1e6), (0.8, 3e6)))
    ]
    base, when = Baseline("", "onnxruntime", "cpu", figures(1.0, 2e6)), "2026-01-02T03:04:05+00:00"
    settings = SweepSettings(1, 1, 10, 0.1, 0, "grid", 3, None, 200, 60.0)
    found = Sweep(
        when, when, "complete", {"cpu": MACHINE}, {}, {"model": "timm:x"}, {}, 3, objectives, settings,
        [base], trials, front(trials, [base], objectives, 0),
    )  # fmt: skip
    write_sweep(found, tmp_path / "sweep")
    return tmp_path / "sweep"


def test_a_sweeps_report_is_written_and_recommends(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(app(), ["report", str(folder), "-o", str(out), "-c", "size<=1.5MB", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["advice"]["variant"] == "1"
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html",
        "report.csv",
        "report.json",
        "report.md",
    ]
    assert "Take variant 1" in (out / "index.html").read_text()
    schema = json.loads(CliRunner().invoke(app(), ["report", "--schema"]).stdout)
    jsonschema.validate(json.loads((out / "report.json").read_text()), schema)


def test_what_is_imported_is_a_table_beside_the_sweep(folder: Path, tmp_path: Path) -> None:
    times, kept, out = tmp_path / "times.json", tmp_path / "kept.json", tmp_path / "out"
    times.write_text(json.dumps([{"latencyMs": 2.5, "computeMs": 2.0}]))
    done = CliRunner().invoke(app(), ["import", str(times), "--from", "trtexec", "-o", str(kept)])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app(), ["report", str(folder), "-o", str(out), "--imported", str(kept)])
    assert done.exit_code == 0, done.output
    told = json.loads((out / "report.json").read_text())
    assert [(one["tool"], one["value"]) for one in told["imported"]] == [("trtexec", 2.5), ("trtexec", 2.0)]
    assert "2.5 ms" in (out / "index.html").read_text()
    assert (out / "imported.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["SWEEP"], "a folder is needed"),
        (["SWEEP", "-o", "OUT", "--since", "7d"], "one of the two"),
        (["SWEEP", "-o", "FILE"], "is no folder"),
        (["SWEEP", "-o", "OUT", "-c", "size<=1"], "it needs a unit"),
        (["nowhere", "-o", "OUT"], "cannot be read"),
        (["-o", "OUT", "--store", "none.sqlite"], "there is no store yet"),
        (["SWEEP", "-o", "OUT", "--imported", "FILE"], "expected a file of `paring import -o`"),
        (["SWEEP", "-o", "OUT", "--beside", "none.json"], "cannot be read as JSON"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    folder: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "taken").write_text('"mine"')
    places = {"SWEEP": folder, "OUT": tmp_path / "out", "FILE": tmp_path / "taken"}
    done = CliRunner().invoke(app(), ["report", *(str(places.get(one, one)) for one in arguments)])
    assert done.exit_code != 0
    assert said in " ".join((done.output + str(done.exception)).split()).replace("│ ", "").replace(" │", "")
    assert not (tmp_path / "out").exists()
