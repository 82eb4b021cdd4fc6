from __future__ import annotations

import hashlib

import numpy as np
import onnx
from onnx import helper

from paring_profiles.candidates import artifact_digest
from paring_runtimes.manifest import Manifest


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_of_one_file_it_is_the_files(mlp):
    path = mlp(1, "a.onnx")
    assert artifact_digest(path, None) == sha256(path)


def test_weights_beside_the_file_count(onnx_file):
    def saved(name, value):
        node = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        weights = {"w": np.full((64, 64), value, np.float32)}
        path = onnx_file(node, {"x": [1, 64]}, ["y"], weights, name=name)
        beside = {"save_as_external_data": True, "location": "w.data", "size_threshold": 0}
        (path.parent / "w.data").unlink(missing_ok=True)
        onnx.save(onnx.load(path), path, **beside)
        return path

    first = saved("a.onnx", 1.0)
    digest = artifact_digest(first, None)
    assert digest != sha256(first)
    again = first.rename(first.with_name("other.onnx"))
    assert artifact_digest(again, None) == digest
    other = saved("b.onnx", 2.0)
    assert sha256(other) == sha256(again)  # the graph alone is the same
    assert artifact_digest(other, None) != digest


def test_of_an_artifact_it_is_its_files_as_the_manifest_has_them(tmp_path):
    def manifest(**files):
        return Manifest("onnx", "model.onnx", (), (), {"model.onnx": "1" * 64, **files})

    one = artifact_digest(tmp_path, manifest())
    assert one == "1" * 64
    two = artifact_digest(tmp_path, manifest(weights="2" * 64))
    assert two not in (one, artifact_digest(tmp_path, manifest(weights="3" * 64)))
