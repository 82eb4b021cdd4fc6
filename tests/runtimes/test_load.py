"""What `load` opens, what it refuses, and what it says."""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from paring_runtimes import (
    ArtifactError,
    EngineError,
    InputError,
    IntegrityError,
    MissingExtraError,
    TensorSpec,
    load,
    read_manifest,
)
from paring_runtimes.artifact import hash_files, write_manifest
from paring_runtimes.engines import onnxruntime as engine


def test_an_artifact_knows_its_manifest(artifact: Path) -> None:
    with load(artifact, threads=1) as session:
        assert session.manifest == read_manifest(artifact)
        assert session.inputs == session.manifest.inputs
        assert session.outputs == session.manifest.outputs
        assert session.engine.startswith("onnxruntime 1.")
        assert session.providers == ("CPUExecutionProvider",)


def test_a_bare_file_tells_its_own_specs(model: Path) -> None:
    with load(str(model), threads=1) as session:
        assert session.manifest is None
        assert session.inputs[0] == TensorSpec("tokens", "float32", ("batch", "count", 3))
        assert [spec.name for spec in session.outputs] == ["scores", "doubled"]


def test_nameless_dimensions_get_a_name_of_their_own(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.INT64, [None, 2]) for name in ("a", "b")]
    out = helper.make_tensor_value_info("c", TensorProto.INT64, [None, 2])
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "g", values, [out])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "m.onnx")
    with load(tmp_path / "m.onnx", threads=1) as session:
        assert session.inputs[0] == TensorSpec("a", "int64", ("a_dim_0", 2))
        feeds = {"a": np.ones((3, 2), np.int64), "b": np.ones((1, 2), np.int64)}
        assert session.run(feeds)["c"].shape == (3, 2)


def test_tampered_bytes_are_refused_unless_trusted(artifact: Path, model: Path) -> None:
    manifest = read_manifest(artifact)
    wrong = dataclasses.replace(manifest, files={"model.onnx": "0" * 64})
    write_manifest(artifact, wrong)
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        load(artifact)
    load(artifact, verify=False, threads=1).close()


@pytest.mark.parametrize("keep", [0, 10, -20])
def test_a_truncated_model_is_one_clear_line(model: Path, keep: int) -> None:
    data = model.read_bytes()
    model.write_bytes(data[:keep])
    with pytest.raises(EngineError, match=r"tiny\.onnx: not a whole ONNX file") as caught:
        load(model)
    assert "\n" not in str(caught.value)


def test_an_unknown_operator_is_one_clear_line(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("a", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("b", TensorProto.FLOAT, [1])
    node = helper.make_node("Frobnicate", ["a"], ["b"])
    graph = helper.make_graph([node], "g", [value], [out])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(EngineError, match=r"m\.onnx: .*Frobnicate"):
        load(tmp_path / "m.onnx")


@pytest.mark.parametrize("case", ["nothing", "nothing.onnx", "model.pt", "folder", "folder.onnx"])
def test_what_is_no_artifact_is_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / case
    if case.startswith("folder"):
        path.mkdir()
    elif case == "model.pt":
        path.write_bytes(b"pickle")
    said = "not an artifact" if path.exists() else "no such file"
    with pytest.raises(ArtifactError, match=said):
        load(path)


def test_a_manifest_of_another_model_is_refused(artifact: Path) -> None:
    manifest = read_manifest(artifact)
    renamed = (dataclasses.replace(manifest.inputs[0], name="pixels"), manifest.inputs[1])
    write_manifest(artifact, dataclasses.replace(manifest, inputs=renamed))
    with pytest.raises(ArtifactError, match="inputs: names"):
        load(artifact)
    for change in ({"dtype": "float16"}, {"shape": ("batch", "count", 4)}, {"shape": ("batch", 3)}):
        wrong = (dataclasses.replace(manifest.inputs[0], **change), manifest.inputs[1])
        write_manifest(artifact, dataclasses.replace(manifest, inputs=wrong))
        with pytest.raises(ArtifactError, match="'tokens' is told as"):
            load(artifact)


def test_a_format_without_an_engine_is_refused(artifact: Path) -> None:
    write_manifest(artifact, dataclasses.replace(read_manifest(artifact), format="abacus"))
    with pytest.raises(EngineError, match="no engine runs the format 'abacus'"):
        load(artifact)
    with pytest.raises(EngineError, match="'onnxruntime' runs onnx, and this artifact is abacus"):
        load(artifact, engine="onnxruntime")
    with pytest.raises(EngineError, match="did you mean 'onnxruntime'"):
        load(artifact, engine="onnxruntme")


def test_an_artifact_cannot_open_what_lies_outside(artifact: Path, model: Path) -> None:
    path = artifact / "manifest.json"
    data = json.loads(path.read_text())
    data["entry"] = "../tiny.onnx"
    path.write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match="entry"):
        load(artifact, verify=False)


def test_external_weights_are_read_and_verified(artifact: Path) -> None:
    onnx.save(
        onnx.load(artifact / "model.onnx"),
        artifact / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )
    manifest = dataclasses.replace(read_manifest(artifact), files=hash_files(artifact))
    assert sorted(manifest.files) == ["model.onnx", "model.onnx.data"]
    write_manifest(artifact, manifest)
    load(artifact, threads=1).close()
    weights = artifact / "model.onnx.data"
    weights.write_bytes(bytes(weights.stat().st_size))
    with pytest.raises(IntegrityError, match=r"model\.onnx\.data"):
        load(artifact)


def test_providers_are_found_by_short_names_or_refused(model: Path) -> None:
    for name in ("cpu", "CPUExecutionProvider", ["CPU"]):
        assert load(model, providers=name, threads=1).providers == ("CPUExecutionProvider",)
    with pytest.raises(InputError, match=r"no 'NoSuch' here.*available: .*CPUExecutionProvider"):
        load(model, providers=["NoSuch"])
    with pytest.raises(InputError, match="'NoSuch'"):
        load(model, provider_options={"NoSuch": {}})


def test_a_provider_that_does_not_start_is_an_error() -> None:
    asked = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    with pytest.raises(EngineError, match="CUDAExecutionProvider did not start"):
        engine._check_started(Path("m.onnx"), asked, ["CPUExecutionProvider"])


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads_are_checked(model: Path, threads: object) -> None:
    with pytest.raises(InputError, match="threads: expected"):
        load(model, threads=threads)


def test_profiles_are_written_on_demand(model: Path, tmp_path: Path, feeds) -> None:
    with pytest.raises(InputError, match="profile_to: no such folder"):
        load(model, profile_to=tmp_path / "none" / "p")
    with load(model, threads=1, profile_to=tmp_path / "p") as session:
        session.run(feeds(1, 2))
        path = session.end_profiling()
        assert session.end_profiling() == path
    names = {event["name"] for event in json.loads(path.read_text())}
    assert path.parent == tmp_path
    assert "model_run" in names
    with load(model, threads=1) as session, pytest.raises(EngineError, match="without a profile"):
        session.end_profiling()


def test_a_missing_engine_names_the_command(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'paring\[ort\]'"):
        load(model)
    assert "pip install" in str(engine.why_not())


def test_two_distributions_of_one_module_warn_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "1.2.3")
    engine._warn_of_both_distributions.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="onnxruntime-gpu 1.2.3 are both installed") as told:
            load(model, threads=1)
        assert told[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load(model, threads=1)
    finally:
        engine._warn_of_both_distributions.cache_clear()
