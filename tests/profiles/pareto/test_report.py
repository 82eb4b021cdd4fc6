"""What the report says: figures, standings, files, the schema, assumptions, and hostile names."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest

from paring_profiles.ledger import prices
from paring_profiles.report.pareto import (
    Report,
    from_sweep,
    markdown,
    render,
    report_schema,
    to_csv,
    to_json,
    write,
)
from paring_profiles.sweep import MEASURES, Sweep, recommend
from paring_runtimes.errors import OutputError


class Page(HTMLParser):
    """What a page holds: tags with attributes, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = tag

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            self.scripts.append(data)
        self._in = ""


def test_figures_standings_and_reasons_are_the_sweeps(report: Report, sweep: Sweep) -> None:
    assert len(report.variants) == 1 + len(sweep.trials)
    for one in report.variants[1:]:
        trial = sweep.trial(int(one.key))
        assert (one.state, one.reason) == (trial.state, trial.reason)
        for name, measure in trial.measures.items():
            scale = MEASURES[name].scale
            figure = one.figures[name]
            assert (figure.value, figure.low, figure.high) == pytest.approx(
                (scale * measure.value, scale * measure.low, scale * measure.high)
            )
            assert figure.provenance == measure.provenance
    standings = {one.key: one.place for one in report.variants}
    assert {str(one.trial): one.place for one in sweep.front}.items() <= standings.items()
    assert [axis.name for axis in report.objectives] == ["latency_relative", "drop", "size_bytes"]


def test_measured_and_modelled_energy_are_never_one_axis(report: Report) -> None:
    for axis in report.axes:
        kinds = {one.figures[axis.name].provenance for one in report.variants if axis.name in one.figures}
        assert kinds == {axis.provenance}
    assert report.axis("energy_modelled_uj").provenance == "modelled"
    assert report.energy_not_measured.startswith("Energy was not measured")
    assert "Energy was not measured" in render(report)


def test_every_modelled_number_is_among_the_assumptions(report: Report) -> None:
    told = {(one.variant, one.quantity): one.value for one in report.modelled}
    modelled = [axis for axis in report.axes if axis.provenance == "modelled"]
    shown = {
        (one.key, axis.title): one.figures[axis.name].value
        for one in report.variants
        for axis in modelled
        if axis.name in one.figures
    }
    assert len(shown) == 22
    assert told == shown
    names = {one.name for one in report.constants}
    assert {"fp32_mac: multiply", "access: dram"} <= names
    assert len(names) >= len(prices().memory) + len(prices().operations)
    assert all(one.source for one in report.constants)
    assert "without a range" in render(report)
    assert "without a range" in markdown(report)


def test_the_json_fits_the_schema(report: Report, hostile: Callable[[], Report]) -> None:
    schema = report_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for one in (report, hostile()):
        jsonschema.validate(json.loads(to_json(one)), schema)
    broken = json.loads(to_json(report))
    broken["variants"][0]["figures"]["size_bytes"]["value"] = "22"
    for change in (lambda told: told.pop("notes"), lambda told: told["axes"][0].update(more=1)):
        other = json.loads(to_json(report))
        change(other)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(other, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


def test_the_csv_has_every_variant_and_figure(report: Report, hostile: Callable[[], Report]) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert [row["key"] for row in rows] == [one.key for one in report.variants]
    for row, one in zip(rows, report.variants, strict=True):
        cell = row["energy a call, modelled, µJ, modelled"]
        figure = one.figures.get("energy_modelled_uj")
        assert cell == ("" if figure is None else repr(figure.value))
    formula = dataclasses.replace(report.variants[0], name="=1+1")
    changed = dataclasses.replace(report, variants=[formula])
    assert next(csv.DictReader(io.StringIO(to_csv(changed))))["variant"] == "'=1+1"


def test_the_markdown_has_the_front_and_folds_the_rest(report: Report) -> None:
    text = markdown(report)
    front = text.partition("### The front")[2].partition("<details>")[0]
    ahead = [one for one in report.variants if one.place in ("on", "maybe") or one.baseline]
    assert front.count("\n| ") == 2 + len(ahead)
    assert "out of memory" in text
    assert "Energy was not measured" in text


def test_the_page_names_no_other_place_and_its_own_script_alone(hostile: Callable[[], Report]) -> None:
    page = Page(render(hostile()))
    for tag, attributes in page.tags:
        assert tag not in ("img", "link", "iframe", "object", "base"), tag
        assert "src" not in attributes
        assert not any(name.startswith("on") for name in attributes), attributes
        href = attributes.get("href")
        assert href is None or href.startswith("#variant-"), href
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a) or ""
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")
    data, script = page.scripts
    assert json.loads(data)["points"]
    assert "</" not in data + script
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg", "", script)


def test_a_recipe_holds_the_overrides(report: Report) -> None:
    one = next(one for one in report.variants if one.key == "8")
    assert "keep_ratio: 0.5" in one.recipe
    assert "precision: int8" in one.recipe
    assert one.transforms == ["evit"]
    assert one.name == "keep_ratio 0.5, precision int8, engine openvino"


def test_a_recommendation_comes_first(sweep: Sweep, tmp_path: Path) -> None:
    chosen = recommend(sweep, ["drop<=2pp", "size<=8MB"])
    found = from_sweep(sweep, tmp_path, chosen)
    assert found.title.startswith(f"Take variant {chosen.trial}: ")
    none = from_sweep(sweep, tmp_path, recommend(sweep, ["size<=1kB"]))
    assert none.title.startswith("No variant")
    assert none.advice is not None
    assert none.advice.nearest is not None


def test_nothing_is_written_where_a_file_is_in_the_way(report: Report, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(OutputError, match="taken"):
        write(report, tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"
