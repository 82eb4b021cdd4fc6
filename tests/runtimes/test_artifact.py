"""Manifests round trip, wrong ones are refused by key, artifacts are written whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paring_runtimes import ArtifactError, IntegrityError, Manifest, TensorSpec, read_manifest
from paring_runtimes.artifact import (
    hash_files,
    new_artifact,
    sha256_of,
    verify_files,
    write_manifest,
)

Fill = Callable[[Path], Manifest]
DIGEST = "ab" * 32
FULL = Manifest(
    format="onnx",
    entry="model.onnx",
    inputs=(TensorSpec("pixels", "float32", ("batch", 3, 28, 28)),),
    outputs=(TensorSpec("logits", "float16", ("batch", 10)), TensorSpec("count", "int64", ())),
    files={"model.onnx": DIGEST, "weights/part 0.data": DIGEST},
    source={"spec": "timm:vit", "digest": DIGEST},
    recipe={"export": {"opset": 18}},
    transforms=[{"name": "token_prune", "config": {"keep_ratio": 0.7, "blocks": [4, 7]}}],
    graph={"parameters": 12, "tokens_per_layer": [50, 35, None]},
    parity=None,
    quality={"before": 0.9},
    tools={"torch": "2.14"},
    created="2026-01-01T00:00:00Z",
)


def names_beside(path: Path) -> list[str]:
    return sorted(item.name for item in path.parent.iterdir())


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_a_manifest_round_trips(tmp_path: Path) -> None:
    write_manifest(tmp_path, FULL)
    assert read_manifest(tmp_path) == FULL
    assert names_beside(tmp_path / "manifest.json") == ["manifest.json"]


def test_every_field_is_in_the_file(tmp_path: Path) -> None:
    write_manifest(tmp_path, FULL)
    data = json.loads((tmp_path / "manifest.json").read_text())
    assert set(data) == {field.name for field in dataclasses.fields(Manifest)}


def test_fields_with_defaults_may_be_left_out(artifact: Path) -> None:
    edit(artifact, lambda data: data.pop("quality"))
    assert read_manifest(artifact).quality is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.pop("entry"), "entry: missing"),
        (lambda d: d.pop("schema_version"), "schema_version: missing"),
        (lambda d: d.update(schema_version=2), "schema_version: expected 1 at most, given 2"),
        (lambda d: d.update(schema_version=True), "schema_version: expected an integer"),
        (lambda d: d.update(qualty={}), r"qualty: unknown key \(did you mean 'quality'\?\)"),
        (lambda d: d.update(format=3), "format: expected a string, given an integer, 3"),
        (lambda d: d.update(quality=3), "quality: expected an object or null, given an integer"),
        (lambda d: d.update(inputs={}), "inputs: expected a list, given an object"),
        (lambda d: d["inputs"][0].pop("dtype"), r"inputs\[0\].dtype: missing"),
        (lambda d: d["inputs"][1].update(name="tokens"), r"inputs\[\d\].name: expected a unique"),
        (lambda d: d["inputs"][0].update(dtype="float23"), r"inputs\[0\].dtype: .*'float23'"),
        (lambda d: d["inputs"][0].update(shape=[1.5]), r"shape\[0\]: expected an integer or a str"),
        (lambda d: d["inputs"][0].update(shape=[True]), r"shape\[0\]: expected .* true or false"),
        (lambda d: d["inputs"][0].update(shape=[-1]), r"shape\[0\]: expected a size of at least 0"),
        (lambda d: d["files"].update({"model.onnx": "x"}), r"files\['model.onnx'\]: expected a SHA"),
        (lambda d: d.update(entry="other.onnx"), "entry: 'other.onnx' is not among the files"),
    ],
)
def test_a_wrong_manifest_is_refused_by_key(
    artifact: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    edit(artifact, change)
    with pytest.raises(ArtifactError, match=f"manifest.json: .*{said}"):
        read_manifest(artifact)


@pytest.mark.parametrize(
    "name",
    [
        "../model.onnx",
        "/etc/passwd",
        "a/../../b",
        "..",
        ".",
        "",
        "a//b",
        "./a",
        "a\\b",
        "C:a",
        "a\0b",
        "manifest.json",
    ],
)
def test_paths_that_leave_the_folder_are_refused(artifact: Path, name: str) -> None:
    edit(artifact, lambda data: data["files"].update({name: DIGEST}))
    with pytest.raises(ArtifactError, match="files: expected a plain relative path"):
        read_manifest(artifact)
    edit(artifact, lambda data: data.update(entry=name, files={"model.onnx": DIGEST}))
    with pytest.raises(ArtifactError, match="entry: expected a plain relative path"):
        read_manifest(artifact)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "line 1: not JSON"),
        (b"[]", "expected an object, given a list"),
        (b'{"schema_version": NaN}', "NaN is not JSON"),
        (b"\xff", "not UTF-8 text at byte 0"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=f"manifest.json: {said}"):
        read_manifest(tmp_path)


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not an artifact"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_values_that_json_cannot_hold_are_not_written(tmp_path: Path, value: object) -> None:
    with pytest.raises(ArtifactError, match="parity: expected JSON values"):
        write_manifest(tmp_path, dataclasses.replace(FULL, parity={"max_abs": value}))
    assert list(tmp_path.iterdir()) == []


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "a") == expected


def test_every_file_but_the_manifest_is_hashed(artifact: Path) -> None:
    (artifact / "sub").mkdir()
    (artifact / "sub" / "x").write_bytes(b"abc")
    assert sorted(hash_files(artifact)) == ["model.onnx", "sub/x"]


def test_links_are_not_hashed(artifact: Path) -> None:
    (artifact / "link").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactError, match="link: expected a plain file"):
        hash_files(artifact)


def test_one_changed_byte_is_found(artifact: Path) -> None:
    manifest = read_manifest(artifact)
    verify_files(artifact, manifest)
    data = bytearray((artifact / "model.onnx").read_bytes())
    data[-1] ^= 1
    (artifact / "model.onnx").write_bytes(data)
    found = sha256_of(artifact / "model.onnx")
    expected = manifest.files["model.onnx"]
    with pytest.raises(IntegrityError, match=f"model.onnx: .* SHA-256 {expected}, found {found}"):
        verify_files(artifact, manifest)


def test_a_missing_file_is_found_and_a_file_more_is_allowed(artifact: Path) -> None:
    manifest = read_manifest(artifact)
    (artifact / "report.html").write_text("hello")
    verify_files(artifact, manifest)
    (artifact / "model.onnx").unlink()
    with pytest.raises(IntegrityError, match=r"model.onnx: missing"):
        verify_files(artifact, manifest)


def test_a_new_artifact_appears_whole(tmp_path: Path, filler: Fill) -> None:
    target = tmp_path / "deep" / "er" / "vit"
    with new_artifact(target) as folder:
        filler(folder)
        assert folder.parent == target.parent
        assert not target.exists()
    verify_files(target, read_manifest(target))
    assert names_beside(target) == ["vit"]
    other = tmp_path / "plain"
    other.mkdir()
    assert target.stat().st_mode == other.stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_nothing_behind(tmp_path: Path, filler: Fill, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with new_artifact(tmp_path / "deep" / "vit") as folder:
            filler(folder)
            raise error

    with pytest.raises(error):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stray", ["more.bin", None])
def test_a_folder_that_is_not_whole_is_not_put_in_place(
    tmp_path: Path, filler: Fill, stray: str | None
) -> None:
    def partial() -> None:
        with new_artifact(tmp_path / "vit") as folder:
            if stray:
                filler(folder)
                (folder / stray).write_bytes(b"1")

    said = "disagree about: more.bin" if stray else "cannot be read"
    with pytest.raises(ArtifactError, match=said):
        partial()
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_is_overwritten_only_when_allowed(artifact: Path, filler: Fill) -> None:
    (artifact / "report.html").write_text("old")
    with pytest.raises(ArtifactError, match="exists already"), new_artifact(artifact):
        pytest.fail("entered")
    with new_artifact(artifact, overwrite=True) as folder:
        filler(folder)
    assert sorted(item.name for item in artifact.iterdir()) == ["manifest.json", "model.onnx"]
    assert names_beside(artifact) == ["tiny"]


def test_an_exception_while_overwriting_keeps_the_old(artifact: Path) -> None:
    def interrupted() -> None:
        with new_artifact(artifact, overwrite=True) as folder:
            (folder / "model.onnx").write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    verify_files(artifact, read_manifest(artifact))
    assert names_beside(artifact) == ["tiny"]


def test_what_is_no_artifact_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years")
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "home")
    for name in ("home", "file", "link"):
        with (
            pytest.raises(ArtifactError, match="not overwritten"),
            new_artifact(tmp_path / name, overwrite=True),
        ):
            pytest.fail("entered")
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years"


def test_an_empty_folder_may_be_filled(tmp_path: Path, filler: Fill) -> None:
    (tmp_path / "vit").mkdir()
    with new_artifact(tmp_path / "vit") as folder:
        filler(folder)
    assert read_manifest(tmp_path / "vit").format == "onnx"


def test_a_path_taken_meanwhile_is_not_lost(tmp_path: Path, filler: Fill) -> None:
    target = tmp_path / "vit"

    def raced() -> None:
        with new_artifact(target) as folder:
            filler(folder)
            target.mkdir()
            (target / "theirs").write_text("1")

    with pytest.raises(ArtifactError, match="cannot be put in place"):
        raced()
    assert names_beside(target) == ["vit"]
    assert (target / "theirs").exists()


def test_a_failed_swap_puts_the_old_back(
    artifact: Path, filler: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    (artifact / "report.html").write_text("old")
    rename = Path.rename

    def fails_for_the_new(self: Path, target: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise OSError("disk on fire")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_for_the_new)
    with pytest.raises(OSError, match="fire"), new_artifact(artifact, overwrite=True) as folder:
        filler(folder)
    assert (artifact / "report.html").exists()
    assert names_beside(artifact) == ["tiny"]


@pytest.mark.parametrize("old", [True, False])
def test_a_killed_writer_leaves_no_half_artifact(artifact: Path, old: bool) -> None:
    target = artifact if old else artifact.with_name("fresh")
    code = (
        "import sys, time\n"
        "from paring_runtimes.artifact import new_artifact\n"
        f"with new_artifact({str(target)!r}, overwrite=True) as folder:\n"
        "    (folder / 'model.onnx').write_bytes(b'half')\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
    )
    search = os.pathsep.join(path for path in sys.path if path)
    writer = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": search},
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline().strip() == b"writing"
        writer.send_signal(signal.SIGKILL)
    assert target.exists() == old
    if old:
        verify_files(target, read_manifest(target))
