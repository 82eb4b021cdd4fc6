"""`paring load-test`: figures on the terminal, JSON, the report, and command lines that are wrong."""

import json

import pytest

pytest.importorskip("jinja2")

from typer.testing import CliRunner

from paring.cli import app
from paring.cli.load_test_command import seconds
from paring_profiles.load.result import LoadResult
from paring_profiles.records import decode
from paring_runtimes.errors import InputError

QUICK = ["--duration", "0s", "--queries", "70", "--threads", "1", "--starts", "0", "--energy", "none"]


def invoke(*arguments: object):
    return CliRunner().invoke(app(), ["load-test", *map(str, arguments)], catch_exceptions=False)


def test_it_shows_what_it_found_and_writes_the_report(convnet_artifact, tmp_path):
    server = ["-s", "server", "--qps", "150", "--latency-bound", "8ms"]
    done = invoke(convnet_artifact, *QUICK, "-s", "single_stream", *server, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    for words in ("convnet, single stream has its 90th percentile within", " queries, 459 needed", "p90 ≤"):
        assert words in done.stdout
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"load.html", "load.md", "load.json"}
    told = decode(LoadResult, json.loads((tmp_path / "out" / "load.json").read_text()))
    assert [run.scenario for run in told.runs] == ["single_stream", "server"]
    assert told.settings.latency_bound_ms == 8.0


def test_json_is_one_document(convnet_artifact):
    done = invoke(convnet_artifact, *QUICK, "-s", "offline", "--batch", "4", "--json")
    assert json.loads(done.stdout)["runs"][0]["calls"] == {"2": 1, "4": 17}


def test_the_schema_is_printed_without_an_artifact():
    assert json.loads(invoke("--schema").stdout)["title"] == "LoadResult"


def test_times_have_units():
    assert [seconds("--x", text) for text in ("15ms", "1.5 s", "2m", "250us")] == [0.015, 1.5, 120.0, 250e-6]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give at least one artifact"),
        (["m.onnx", "--duration", "10"], "a time with its unit"),
        (["m.onnx", "--latency-bound", "fast"], "a time with its unit"),
    ],
)
def test_a_wrong_command_line_is_told(arguments, words):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert words in " ".join(done.output.replace("│", " ").split())


def test_what_the_library_refuses_is_refused(convnet_artifact):
    for arguments, words in (
        (["-s", "sever"], "did you mean 'server'"),
        (["-s", "server"], "--qps"),
        (["--cpus", "a-b"], "such as 0-3,8"),
        (["--cpus", "4095"], "no CPU 4095 here"),
    ):
        with pytest.raises(InputError, match=words):
            invoke(convnet_artifact, *QUICK, *arguments)


def test_a_language_model_is_sent_to_profile(tmp_path):
    tiny_lm = pytest.importorskip("tiny_lm")
    artifact = tiny_lm.save_artifact(tmp_path / "lm")
    with pytest.raises(InputError, match="paring profile"):
        invoke(artifact, *QUICK)
