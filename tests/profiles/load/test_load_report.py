"""A load test's report: every figure, the schema, refusals, names that would be markup, a browser."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from paring_profiles.load import LoadSettings
from paring_profiles.load.memory_watch import summarise as memory_of
from paring_profiles.load.result import (
    Artifact,
    LoadResult,
    LoadRun,
    MemoryPoint,
    Placement,
    Probe,
    Search,
    Start,
    Starts,
)
from paring_profiles.load.summary import summarise, verdict
from paring_profiles.load.timeline import Timeline
from paring_profiles.report.load import headline, load_schema, markdown, render, tables, to_json, write
from paring_profiles.result import Energy, Machine, MeterState

sys.path.insert(0, str(Path(__file__).parents[2]))
from browser import Browser

NAME = "vit <b>&small</b>"


def timeline(queries: int, seed: int = 0) -> Timeline:
    made = Timeline(queries)
    rng = np.random.default_rng(seed)
    made.schedule(np.sort(rng.uniform(0, 5, queries)))
    for number in range(queries):
        due = float(made.due[number])
        made.answer(number, 1, due + 0.001, due + 0.004 + float(rng.exponential(0.002)))
    made.seconds = float(made.done.max())
    return made


def run_of(scenario: str, queries: int, **more) -> LoadRun:
    made = timeline(queries)
    told = None if scenario == "offline" else summarise(made, 0)
    points = [MemoryPoint(t / 20, 10**8 + 10**5 * t, 9 * 10**7) for t in range(100)]
    return LoadRun(
        artifact=NAME,
        scenario=scenario,
        judged={"single_stream": 90.0, "offline": None}.get(scenario, 99.0),
        engine="onnxruntime 1.32.0",
        queries=queries,
        samples=queries,
        seconds=made.seconds,
        warmup_runs=10,
        qps=more.pop("qps", None),
        throughput_per_s=queries / made.seconds,
        throughput_ci95_per_s=(100.0, 250.0),
        latency=told,
        verdict=more.pop("verdict", None),
        search=more.pop("search", None),
        calls={"1": queries},
        memory=memory_of(points, made.done),
        placement=Placement([0, 1], [[0], [1]], 9, 0, "node 0 alone (libnuma)"),
        energies=more.pop("energies", []),
        meters=[MeterState("rapl", "package-0", None if more.pop("metered", False) else "no zones")],
        noise=more.pop("noise", []),
        method="perf_counter",
    )


def result_of(*runs: LoadRun) -> LoadResult:
    starts = Starts([], [Start(200.0, 80.0, 4.0), Start(210.0, 90.0, 5.0)], 1.0, "pages stay", "in turns")
    return LoadResult(
        created="2026-01-02T03:04:05+00:00",
        machine=Machine("A CPU", 2, 4, 1 << 33, "Linux", "CPython 3.11", 0.1, False),
        settings=LoadSettings(scenarios=tuple(dict.fromkeys(run.scenario for run in runs)), cpus=(0, 1)),
        tools={"onnxruntime": "1.32.0"},
        artifacts=[Artifact(NAME, "/models/vit", "0" * 64, 100, starts)],
        runs=list(runs),
        noise=["The load average was 9.0 on 2 cores before the measurement."],
    )


@pytest.fixture(scope="module")
def found() -> LoadResult:
    made = timeline(700)
    probes = [Probe(100.0, 700, 0, 1, 7.5, True, False), Probe(160.0, 9, 2, -1, 41.0, False, True)]
    energy = Energy(
        1, "rapl", 12.5, (12.0, 13.0), 20.0, {"package-0": 12.5}, [12.5] * 6, 5.0, (4.9, 5.1), 0.5, 700,
        "package-0", "a counter, while the load ran",
    )  # fmt: skip
    return result_of(
        run_of("single_stream", 70, noise=["Other processes used 1.20 cores during the timed part."]),
        run_of("multi_stream", 100),
        run_of(
            "server",
            700,
            qps=100.0,
            verdict=verdict(made, 0.99, 50.0, 5.0),
            search=Search(100.0, 160.0, probes),
            energies=[energy],
            metered=True,
        ),
        run_of("offline", 700),
    )


def test_what_was_found_is_said_first(found):
    assert headline(found).startswith(f"{NAME}, single stream has its 90th percentile within ")
    assert headline(found).endswith("ms, measured on A CPU.")
    said = tables.sentences(found)
    assert f"{NAME} answers up to 100 queries a second with the 99th percentile within 50 ms." in said
    assert any(line.startswith("Memory grows in ") for line in said)
    rows = {row[0]: row for row in tables.run_table(found).rows}
    assert rows[f"{NAME}, multi-stream"][-1] == "p99 refused: 100 of 662 queries"
    assert rows[f"{NAME}, server at 100/s"][-1] == "valid"
    assert rows[f"{NAME}, single stream"][-1].endswith("; noisy")
    assert rows[f"{NAME}, offline"][2:6] == ("–",) * 4


def test_a_bound_that_was_not_kept_says_why():
    made = timeline(700)
    told = verdict(made, 0.99, 5.0, 5.0)
    said = headline(result_of(run_of("server", 700, qps=100.0, verdict=told)))
    assert f"does not keep its 99th percentile within 5 ms ({told.over} of 700 queries took longer" in said
    lost = run_of("server", 700, qps=1.0, verdict=told, search=Search(None, 1.0, []))
    assert "no rate that was tried keeps the 99th percentile within 5 ms" in headline(result_of(lost))


def test_every_format_tells_the_same(found, tmp_path):
    paths = write(found, tmp_path / "out")
    page, words = paths.html.read_text(), paths.markdown.read_text()
    for said in ("p99 refused: 100 of 662 queries", "not measured: pages stay", "12.5 (12.0 to 13.0)"):
        assert said in page
        assert said in words
    assert "<b>&small" not in page, "names are escaped"
    assert page.count("<svg ") == 3 * 3 + 1 + 1 + 1  # tails, time, memory; rates; offline's memory; starts
    assert "9.0 on 2 cores" in words
    assert json.loads(paths.json.read_text())["runs"][2]["verdict"]["valid"] is True


def test_the_json_fits_the_published_schema(found):
    schema = load_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    told = json.loads(to_json(found))
    jsonschema.validate(told, schema)
    told["runs"][0]["latency"]["percentiles"][0]["value_ms"] = "fast"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(told, schema)


def test_without_noise_nothing_is_called_noisy(found):
    quiet = replace(found, noise=[], runs=[replace(found.runs[3], noise=[])])
    assert "Noisy" not in render(quiet)
    assert "noisy" not in markdown(quiet)


@pytest.mark.timeout(180)
def test_the_page_in_a_browser_asks_for_nothing_and_fits_a_phone(found, tmp_path):
    page = write(replace(found, runs=found.runs[2:3]), tmp_path / "out").html.as_uri()
    browser = Browser(tmp_path / "chromium")
    try:
        browser.open(page, width=390, height=800)
        assert [url for url in browser.requests() if url != page] == []
        assert browser.complaints() == []
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    finally:
        browser.close()
