"""The report's tables and pictures of mixtures of experts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from paring_profiles import store
from paring_profiles.candidates import candidate
from paring_profiles.report import experts, html, markdown
from paring_profiles.result import ExpertShare, Profile
from paring_runtimes import Manifest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

FIRST = ExpertShare("0.mlp.fc1", ("linear", "shift"), (40, 61), (0.6, 0.4), "assumed", (0.25, 0.75))
SECOND = ExpertShare("0.mlp.fc2", ("linear", "shift", "other"), (10, 20, 71), (0.5, 0.3, 0.2), "measured")


@pytest.fixture
def mixed(recorded: Profile) -> Profile:
    first, second = recorded.candidates[:2]
    return replace(recorded, candidates=[first, replace(second, expert_shares=[FIRST, SECOND])])


def test_each_layer_and_expert_has_its_row(mixed: Profile) -> None:
    ((title, table),) = experts.share_tables(mixed)
    assert title == f"Tokens of each expert: {mixed.candidates[1].name}"
    assert table.rows[:2] == (
        ("0.mlp.fc1", "linear", "40", "39.6", "25.0", "0.600", "assumed"),
        ("0.mlp.fc1", "shift", "61", "60.4", "75.0", "0.400", "assumed"),
    )
    assert table.rows[-1] == ("0.mlp.fc2", "other", "71", "70.3", "–", "0.200", "measured")


def test_page_and_markdown_show_it(mixed: Profile) -> None:
    page, text = html.render(mixed), markdown.render(mixed)
    assert "| 0.mlp.fc1 | shift | 61 | 60.4 | 75.0 | 0.400 | assumed |" in text
    assert '<h2 id="experts">' in page
    plot = experts.bars(mixed.candidates[1], "experts-1")
    assert plot is not None
    assert "0.mlp.fc2" in plot.svg
    assert experts.bars(mixed.candidates[0], "experts-0") is None


def test_without_mixtures_nothing_is_said(recorded: Profile) -> None:
    assert "Tokens of each expert" not in html.render(recorded) + markdown.render(recorded)


def test_it_comes_from_the_manifest_and_goes_through_json(mixed: Profile, tmp_path: Path) -> None:
    told = {
        "layer": "0.mlp.fc1", "experts": ["linear", "shift"], "tokens": [40, 61], "alpha": [0.6, 0.4],
        "costs": "assumed", "preferred": [0.25, 0.75],
    }  # fmt: skip
    manifest = Manifest("onnx", "model.onnx", (), (), {}, graph={"expert_shares": [told]})
    unmeasured = {"macs": {}, "macs_unknown": [], "peak_memory_bytes": None, "load_ms": None}
    found = candidate("mixed", tmp_path, manifest, latency=[], operators={}, **unmeasured)
    assert found.expert_shares == [FIRST]
    assert store.read(store.write(mixed, tmp_path / "profile.json")) == mixed
