"""What is known of a plan before it is loaded, and which library runs it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

import paring_runtimes
from paring_runtimes.cuda.driver import why_no_gpu
from paring_runtimes.engines import Options
from paring_runtimes.engines import tensorrt as engine
from paring_runtimes.errors import EngineError, InputError, MissingExtraError
from paring_runtimes.tensorrt import library
from paring_runtimes.tensorrt.plan import PlanFacts, plan_facts, plan_version
from paring_runtimes.tensorrt.profiles import fitting

ANY = PlanFacts(version_compatible=True)


def plan(folder: Path, version: tuple[int, ...] = (11, 4, 0, 106), tag: bytes = b"ftrt") -> Path:
    """A file that begins as a plan does."""
    file = folder / "engine.plan"
    file.write_bytes(tag + struct.pack("<5I", 0, 2, 0, 9, 0) + bytes(version) + bytes(40))
    return file


def test_the_header_tells_library_and_version(tmp_path: Path) -> None:
    assert plan_version(plan(tmp_path, (10, 9, 0, 34))) == ("tensorrt", (10, 9, 0, 34))
    assert plan_version(plan(tmp_path, (1, 7, 1, 116), b"vtrt"))[0] == "tensorrt_rtx"
    (tmp_path / "short.plan").write_bytes(b"ftrt")
    for bad in ("short.plan", "none.plan"):
        with pytest.raises(EngineError, match=bad):
            plan_version(tmp_path / bad)


def test_the_facts_beside_a_plan(tmp_path: Path) -> None:
    file = plan(tmp_path)
    assert plan_facts(file) == PlanFacts()
    beside = file.with_suffix(".json")
    beside.write_text(
        json.dumps({"version_compatible": True, "stripped": "model.onnx", "built_by": "someone"})
    )
    assert plan_facts(file) == PlanFacts(version_compatible=True, stripped="model.onnx")
    beside.write_text("[")
    with pytest.raises(EngineError, match=r"engine\.json"):
        plan_facts(file)


@pytest.mark.parametrize(
    ("name", "here", "built", "facts", "runs"),
    [
        ("tensorrt", (11, 4, 0, 106), (11, 4, 0, 106), PlanFacts(), True),
        ("tensorrt", (11, 4, 0, 106), (11, 3, 0, 99), PlanFacts(), False),
        ("tensorrt", (11, 4, 0, 106), (11, 3, 0, 99), ANY, True),
        ("tensorrt", (11, 3, 0, 99), (11, 4, 0, 106), ANY, False),
        ("tensorrt", (11, 4, 0, 106), (10, 9, 0, 34), ANY, False),
        ("tensorrt_lean", (11, 4, 0, 106), (11, 4, 0, 106), PlanFacts(), False),
        ("tensorrt_lean", (11, 4, 0, 106), (11, 1, 0, 106), ANY, True),
        ("tensorrt_rtx", (1, 7, 1, 116), (1, 7, 1, 116), PlanFacts(), True),
        ("tensorrt_rtx", (1, 7, 1, 116), (1, 6, 1, 120), PlanFacts(), False),
    ],
)
def test_which_release_runs_what(
    name: str, here: tuple[int, ...], built: tuple[int, ...], facts: PlanFacts, runs: bool
) -> None:
    assert library.runs(name, here, built, facts) is runs


def test_versions_as_numbers() -> None:
    assert library.numbers("10.13.3.9.post1") == (10, 13, 3, 9)
    assert library.numbers("11.4.0.106+cu12") == (11, 4, 0, 106)


def test_another_version_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_lean")
    file = plan(tmp_path, (9, 1, 0, 4))
    with pytest.raises(
        EngineError, match=r"built with TensorRT 9\.1\.0\.4, and tensorrt_lean 1\S+ is installed"
    ):
        engine.open_session(file, Options())


def test_a_library_that_is_not_here_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"paring\[tensorrt\]"):
        paring_runtimes.load(plan(tmp_path))
    assert "paring[tensorrt]" in (engine.why_not() or "")


@pytest.mark.skipif(why_no_gpu() is None, reason="there is a GPU here")
def test_without_a_driver_it_is_one_line(tmp_path: Path) -> None:
    """The real lean runtime is imported; made without a driver, it would end the process."""
    lean = pytest.importorskip("tensorrt_lean")
    file = plan(tmp_path, library.numbers(lean.__version__))
    file.with_suffix(".json").write_text(json.dumps({"version_compatible": True}))
    with pytest.raises(EngineError, match="NVIDIA") as refused:
        paring_runtimes.load(file)
    assert "\n" not in str(refused.value)
    assert str(file) in str(refused.value)


def test_settings_are_checked(tmp_path: Path) -> None:
    file = plan(tmp_path)
    for settings, said in [
        ({"contxts": 2}, "did you mean 'contexts'"),
        ({"contexts": 0}, "from 1"),
        ({"device": "0"}, "whole number"),
        ({"graphs": 1}, "true or false"),
        ({"library": "onnxruntime"}, "tensorrt_lean"),
    ]:
        with pytest.raises(InputError, match=said):
            engine.open_session(file, Options(provider_options={"cuda": settings}))
    with pytest.raises(InputError, match="available: cuda"):
        engine.open_session(file, Options(providers=("cpu",)))


PROFILES = [
    {"x": ((1, 3, 8, 8),) * 3},
    {"x": ((1, 3, 8, 8), (8, 3, 8, 8), (32, 3, 8, 8))},
]


def test_the_nearest_profile_is_used() -> None:
    assert fitting(PROFILES, {"x": (1, 3, 8, 8)}) == 0
    assert fitting(PROFILES, {"x": (5, 3, 8, 8)}) == 1
    with pytest.raises(
        InputError, match=r"\[33, 3, 8, 8\] is outside .* or \[1, 3, 8, 8\] to \[32, 3, 8, 8\]"
    ):
        fitting(PROFILES, {"x": (33, 3, 8, 8)})
