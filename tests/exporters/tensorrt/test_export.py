"""From a module to a kit; the kit without a GPU; a real build by TensorRT for RTX, which needs none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from models import build
from torch import nn

import paring
import paring_runtimes
from paring.transforms import token_merge, token_prune
from paring_exporters.formats.tensorrt import export
from paring_exporters.request import Request
from paring_exporters.tensorrt.builder import BuildError, build_engine
from paring_exporters.tensorrt.lint import lint
from paring_exporters.tensorrt.options import BuildOptions
from paring_exporters.tensorrt.profiles import profiles, ranked, schedule
from paring_exporters.tensorrt.trtexec import command
from paring_runtimes import TensorSpec
from paring_runtimes.cuda.driver import why_no_gpu
from paring_runtimes.errors import EngineError, ExportError
from paring_runtimes.tensorrt.plan import plan_facts, plan_version

no_gpu = pytest.mark.skipif(why_no_gpu() is None, reason="there is a GPU here")
SPEC = TensorSpec("pixel_values", "float32", ("batch", 3, 32, 32))
ANY = BuildOptions(library="tensorrt_rtx", batches=((1, 2, 4),))


@pytest.fixture(scope="module")
def pruned() -> nn.Module:
    torch.manual_seed(0)
    return token_prune.apply(build("timm ViT", depth=3), token_prune.Config(keep_ratio=0.6)).eval()


@pytest.fixture(scope="module")
def kit(pruned: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kit")
    found = export(pruned, Request(torch.randn(2, 3, 32, 32), tensorrt=BuildOptions(release="10.16")), folder)
    assert found.entry == folder / "model.onnx"
    assert found.format == "onnx"
    return folder


@no_gpu
def test_without_a_gpu_it_says_that_no_engine_is_built(pruned: nn.Module, tmp_path: Path) -> None:
    found = export(pruned, Request(torch.randn(2, 3, 32, 32)), tmp_path)
    assert found.facts["tensorrt"]["engine"].startswith("not built: ")
    assert "engine is not built" in found.facts["notes"][0]
    assert not list(tmp_path.rglob("*.plan"))


def test_the_plan_is_whole(kit: Path) -> None:
    plan = json.loads((kit / "tensorrt" / "plan.json").read_text())
    assert [one["pixel_values"]["max"] for one in plan["profiles"]] == [[1, 3, 32, 32], [32, 3, 32, 32]]
    assert plan["schedule"][1] == {"min": [64, 40], "opt": [64, 40], "max": [64, 40]}
    assert plan["lint"] == []
    line = (kit / "tensorrt" / "trtexec.txt").read_text()
    assert line.startswith("trtexec --onnx=model.onnx --saveEngine=engine.plan")
    assert "--stronglyTyped" in line


def test_the_stored_outputs_are_what_the_onnx_file_computes(kit: Path) -> None:
    session = onnxruntime.InferenceSession(kit / "model.onnx")
    with np.load(kit / "tensorrt" / "samples.npz") as stored:
        calls = {key.partition("/")[0] for key in stored.files}
        assert {stored[f"{call}/pixel_values"].shape[0] for call in calls} == {1, 3}
        for call in calls:
            (found,) = session.run(None, {"pixel_values": stored[f"{call}/pixel_values"]})
            np.testing.assert_allclose(found, stored[f"{call}/logits"], atol=1e-5, rtol=1e-4)


def run_kit(kit: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The kit, unpacked into an empty folder, by an interpreter that knows nothing of this repository."""
    unpacked = folder / "unpacked"
    shutil.copytree(kit, unpacked)
    command = [sys.executable, "tensorrt/build.py", "--out", str(folder / "engine"), *arguments]
    return subprocess.run(command, cwd=unpacked, capture_output=True, text=True, env={}, check=False)


@no_gpu
def test_a_kit_without_a_driver_stops_and_writes_nothing(kit: Path, tmp_path: Path) -> None:
    done = run_kit(kit, tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("error: the engine is not built: no NVIDIA driver here (libcuda.so.1)")
    assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"unpacked"}
    before, after = (sorted(p.relative_to(f) for p in f.rglob("*")) for f in (kit, tmp_path / "unpacked"))
    assert before == after


def test_an_artifact_of_the_kit_opens_as_onnx(tmp_path: Path, factories: Path) -> None:
    done = paring.convert(
        f"py:{factories}:vit", tmp_path / "out", transforms=[{"token_prune": {"keep_ratio": 0.7}}],
        export={"format": "tensorrt", "baseline": False, "tensorrt": {"batches": [[1, 4, 8]]}},
        verify={"batch_sizes": [1, 2], "seeds": [0]},
    )  # fmt: skip
    assert done.manifest.recipe["export"]["tensorrt"]["batches"] == [[1, 4, 8]]
    name = done.manifest.inputs[0].name
    assert done.manifest.export["tensorrt"]["profiles"][0][name]["opt"][0] == 4
    if why_no_gpu() is not None:
        assert done.manifest.format == "onnx"
        assert any("engine is not built" in note for note in done.notes)
        with paring_runtimes.load(done.artifact) as session:
            (found,) = session.run({name: np.zeros((2, 1, 28, 28), np.float32)}).values()
            assert found.shape == (2, 10)


def test_what_the_release_does_not_take_is_refused(tmp_path: Path) -> None:
    class Inverse(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.linalg.det(pixels)

    with pytest.raises(ExportError, match=r"TensorRT 11 does not take this model: error: .*Det.*determinant"):
        export(Inverse(), Request(torch.randn(2, 3, 4, 4), output_names=("d",)), tmp_path)


def test_profiles_follow_the_ranges() -> None:
    example = (2, 3, 32, 32)
    assert profiles(SPEC, example, (), 4, BuildOptions()) == []
    both = BuildOptions(batches=((1, 1, 1), (1, 4, 8)), sizes=((16, 32, 64),))
    found = profiles(SPEC, example, ("batch", "image_size"), 4, both)
    assert [one["pixel_values"] for one in found] == [
        {"min": [1, 3, 16, 16], "opt": [1, 3, 32, 32], "max": [1, 3, 64, 64]},
        {"min": [1, 3, 16, 16], "opt": [4, 3, 32, 32], "max": [8, 3, 64, 64]},
    ]
    for wrong, said in [
        (BuildOptions(sizes=((16, 32, 64),)), "image_size is fixed"),
        (BuildOptions(batches=((4, 2, 8),)), "not smallest, best, largest"),
    ]:
        with pytest.raises(ExportError, match=said):
            profiles(SPEC, example, ("batch",), 4, wrong)
    with pytest.raises(ExportError, match="18 is no multiple of 4"):
        profiles(SPEC, example, ("image_size",), 4, BuildOptions(sizes=((16, 18, 32),)))


def test_the_token_schedule_bounds_the_image(pruned: nn.Module, tmp_path: Path) -> None:
    """Prunes over a grid that is known only from the image: 3839 tokens is the most that TopK ranks."""

    class Sorts(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.mean(1).flatten(1).sort(dim=1, descending=True).values[:, :4]

    request = Request(torch.randn(2, 3, 32, 32), dynamic=("image_size",), output_names=("best",))
    wide = BuildOptions(sizes=((32, 32, 64),))
    with pytest.raises(ExportError, match="images of 64x64 give 4096 tokens to rank"):
        export(Sorts(), Request(**{**vars(request), "tensorrt": wide}), tmp_path)
    graph = onnx.load(tmp_path / "model.onnx")
    assert ranked(graph, {"pixel_values": [2, 3, 48, 48]}) == [2304]
    good = profiles(SPEC, (2, 3, 32, 32), ("image_size",), 1, BuildOptions(sizes=((16, 32, 60),)))
    assert schedule(graph, good) == [{"min": [256], "opt": [1024], "max": [3600]}]


def test_the_command_says_what_the_builder_does() -> None:
    options = BuildOptions(
        release="10.9", workspace_mib=512, tf32=True, version_compatible=True, lean_runtime=False,
        hardware="ampere_plus", refit="all", strip=True, weight_streaming=True, builder_level=5,
    )  # fmt: skip
    (one,) = profiles(SPEC, (1, 3, 32, 32), ("batch",), 4, BuildOptions(batches=((1, 2, 4),)))
    words = command("m.onnx", "e.plan", [one], asdict(options), "t.cache").split()
    assert words[0] == "trtexec"
    assert {
        "--onnx=m.onnx", "--saveEngine=e.plan", "--timingCacheFile=t.cache", "--builderOptimizationLevel=5",
        "--optShapes=pixel_values:2x3x32x32", "--memPoolSize=workspace:512M", "--versionCompatible",
        "--excludeLeanRuntime", "--hardwareCompatibilityLevel=ampere+", "--refit", "--stripWeights",
        "--allowWeightStreaming", "--stronglyTyped",
    } <= set(words)  # fmt: skip
    assert "--noTF32" not in words


# What follows needs TensorRT for RTX, whose parser and builder run without a GPU.


@pytest.fixture(scope="module")
def rtx() -> object:
    return pytest.importorskip("tensorrt_rtx")


@pytest.mark.parametrize("step", ["prune", "merge"])
def test_a_real_builder_builds_what_the_transforms_write(rtx: object, step: str, tmp_path: Path) -> None:
    model = build("timm ViT", depth=2)
    config = {"prune": token_prune.Config(keep_ratio=0.6), "merge": token_merge.Config(r=5)}[step]
    model = {"prune": token_prune, "merge": token_merge}[step].apply(model, config)
    found = export(model, Request(torch.randn(2, 3, 32, 32), tensorrt=ANY), tmp_path)
    assert found.facts["tensorrt"]["engine"].startswith("built by tensorrt_rtx")
    plan = next(tmp_path.rglob("engine.plan"))
    family, version = plan_version(plan)
    assert family == "tensorrt_rtx"
    assert ".".join(map(str, version)) == rtx.__version__
    assert plan_facts(plan).dimensions == {
        "pixel_values": ["batch", "3", "32", "32"], "logits": ["batch", "7"],
    }  # fmt: skip
    if why_no_gpu() is not None:
        assert found.format == "onnx"
        assert "neither run nor verified" in found.facts["notes"][0]
        with pytest.raises(EngineError, match="NVIDIA"):
            paring_runtimes.load(plan)


def test_what_the_builder_refuses_is_told_in_its_words(rtx: object, kit: Path, tmp_path: Path) -> None:
    good = json.loads((kit / "tensorrt" / "plan.json").read_text())["profiles"]
    options = asdict(BuildOptions(library="tensorrt_rtx"))
    with pytest.raises(BuildError, match="no optimization profile"):
        build_engine(rtx, kit / "model.onnx", [], options)
    wrong = {"pixel_values": {"min": [1, 3, 8, 8], "opt": [1, 3, 8, 8], "max": [1, 3, 8, 8]}}
    with pytest.raises(BuildError):
        build_engine(rtx, kit / "model.onnx", [wrong], options)
    model = onnx.load(kit / "model.onnx")
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, tmp_path / "bad.onnx")
    with pytest.raises(BuildError, match=r"bad\.onnx: node_Shape_0: .*Plugin not found"):
        build_engine(rtx, tmp_path / "bad.onnx", good, options)


def test_the_lint_and_a_real_parser_know_the_same_operators(rtx: object) -> None:
    from paring_exporters.tensorrt.support import support

    log = rtx.Logger(rtx.Logger.ERROR)
    builder = rtx.Builder(log)
    network = builder.create_network()
    parser = rtx.OnnxParser(network, log)
    said = {name: parser.supports_operator(name) for name in support("11").operators}
    differing = {name for name, taken in support("11").operators.items() if said[name] != (taken is not None)}
    # Runs by a plugin, which RTX has not.
    assert differing == {"DeformConv"}
    assert lint(onnx.ModelProto(), "11").release == "11"
