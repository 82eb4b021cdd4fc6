"""Other tools' figures in the report: told, marked as theirs, and nowhere among ours."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import jsonschema
import pytest

from paring_profiles.imports import Results
from paring_profiles.report.pareto import (
    Report,
    markdown,
    render,
    report_schema,
    to_csv,
    to_json,
    with_imported,
    write,
)


@pytest.fixture(scope="module")
def both(report: Report, imported: list[Results]) -> Report:
    return with_imported(report, imported)


def test_nothing_of_ours_changes(report: Report, both: Report) -> None:
    assert len(both.imported) == 5
    assert dataclasses.replace(both, imported=[]) == report
    assert to_csv(both) == to_csv(report)


def test_rows_keep_unit_device_and_what_is_not_told(both: Report) -> None:
    trt, *_, ram = both.imported
    assert (trt.tool, trt.file, trt.value, trt.unit) == ("trtexec", "times.json", 2.77, "ms")
    assert trt.low is not None
    assert trt.high is not None
    assert trt.low <= trt.value <= trt.high
    assert (trt.device, "GPU" in trt.unknown) == ("", True)
    assert (ram.quantity, ram.value, ram.unit) == ("peak RAM", 900.5, "MB")
    assert (ram.device, ram.low, ram.unknown) == ("cpu, A CPU", None, ["warm-up"])


def test_the_json_fits_the_schema(both: Report) -> None:
    told = json.loads(to_json(both))
    jsonschema.validate(told, report_schema())
    assert [one["tool"] for one in told["imported"]] == ["trtexec"] * 3 + ["optimum-benchmark"] * 2
    del told["imported"][0]["unknown"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(told, report_schema())


def test_every_row_of_text_is_marked_as_theirs(both: Report) -> None:
    lines = [line for line in markdown(both).splitlines() if "times.json" in line or "benchmark.json" in line]
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 5
    assert all(line.startswith("| theirs: ") for line in rows)
    assert "| 11 ms | only a summary is kept | cpu, A CPU |" in rows[3]
    assert any("Not told: model, GPU, batch size" in line for line in lines)


def test_the_csv_of_theirs_is_a_file_of_its_own(both: Report, report: Report, tmp_path: Path) -> None:
    hostile = dataclasses.replace(both.imported[3], name="=1+1")
    paths = write(dataclasses.replace(both, imported=[*both.imported, hostile]), tmp_path)
    assert paths.imported == tmp_path / "imported.csv"
    rows = list(csv.DictReader(io.StringIO(paths.imported.read_text())))
    assert [row["whose"] for row in rows] == ["theirs"] * 6
    assert float(rows[0]["value"]) == 2.77
    assert rows[3]["low"] == rows[3]["high"] == ""
    assert rows[5]["of"] == "'=1+1"
    assert write(report, tmp_path).imported is None
    assert not (tmp_path / "imported.csv").exists(), "the figures of an earlier report do not stay"


def test_names_of_html_are_only_text(both: Report) -> None:
    hostile = dataclasses.replace(both.imported[0], name="<img src=x>", device="<b>", provenance="</script>")
    page = render(dataclasses.replace(both, imported=[hostile]))
    assert "<img src=x" not in page
    assert page.count("</script>") == 2
