"""Libraries for other CPUs: names of targets, linkers, refusals, and the twin that answers in their place."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import paring
import paring_runtimes
from paring_exporters.formats import tvm as exporter
from paring_exporters.request import Exported, Request
from paring_exporters.tvm_graph import linking
from paring_exporters.tvm_graph.architectures import ALL, here
from paring_exporters.tvm_graph.cpus import facts_of, target_for
from paring_runtimes.engines.tvm import features_in, misfit
from paring_runtimes.errors import EngineError, ExportError

CHECK = Path(__file__).parents[3] / "tools" / "check" / "tvm_cross.py"
OTHERS = [one.machine for one in ALL if one.machine in ("aarch64", "riscv64") and one != here()]
X86 = pytest.mark.skipif(here().machine != "x86_64", reason="levels of x86-64 are of another machine")


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 4, 4), nn.Flatten(), nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 5)
    ).eval()


def compiled(target: str, folder: Path) -> Exported:
    folder.mkdir(exist_ok=True)
    return exporter.export(small(), Request(torch.randn(2, 3, 8, 8), target=target, threads=2), folder)


def need_linker(machine: str) -> None:
    architecture = next(one for one in ALL if one.machine == machine)
    try:
        linking.compiler_for(architecture)
    except ExportError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("name", "machine", "mcpu", "features"),
    [
        ("aarch64", "aarch64", "generic", []),
        ("aarch64+dotprod+i8mm", "aarch64", "generic", ["asimddp", "i8mm"]),
        ("cortex-a72", "aarch64", "cortex-a72", []),
        ("cortex-a76", "aarch64", "cortex-a76", ["asimddp", "asimdrdm", "atomics", "fphp", "lrcpc"]),
        ("riscv64", "riscv64", "generic-rv64", []),
        ("riscv64+v", "riscv64", "generic-rv64", ["v"]),
        ("x86_64", "x86_64", "x86-64", []),
    ],
)
def test_a_name_says_machine_and_what_the_cpu_must_have(
    name: str, machine: str, mcpu: str, features: list[str]
) -> None:
    assert facts_of(target_for(name, 3)) == {
        "machine": machine, "mcpu": mcpu, "features": features, "threads": 3
    }  # fmt: skip


@X86
def test_each_level_of_x86_asks_for_more_than_the_one_before() -> None:
    asked = [set(facts_of(target_for(f"x86-64-{level}", 1))["features"]) for level in ("v2", "v3", "v4")]
    assert set() < asked[0] < asked[1] < asked[2]
    assert "sse4_2" in asked[0]
    assert {"avx2", "fma"} <= asked[1] - asked[0]
    assert "avx512f" in asked[2] - asked[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cortex-a7600", r"no CPU 'cortex-a7600'.*cortex-a76.*host, portable, aarch64, riscv64"),
        ("aarch64+dotprot", r"aarch64 has no feature 'dotprot'.*dotprod"),
        ("riscv64+avx2", r"riscv64 has no feature 'avx2'.*known: v, zba"),
    ],
)
def test_what_is_no_target_is_told_what_would_be(name: str, said: str) -> None:
    with pytest.raises(ExportError, match=said):
        target_for(name, 1)


@pytest.mark.slow
@pytest.mark.parametrize("machine", OTHERS)
def test_a_library_for_another_machine_has_a_twin_that_answers(machine: str, tmp_path: Path) -> None:
    need_linker(machine)
    made = compiled(machine, tmp_path)
    assert made.entry.name == "model.so"
    assert made.facts["target"]["machine"] == machine
    assert f"compiled for {machine}" in made.facts["notes"][-1]
    with pytest.raises(EngineError, match=f"compiled for {machine}, and this machine is {here().machine}"):
        paring_runtimes.load(made.entry)
    assert made.runnable != made.entry
    pixels = torch.randn(3, 3, 8, 8)
    with paring_runtimes.load(made.runnable) as session, torch.inference_mode():
        found = session.run({"pixel_values": pixels.numpy()})["logits"]
        np.testing.assert_allclose(found, small()(pixels).numpy(), atol=1e-5)


def test_an_artifact_for_another_machine_is_verified_by_its_twin(factories: Path, tmp_path: Path) -> None:
    machine = OTHERS[0]
    need_linker(machine)
    made = paring.convert(
        f"py:{factories}:vit",
        tmp_path / "out",
        export={"format": "tvm", "threads": 2, "baseline": False, "target": machine},
        verify={"batch_sizes": [2], "seeds": [0]},
    )
    assert made.manifest.parity is not None
    assert made.manifest.parity["passed"]
    assert any("the library was not run" in note for note in made.notes)
    assert set(made.manifest.files) == {"model.so", "reference.npz"}
    assert not list((tmp_path / "out").glob("twin*"))


@X86
def test_a_level_above_this_cpu_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    names = ("x86-64-v4", "sapphirerapids", "graniterapids", "diamondrapids")
    above = next((name for name in names if misfit(facts_of(target_for(name, 1)))), None)
    if above is None:
        pytest.skip("this CPU has all that LLVM's newest one has")
    made = compiled(above, tmp_path)
    with pytest.raises(EngineError, match=f"compiled for {above}, and this CPU lacks .*export.target"):
        paring_runtimes.load(made.entry)
    with paring_runtimes.load(made.runnable) as session:
        assert session.run({"pixel_values": np.zeros((1, 3, 8, 8), np.float32)})["logits"].shape == (1, 5)


@X86
def test_a_level_of_this_cpu_needs_no_twin(tmp_path: Path) -> None:
    for name in ("x86-64-v2", "x86-64-v3"):
        if misfit(facts_of(target_for(name, 1))):
            pytest.skip(f"this CPU is below {name}")
        made = compiled(name, tmp_path / name)
        assert made.twin is None
        pixels = torch.randn(2, 3, 8, 8)
        with paring_runtimes.load(made.entry) as session, torch.inference_mode():
            found = session.run({"pixel_values": pixels.numpy()})["logits"]
            np.testing.assert_allclose(found, small()(pixels).numpy(), atol=1e-5)


def test_without_a_linker_the_commands_that_install_one_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = importlib.util.find_spec
    monkeypatch.setattr(
        linking.importlib.util, "find_spec", lambda name: None if name == "ziglang" else found(name)
    )
    with pytest.raises(
        ExportError, match=r"needs a C\+\+ compiler: pip install ziglang, or apt install g\+\+"
    ):
        compiled(OTHERS[0], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("machine", OTHERS)
def test_zig_links_what_gcc_is_not_there_for(
    machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("ziglang is not installed")
    which = shutil.which
    monkeypatch.setattr(linking.shutil, "which", lambda name: None if "-g++" in name else which(name))
    made = compiled(machine, tmp_path)
    with pytest.raises(EngineError, match=f"compiled for {machine}"):
        paring_runtimes.load(made.entry)


@pytest.mark.parametrize(
    ("text", "some", "none"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse4_2 avx2\n", {"sse4_2", "avx2"}, {"v"}),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", {"asimddp"}, {"i8mm"}),
        ("processor\t: 0\nisa\t\t: rv64imafdcv_zicsr_zba\nmmu\t\t: sv39\n", {"v", "c", "zba"}, {"zbb"}),
    ],
)
def test_features_are_read_as_each_system_lists_them(text: str, some: set[str], none: set[str]) -> None:
    found = features_in(text)
    assert found is not None
    assert some <= found
    assert not none & found


@pytest.mark.slow
def test_the_aarch64_library_answers_as_pytorch_under_qemu() -> None:
    specification = importlib.util.spec_from_file_location("tvm_cross", CHECK)
    assert specification is not None
    assert specification.loader is not None
    check = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(check)
    lacking = check.missing("aarch64")
    if lacking:
        pytest.skip(lacking)
    done = subprocess.run(
        [sys.executable, str(CHECK), "--form", "plain"], capture_output=True, text=True, check=False
    )
    if "pip download" in done.stderr:
        pytest.skip("AArch64's wheels of TVM cannot be fetched here")
    assert done.returncode == 0, done.stderr
    assert "aarch64 plain" in done.stdout
