"""`paring needle` prints the maps, writes the report, and needs no PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("jinja2")

import tiny_lm
from typer.testing import CliRunner

from paring.cli import app

QUICK = ["--lengths", "260,400", "--depths", "0.5", "--threads", "1"]
_WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from paring.cli import app
app()(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_lm, "POSITIONS", 512)
        return tiny_lm.save_artifact(tmp_path_factory.mktemp("cli") / "lm", filter_k=60)


def test_it_shows_maps_and_writes_the_report(artifact: Path, tmp_path: Path) -> None:
    prose = tmp_path / "prose.txt"
    prose.write_text("Rain fell on the hills. " * 40, encoding="utf-8")
    arguments = [
        "needle",
        str(artifact),
        *QUICK,
        "--reduce",
        "2,4",
        "--text",
        str(prose),
        "-o",
        tmp_path / "out",
    ]
    done = CliRunner().invoke(app(), [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    for words in ("whole prompt", "1/2 of the prompt", "1/4 of the prompt", "quality and prefill"):
        assert words in done.stdout
    told = json.loads((tmp_path / "out" / "needle.json").read_text(encoding="utf-8"))
    assert told["text"] == str(prose)
    assert [one["read_tokens"] for one in told["readings"]] == [236, 118, 59, 376, 188, 94]
    assert (tmp_path / "out" / "needle.html").is_file()
    assert (tmp_path / "out" / "needle.md").is_file()


def test_it_needs_no_pytorch(artifact: Path) -> None:
    arguments = ["needle", str(artifact), *QUICK, "--needles", "2", "--score", "choice", "--json"]
    ran = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCH, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["settings"]["needles"] == 2
    assert len(told["readings"]) == 4
    assert {len(one["expected"]) for one in told["readings"]} == {2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lengths", "many"], "lengths: expected whole numbers between commas, given 'many'"),
        (["--lengths", "100.5"], "lengths: expected whole numbers"),
        (["--depths", "deep"], "depths: expected numbers from 0 to 1"),
        (["--reduce", "1"], "reductions"),
        (["--text", "/none"], "no such file or folder"),
    ],
)
def test_what_cannot_be_meant_is_refused(artifact: Path, options: list[str], message: str) -> None:
    done = CliRunner().invoke(app(), ["needle", str(artifact), *QUICK, *options])
    assert message in str(done.exception)
