from __future__ import annotations

import dataclasses
import json

import pytest

from paring_profiles import read, write
from paring_runtimes.errors import ArtifactError


def _changed(recorded, tmp_path, change):
    path = write(recorded, tmp_path / "p.json")
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


def test_what_was_written_is_read(recorded, tmp_path):
    path = write(recorded, tmp_path / "new" / "p.json")
    assert read(path) == recorded
    assert [p.name for p in path.parent.iterdir()] == ["p.json"]


def test_a_profile_from_before_there_were_meters_is_read(recorded, tmp_path):
    def older(data):
        del data["meters"]
        for name in ("energy", "energy_csv", "energy_csv_offset_s"):
            del data["settings"][name]
        for candidate in data["candidates"]:
            del candidate["energies"], candidate["modelled_energies"]

    found = read(_changed(recorded, tmp_path, older))
    assert found == recorded
    assert found.candidates[0].energy == "not measured"


def test_a_failed_write_leaves_what_was_there(recorded, tmp_path):
    path = write(recorded, tmp_path / "p.json")
    broken = dataclasses.replace(recorded, tools={"x": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(broken, path)
    assert read(path) == recorded
    assert [p.name for p in tmp_path.iterdir()] == ["p.json"]


def test_a_newer_schema_is_refused(recorded, tmp_path):
    path = _changed(recorded, tmp_path, lambda d: d.update(schema_version=2))
    with pytest.raises(ArtifactError, match=r"p\.json: its schema is 2.*upgrade paring"):
        read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("machine"), "machine: missing"),
        (lambda d: d["machine"].pop("cpu"), r"machine\.cpu: missing"),
        (lambda d: d.update(machines=1), "machines: unknown"),
        (lambda d: d["settings"].update(threads="two"), r"settings\.threads: expected int.*'two'"),
        (lambda d: d["settings"].update(threads=True), r"settings\.threads: expected int.*True"),
        (
            lambda d: d["candidates"][1]["latency"][0]["samples_ms"].__setitem__(3, None),
            r"candidates\[1\]\.latency\[0\]\.samples_ms\[3\]: expected float",
        ),
        (
            lambda d: d["comparisons"][0].update(latency_ratio_ci95=[1.0]),
            "latency_ratio_ci95: expected 2 values, given 1",
        ),
    ],
)
def test_a_wrong_value_is_named(recorded, tmp_path, change, message):
    with pytest.raises(ArtifactError, match=message):
        read(_changed(recorded, tmp_path, change))


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"schema_version": "1"}'])
def test_other_files_are_no_profiles(text, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"x\.json: not a profile"):
        read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"gone\.json: cannot be read"):
        read(tmp_path / "gone.json")


def test_whole_numbers_are_numbers(recorded, tmp_path):
    path = _changed(recorded, tmp_path, lambda d: d["machine"].update(load_1m=1))
    assert read(path).machine.load_1m == 1.0
