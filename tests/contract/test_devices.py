"""Every device that is found keeps the same promises."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import paring_profiles.devices as package
from paring_profiles.devices import devices

FOUND = devices()
ENGINES = {"onnxruntime", "torch", "tensorrt", "tvm"}


@pytest.fixture(params=sorted(FOUND))
def device(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"{package.__name__}.{request.param}")


def test_every_file_is_a_device() -> None:
    assert set(FOUND) == {path.stem for path in Path(package.__file__).parent.glob("[!_]*.py")}
    assert list(FOUND) == sorted(FOUND)
    assert FOUND["cpu"] is None


def test_it_says_what_it_is(device: ModuleType) -> None:
    assert device.__doc__
    assert device.__doc__.splitlines()[0].endswith(".")


def test_it_works_or_says_in_a_line_what_mends_it(device: ModuleType) -> None:
    reason = device.why_not()
    assert reason == FOUND[device.__name__.rpartition(".")[2]]
    assert reason is None or ("\n" not in reason and reason.strip())


def test_no_module_imports_an_engine() -> None:
    lines = [f"import {package.__name__}.{name}" for name in FOUND]
    code = "\n".join([*lines, "import sys", "print(*sys.modules)"])
    search = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": search}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert not ENGINES & set(ran.stdout.split())
