"""`paring profile` stores, `paring history` shows, `paring compare --since` judges."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from paring.cli import app, main
from paring_profiles import read
from paring_profiles.history import VARIABLE, Selection, add_profile, query, stored_profile

SHORT = ("--min-runs", "10", "--min-seconds", "0.05", "--max-seconds", "5", "--threads", "1")


def save_addition(path: Path, name: str) -> Path:
    def value(of: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(of, TensorProto.FLOAT, ["batch", 4])

    node = helper.make_node("Add", ["a", "a"], [name])
    graph = helper.make_graph([node], "tiny", [value("a")], [value(name)])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `one.onnx`, `two.onnx`, `profile.json` of both, and its store."""
    folder = tmp_path_factory.mktemp("profiled")
    models = [str(save_addition(folder / f"{name}.onnx", name)) for name in ("one", "two")]
    store = ["--store", str(folder / "s.sqlite"), "--label", "branch=main"]
    printed = run("profile", *models, *SHORT, *store, "--json").stdout
    (folder / "profile.json").write_text(printed, encoding="utf-8")
    return folder


def run(*arguments: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app(), list(arguments))
    assert done.exit_code == code, done.output
    return done


def shown(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("history", *arguments, "--json").stdout)
    return found


def test_a_profile_is_stored_as_it_was_measured(profiled: Path) -> None:
    assert stored_profile(profiled / "s.sqlite", 1) == read(profiled / "profile.json")
    two, one = shown("--store", str(profiled / "s.sqlite"))
    assert (one["name"], two["name"], two["baseline"]) == ("one", "two", "one")
    assert one["artifact_digest"] != two["artifact_digest"]
    assert one["engine"].startswith("onnxruntime ")
    assert one["labels"] == {"branch": "main"}


def test_nothing_is_stored_where_nothing_shall_be(profiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = profiled / "elsewhere" / "s.sqlite"
    monkeypatch.setenv(VARIABLE, str(place))
    done = run("profile", str(profiled / "one.onnx"), *SHORT, "--no-store")
    assert "stored" not in done.stdout
    assert not place.parent.exists()
    done = run("profile", str(profiled / "one.onnx"), *SHORT)
    assert f"stored    profile 1 in {place}" in done.stdout
    assert len(query(place)) == 1


def test_a_store_that_cannot_be_written_stops_nothing_unless_it_was_named(
    profiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = str(profiled / "one.onnx")  # a file, and no database
    monkeypatch.setenv(VARIABLE, broken)
    done = run("profile", str(profiled / "one.onnx"), *SHORT)
    assert "warning: the profile will not be stored: " in done.stderr
    assert "latency, measured" in done.stdout
    from paring_runtimes.errors import StoreError

    done = CliRunner().invoke(app(), ["profile", str(profiled / "one.onnx"), "--store", broken])
    assert isinstance(done.exception, StoreError)


def test_history_selects(profiled: Path) -> None:
    store = ("--store", str(profiled / "s.sqlite"))
    assert [row["name"] for row in shown("two", *store)] == ["two"]
    assert [row["name"] for row in shown(str(profiled / "one.onnx"), *store)] == ["one"]
    assert len(shown(*store, "--case", "batch=1", "--label", "branch=main", "--since", "1")) == 2
    assert shown(*store, "--case", "batch=2") == []
    assert len(shown(*store, "--machine", "this", "--limit", "1")) == 1
    assert "no stored profile fits" in run("history", "none", *store).stdout


def test_history_shows_a_table_and_csv(profiled: Path) -> None:
    store = ("--store", str(profiled / "s.sqlite"))
    text = run("history", *store).stdout
    assert "one" in text
    assert "batch 1" in text
    rows = list(csv.DictReader(io.StringIO(run("history", *store, "--csv").stdout)))
    assert [row["name"] for row in rows] == ["two", "one"]
    assert float(rows[0]["p50_ci95_ms_low"]) <= float(rows[0]["p50_ms"])
    assert rows[0]["labels"] == "branch=main"
    assert rows[1]["speedup_ci95_low"] == ""


def test_a_profile_file_is_added_and_its_report_made_again(profiled: Path, tmp_path: Path) -> None:
    store = ("--store", str(tmp_path / "new.sqlite"))
    file = profiled / "profile.json"
    assert "stored as profile 1" in run("history", "--add", str(file), *store).stdout
    assert "is there already, profile 1" in run("history", "--add", str(file), *store).stdout
    run("history", "--report", "1", "-o", str(tmp_path / "again"), *store)
    assert read(tmp_path / "again" / "profile.json") == read(file)
    assert (tmp_path / "again" / "report.html").is_file()


@pytest.fixture(scope="module")
def followed(profiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six days of the same, and then "two" slower by a tenth."""
    store = tmp_path_factory.mktemp("followed") / "s.sqlite"
    first = read(profiled / "profile.json")
    for day in range(7):
        slow = 1.1 if day == 6 else 1.0
        candidates = [
            dataclasses.replace(candidate, latency=[timed(candidate.latency[0], day, slow, candidate.name)])
            for candidate in first.candidates
        ]
        created = f"2026-01-{day + 1:02}T12:00:00+00:00"
        profile = dataclasses.replace(first, created=created, candidates=candidates, comparisons=[], noise=[])
        add_profile(store, profile)
    return store


def timed(latency: Any, day: int, slow: float, name: str) -> Any:
    p50 = (10 + 0.01 * (day % 3)) * (slow if name == "two" else 1.0)
    return dataclasses.replace(latency, p50_ms=p50, p50_ci95_ms=(p50 * 0.999, p50 * 1.001))


def test_a_regression_fails_the_build_and_no_other_does(followed: Path, tmp_path: Path) -> None:
    line = ("compare", "--since", "2026-01-01", "--store", str(followed), "--ci")
    junit = tmp_path / "junit.xml"
    done = run(*line, "--junit", str(junit), code=1)
    assert "1 regressions in 6 comparisons" in done.stdout
    (failure,) = ElementTree.parse(junit).getroot().iter("failure")
    assert failure.get("message", "").startswith("two, batch 1: latency 9.")
    told = json.loads(run(*line, "--json", code=1).stdout)
    assert told["regressions"] == 1
    assert sum(change["verdict"] == "regression" for change in told["changes"]) == 1
    run(*line, "--max-slowdown", "12%")
    run(*line, "--max-slowdown", "0.05", code=1)
    run(*line, "one")
    run(*line[:-1])  # without --ci nothing fails
    assert len(query(followed, Selection(names=["two"]))) == 7


def test_a_risen_perplexity_fails_the_build(followed: Path, tmp_path: Path) -> None:
    """Two days of one language model, whose text was read worse on the second."""
    store = tmp_path / "words.sqlite"
    whole = stored_profile(followed, 1)
    for day, after in ((1, 20.2), (2, 21.0)):
        quality = {
            "metric": "perplexity", "before": 20.0, "after": after, "increase": after / 20 - 1,
            "increase_ci95": [after / 20 - 1.004, after / 20 - 0.996], "samples": 64, "data_digest": "d" * 64,
        }  # fmt: skip
        words = dataclasses.replace(whole.candidates[0], quality=quality)
        created = f"2026-01-{day:02}T12:00:00+00:00"
        add_profile(
            store, dataclasses.replace(whole, created=created, candidates=[words], comparisons=[], noise=[])
        )
    line = ("compare", "--since", "2026-01-01", "--store", str(store), "--ci", "--max-slowdown", "90%")
    said = run(*line, code=1).stdout
    assert "3.96 % higher" in said
    assert "1 regressions" in said
    run(*line, "--max-perplexity-rise", "5%")


def test_json_mode_keeps_the_exit_code(
    followed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the entry point, which reads --json by itself."""
    line = ["compare", "--since", "2026-01-01", "--store", str(followed), "--ci", "--json"]
    monkeypatch.setattr(sys, "argv", ["paring", *line])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert json.loads(capsys.readouterr().out)["regressions"] == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["compare"], "--since for stored profiles"),
        (["compare", "p.json", "--ci"], "--ci needs --since"),
        (["compare", "p.json", "--junit", "j.xml"], "--junit needs --since"),
        (["compare", "--since", "7d", "--max-slowdown", "much"], "3% or 0.03"),
        (["history", "--case", "batch=many"], "batch=N"),
        (["history", "--label", "main"], "KEY=VALUE"),
        (["history", "--json", "--csv"], "not both"),
        (["history", "--report", "1"], "belong together"),
        (["profile", "m.onnx", "--store", "s", "--no-store"], "one of them"),
    ],
)
def test_bad_input_is_named(line: list[str], said: str) -> None:
    assert said in " ".join(run(*line, code=2).stderr.replace("│", " ").split())


def test_a_period_without_profiles_is_bad_input(followed: Path) -> None:
    done = CliRunner().invoke(app(), ["compare", "--since", "1h", "--store", str(followed), "--ci"])
    assert getattr(done.exception, "exit_code", None) == 2
