"""The check of the kept operator tables notices every kind of difference."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from paring_exporters.tensorrt.support import FOLDER, read, releases, support, written
from paring_exporters.tensorrt.table import Table, parse

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "check"))
check = importlib.import_module("tensorrt_operators")

TEXT = """
TensorRT 11.1 supports operators in the inclusive range of opset 9 to opset 24. Latest information

| Operator   | Supported  | Supported Types | Restrictions |
|------------|------------|-----------------|--------------|
| Abs        | Y          | FP32, FP16, INT64 |
| Det        | N          |
| TopK       | Y          | FP32, BOOL | `sorted` must be 1.
| Relu       | Y [EXPERIMENTAL] | FP32, |      |
"""


def test_a_table_is_read() -> None:
    table = parse(TEXT)
    assert (table.release, table.opsets) == ("11.1", (9, 24))
    assert table.operators == {
        "Abs": ("FP32", "FP16", "INT64"), "Det": None, "TopK": ("FP32", "BOOL"), "Relu": ("FP32",),
    }  # fmt: skip
    assert set(table.restricted) == {"TopK"}
    with pytest.raises(ValueError, match="no line"):
        parse("# something else")
    with pytest.raises(ValueError, match="FP12"):
        parse(TEXT.replace("FP16", "FP12"))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(written(parse(TEXT), "here"))
    assert read(tmp_path / "t.json") == parse(TEXT)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("opset 24", "opset 25", "opsets"),
        ("| Det        | N ", "| Det        | Y ", "operators: Det"),
        ("FP32, BOOL", "FP32", "operators: TopK"),
        ("must be 1", "must be 0", "restricted: TopK"),
        ("| Abs        | Y          | FP32, FP16, INT64 |\n", "", "operators: Abs"),
    ],
)
def test_every_difference_is_told(old: str, new: str, said: str) -> None:
    assert old in TEXT
    assert check.differences(parse(TEXT), parse(TEXT)) == []
    (line,) = check.differences(parse(TEXT), parse(TEXT.replace(old, new)))
    assert line.startswith(said)


def test_the_kept_tables_say_where_they_are_from() -> None:
    assert {"10.1", "10.16", "11.1"} <= set(releases())
    for release in releases():
        assert "github.com/onnx/onnx-tensorrt" in (FOLDER / f"operators-{release}.json").read_text()
        table = support(release)
        assert isinstance(table, Table)
        assert len(table.operators) > 190
        assert table.operators["NonZero"] is not None
        assert table.operators["BitShift"] is None
    assert support("11.4").release == "11.1"
    assert support("10.9").release == "10.1"
    assert support("10").release == "10.16"
