"""Engine tvm: threads, refusals, no PyTorch; and the same library from C++."""

from __future__ import annotations

import _json
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm", reason="paring[tvm] is not installed")

import paring_runtimes
from paring_runtimes.engines import tvm as engine
from paring_runtimes.errors import EngineError, InputError, MissingExtraError

EXAMPLE = Path(__file__).parents[2] / "runtimes" / "examples" / "tvm_cpp"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled model: [batch, 3, 8, 8] -> [batch, 5]."""
    import torch
    from torch import nn

    from paring_exporters.formats import tvm
    from paring_exporters.request import Request

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Flatten(), nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 5))
    return tvm.export(model, Request(torch.randn(2, 3, 8, 8)), tmp_path_factory.mktemp("tvm")).entry


def pixels(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).standard_normal((batch, 3, 8, 8)).astype(np.float32)


def test_it_runs_without_pytorch(library: Path) -> None:
    code = (
        "import sys, numpy as np, paring_runtimes\n"
        f"with paring_runtimes.load({str(library)!r}, threads=2) as session:\n"
        "    session.run({'pixel_values': np.zeros((1, 3, 8, 8), np.float32)})\n"
        "assert 'torch' not in sys.modules and 'tvm' not in sys.modules, 'imported'\n"
    )
    search = os.pathsep.join(path for path in sys.path if path)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": search})


def test_batches_threads_and_buffers_agree(library: Path) -> None:
    with paring_runtimes.load(library, threads=1) as one, paring_runtimes.load(library, threads=2) as two:
        expected = [one.run({"pixel_values": pixels(batch)})["logits"] for batch in (1, 2, 7)]
        for batch, value in zip((1, 2, 7), expected, strict=True):
            assert value.shape == (batch, 5)
            np.testing.assert_array_equal(two.run({"pixel_values": pixels(batch)})["logits"], value)
        with ThreadPoolExecutor(4) as pool:
            many = pool.map(lambda _: two.run({"pixel_values": pixels(7)})["logits"], range(12))
            assert all(np.array_equal(value, expected[-1]) for value in many)
        bound = two.bind({"pixel_values": pixels(2)})
        np.testing.assert_array_equal(bound.run()["logits"], expected[1])


def test_a_batch_that_is_too_large_is_told_the_largest(library: Path) -> None:
    with paring_runtimes.load(library, threads=1) as session:
        assert session.run({"pixel_values": pixels(4096)})["logits"].shape == (4096, 5)
        with pytest.raises(InputError, match="batch of 4097 was given, and the library takes at most 4096"):
            session.run({"pixel_values": pixels(4097)})
        with pytest.raises(InputError, match="expected shape"):
            session.run({"pixel_values": pixels(1)[0]})


def test_a_run_leaves_the_environment_as_it_was(library: Path) -> None:
    before = dict(os.environ)
    with paring_runtimes.load(library, threads=2) as session:
        session.run({"pixel_values": pixels(1)})
    assert dict(os.environ) == before


def test_a_cpu_without_the_features_is_refused(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "cpu_features", lambda: frozenset({"fpu"}))
    needed = engine._facts(library)["target"]["features"]
    if not needed:
        pytest.skip("this machine's CPU has no optional features")
    with pytest.raises(EngineError, match=f"lacks .*{needed[0]}.*export.target=portable"):
        paring_runtimes.load(library)


def test_another_machine_is_refused(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.platform, "machine", lambda: "riscv64")
    with pytest.raises(EngineError, match="this machine is riscv64"):
        paring_runtimes.load(library)


def test_without_the_package_the_command_is_named(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'paring[tvm]'" in str(engine.why_not())
    with pytest.raises(MissingExtraError, match=r"pip install 'paring\[tvm\]'"):
        paring_runtimes.load(library)


def test_settings_that_it_has_not_are_refused(library: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="available: cpu"):
        paring_runtimes.load(library, providers=["cuda"])
    with pytest.raises(InputError, match="profile_to"):
        paring_runtimes.load(library, profile_to=tmp_path / "profile")


def test_a_library_that_is_no_model_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.so"
    shutil.copy(_json.__file__, other)
    with pytest.raises(EngineError, match="not a model that paring compiled"):
        paring_runtimes.load(other)


def test_it_runs_from_cpp(library: Path, tmp_path: Path) -> None:
    if shutil.which("g++") is None or shutil.which("make") is None:
        pytest.skip("no g++ or make on this machine")
    if not Path(sysconfig.get_paths()["purelib"], "tvm_ffi", "include").is_dir():
        pytest.skip("TVM's headers are not in this Python's site-packages")
    folder = shutil.copytree(EXAMPLE, tmp_path / "example")
    subprocess.run(["make", "-s", f"PYTHON={sys.executable}"], cwd=folder, check=True)
    ran = subprocess.run(
        [folder / "run_model", library, "1", "3", "8", "8"], capture_output=True, text=True, check=True
    )
    facts, took, *numbers = ran.stdout.splitlines()
    assert json.loads(facts)["outputs"][0]["name"] == "logits"
    assert float(took.split()[1]) > 0
    ramp = (np.arange(192) % 17 / np.float32(17) - np.float32(0.5)).astype(np.float32).reshape(1, 3, 8, 8)
    with paring_runtimes.load(library) as session:
        expected = session.run({"pixel_values": ramp})["logits"][0]
    np.testing.assert_allclose([float(one) for one in numbers], expected, atol=2e-6)
    failed = subprocess.run([folder / "run_model", tmp_path / "none.so", "1"], capture_output=True, text=True)
    assert failed.returncode == 1
    assert "none.so" in failed.stderr
