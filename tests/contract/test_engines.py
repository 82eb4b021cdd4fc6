"""Every engine that is found keeps the same promises."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import paring_runtimes.engines as package
from paring_runtimes.engines import Engine, Options, engines
from paring_runtimes.errors import EngineError, MissingExtraError

FOUND = engines()
FILES = {path.stem for path in Path(package.__file__).parent.glob("[!_]*.py")}


def test_every_file_is_an_engine() -> None:
    assert set(FOUND) == FILES
    assert list(FOUND) == sorted(FOUND)
    assert "onnxruntime" in FOUND


@pytest.fixture(params=sorted(FOUND))
def engine(request: pytest.FixtureRequest) -> Engine:
    return FOUND[request.param]


def test_it_is_named_after_its_file(engine: Engine) -> None:
    assert importlib.import_module(f"{package.__name__}.{engine.NAME}") is engine


def test_it_runs_formats_with_suffixes(engine: Engine) -> None:
    assert engine.FORMATS
    for name, suffix in engine.FORMATS.items():
        assert name == name.lower()
        assert suffix.startswith(".")


def test_no_two_engines_read_one_suffix_as_two_formats() -> None:
    pairs = {(s, name) for module in FOUND.values() for name, s in module.FORMATS.items()}
    assert len(pairs) == len({suffix for suffix, _ in pairs})


def test_its_module_imports_no_engine(engine: Engine) -> None:
    code = (
        "import sys, paring_runtimes\n"
        "before = set(sys.modules)\n"
        f"import {package.__name__}.{engine.NAME}\n"
        "print(*(set(sys.modules) - before))\n"
    )
    search = os.pathsep.join(path for path in sys.path if path)
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": search},
    )
    roots = {name.partition(".")[0] for name in ran.stdout.split()}
    assert roots - set(sys.stdlib_module_names) == {"paring_runtimes"}


def test_it_works_or_says_in_a_line_what_mends_it(engine: Engine) -> None:
    reason = engine.why_not()
    assert reason is None or ("\n" not in reason and reason.strip())


def test_it_refuses_what_is_no_model(engine: Engine, tmp_path: Path) -> None:
    for suffix in engine.FORMATS.values():
        path = tmp_path / f"garbage{suffix}"
        path.write_bytes(b"this is not a model" * 10)
        wanted = EngineError if engine.why_not() is None else (EngineError, MissingExtraError)
        with pytest.raises(wanted) as caught:
            engine.open_session(path, Options(threads=1))
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, MissingExtraError) or str(path) in str(caught.value)
