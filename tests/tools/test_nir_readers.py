"""The table of NIR readers: its graphs run, its rows say what differs, and no reader ends it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def tool() -> Any:
    sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "check"))
    try:
        return importlib.import_module("nir_readers")
    finally:
        sys.path.pop(0)


def test_every_graph_runs_and_fires(tool: Any) -> None:
    found = tool.cases([], [])
    assert len({case.name for case in found}) == len(found) == 11
    for case in found:
        spikes = tool.reference(case)
        assert set(np.unique(spikes)) == {0.0, 1.0}, case.name
        assert spikes.shape[:2] == case.inputs.shape[:2]


def test_equality_fires_as_exported_and_not_in_nirs_own_words(tool: Any) -> None:
    exported, exact = tool.cases([], [])[-2:]
    ours, strict = tool.reference(exported)[:, 0], tool.reference(exact)[:, 0]
    assert ours.sum(0).tolist() == [6, 12, 24, 3]
    assert strict.sum(0).tolist() == [4, 8, 12, 2]


def test_a_row_tells_the_first_step_that_differs(tool: Any) -> None:
    case = tool.cases([], [])[0]
    ours = tool.reference(case)
    theirs = ours.copy()
    theirs[7, 0, 3] = 1 - theirs[7, 0, 3]
    row = tool._compared(case, "other", "1", ours, theirs)
    assert (row.outcome, row.first) == ("differs", 8)
    assert row.differing == pytest.approx(1 / ours.size)
    assert tool._compared(case, "other", "1", ours, ours).outcome == "equal"
    assert tool._compared(case, "other", "1", ours, ours[:3]).outcome == "cannot"


def test_a_reader_that_fails_is_a_row(tool: Any, tmp_path: Path) -> None:
    pytest.importorskip("nir")
    rows = tool.run(tool.cases([], [])[:2], "no-such-simulator", None, tmp_path)
    assert [row.outcome for row in rows] == ["cannot", "cannot"]
    assert "no-such-simulator" in rows[0].note
    assert "no-such-simulator" in tool.table(rows)
