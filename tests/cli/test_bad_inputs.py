"""What a user does wrong, as a user would: one clear paragraph, the right exit code, nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Ended = subprocess.CompletedProcess[str]
Command = Callable[..., str]

HIDES = '''
"""Hide packages, as if they were not installed."""
import os
import sys

HIDDEN = set(os.environ["HIDDEN"].split())


class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The user's working directory."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def refused(folder: Path, tmp_path: Path) -> Command:
    """Runs `paring ARGUMENTS` in a new process; it must end with `code` and one error, which is returned."""

    def run(code: int, *arguments: object, hidden: str = "") -> str:
        search = [path for path in sys.path if path]
        if hidden:
            (tmp_path / "hides").mkdir()
            (tmp_path / "hides" / "sitecustomize.py").write_text(HIDES, encoding="utf-8")
            search.insert(0, str(tmp_path / "hides"))
        before = {path.name for path in folder.iterdir()}
        ran: Ended = subprocess.run(
            [sys.executable, "-m", "paring", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=120,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(search), "HIDDEN": hidden},
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        assert ran.stdout == ""
        assert {path.name for path in folder.iterdir()} - {"__pycache__"} == before
        stages, _, message = ran.stderr.partition("error: ")
        assert message, ran.stderr
        assert len(stages.splitlines()) <= 3, stages  # a line a stage, and nothing else
        return message.strip()

    return run


def test_an_unknown_model(refused: Command) -> None:
    message = refused(2, "convert", "-m", "timm:vit_smal_patch16_224", "-o", "out")
    assert message == (
        "timm:vit_smal_patch16_224: timm has no such model (did you mean 'vit_small_patch16_224'?)"
    )


def test_an_unknown_transform(refused: Command) -> None:
    message = refused(2, "convert", "-m", "embedded", "-t", "token_prun", "-o", "out")
    assert "unknown transform 'token_prun' (did you mean 'token_prune'?); known: " in message


def test_misspelt_recipe_keys(refused: Command, folder: Path) -> None:
    (folder / "recipe.yaml").write_text(
        "model: embedded\ntransforms:\n  - token_prune: {keep_ratoi: 0.7}\nexport:\n  presicion: fp16\n",
        encoding="utf-8",
    )
    first, second = refused(2, "convert", "-r", "recipe.yaml", "-o", "out").splitlines()
    assert first == (
        "recipe.yaml:3: transforms[0].token_prune.keep_ratoi: unknown key (did you mean 'keep_ratio'?);"
        " known: keep_ratio, blocks, inattentive"
    )
    assert second.startswith("recipe.yaml:5: export.presicion: unknown key (did you mean 'precision'?)")


def test_a_ratio_above_one(refused: Command) -> None:
    ratio = "token_prune.keep_ratio=1.7"
    message = refused(2, "convert", "-m", "embedded", "-t", "token_prune", "--set", ratio, "-o", "out")
    assert message.startswith(f"--set {ratio}: transforms[0].token_prune.keep_ratio: 1.7 is not a number")
    assert "from 0.01 to 1 (share of the patches kept" in message


def test_a_convolutional_network_to_prune(refused: Command, factories: Path) -> None:
    message = refused(4, "convert", "-m", f"py:{factories}:convnet", "-t", "token_prune", "-o", "out")
    assert message.startswith("token_prune: no vision transformer encoder found in Sequential; known: timm")


def test_shapes_that_depend_on_values(refused: Command, factories: Path) -> None:
    message = refused(4, "convert", "-m", f"py:{factories}:KeepsBrightPatches", "-o", "out")
    assert message.startswith(f"{factories}:")
    assert " in forward (`" in message
    assert "the shape of a tensor depends on the values of another (a boolean mask" in message
    assert "topk or sort" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("hidden", "extra", "arguments"),
    [
        ("torch", "torch", ["convert", "-m", "embedded", "-t", "token_prune", "-o", "out"]),
        ("timm", "torch", ["convert", "-m", "embedded", "-o", "out"]),
        ("onnx", "onnx", ["convert", "-m", "py:FACTORIES:convnet", "-o", "out"]),
        ("onnxruntime openvino", "ort", ["run", "ARTIFACT", "--random"]),
        ("PIL", "torch", ["run", "ARTIFACT", "--image", "x.png"]),
        ("jinja2", "report", ["profile", "ARTIFACT", "--min-runs", "1", "--min-seconds", "0", "-o", "out"]),
        ("scipy", "report", ["convert", "-m", "py:FACTORIES:convnet", "--data", "embedded", "-o", "out"]),
    ],
)
def test_a_missing_extra(
    refused: Command,
    factories: Path,
    convnet_artifact: Path,
    hidden: str,
    extra: str,
    arguments: list[str],
) -> None:
    places = {"FACTORIES": str(factories), "ARTIFACT": str(convnet_artifact)}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    message = refused(3, *arguments, hidden=hidden)
    assert message.endswith(f" needs an extra: pip install 'paring[{extra}]'")


@pytest.mark.parametrize("command", [["run", "--random"], ["profile"]])
def test_a_truncated_onnx_file(
    refused: Command, folder: Path, convnet_artifact: Path, command: list[str]
) -> None:
    whole = (convnet_artifact / "model.onnx").read_bytes()
    (folder / "short.onnx").write_bytes(whole[: len(whole) // 2])
    name, *options = command
    message = refused(5, name, "short.onnx", *options)
    assert message.startswith("short.onnx: not a whole ONNX file (truncated, or not ONNX at all)")


@pytest.mark.parametrize("command", [["run", "--random"], ["inspect"]])
def test_tampered_weights(refused: Command, folder: Path, convnet_artifact: Path, command: list[str]) -> None:
    model = Path(shutil.copytree(convnet_artifact, folder / "tampered")) / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    name, *options = command
    message = refused(5, name, "tampered", *options)
    assert message.startswith(
        f"{Path('tampered') / 'model.onnx'}: not the file that was written: expected SHA-256 "
    )


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((1, 1, 28, 32), "float32", "shape (batch, 1, 28, 28), given (1, 1, 28, 32): dimension 3 must be 28"),
        ((1, 28, 28), "float32", "given (1, 28, 28): 4 dimensions, not 3; pass x[np.newaxis]"),
        ((1, 1, 28, 28), "float64", "expected float32, given float64; pass x.astype(np.float32)"),
    ],
)
def test_wrong_inputs_to_a_run(
    refused: Command,
    folder: Path,
    convnet_artifact: Path,
    shape: tuple[int, ...],
    dtype: str,
    expected: str,
) -> None:
    np.save(folder / "x.npy", np.zeros(shape, dtype))
    message = refused(2, "run", convnet_artifact, "--inputs", "x.npy")
    assert message.startswith("input 'input': expected ")
    assert expected in message


@pytest.mark.parametrize("content", ["text", "objects", "half"])
def test_files_that_hold_no_arrays(
    refused: Command, folder: Path, convnet_artifact: Path, content: str
) -> None:
    file = folder / "x.npz"
    if content == "text":
        file.write_text("no arrays", encoding="utf-8")
    else:
        kind = object if content == "objects" else np.float32
        np.savez(file, input=np.ones((1, 1, 28, 28), kind))
    if content == "half":
        file.write_bytes(file.read_bytes()[:-400])
    message = refused(2, "run", convnet_artifact, "--inputs", file.name)
    assert message.startswith("x.npz: no whole .npy or .npz file of numbers (pickled objects are refused)")


def test_files_that_are_not_there(refused: Command, convnet_artifact: Path) -> None:
    assert refused(2, "run", convnet_artifact, "--inputs", "x.npy") == (
        "x.npy: cannot be read (No such file or directory)"
    )
    assert refused(2, "run", convnet_artifact, "--random", "-o", "nowhere/y.npz") == (
        "nowhere/y.npz: cannot be written (No such file or directory)"
    )
    assert refused(5, "run", "nothing", "--random").startswith("nothing: no such file or folder; expected")


def test_a_pickle_as_weights(refused: Command, folder: Path, factories: Path) -> None:
    import torch

    torch.save({"weight": torch.zeros(3)}, folder / "vit.pth")
    message = refused(2, "convert", "-m", f"py:{factories}:convnet", "--weights", "vit.pth", "-o", "out")
    assert message.startswith("vit.pth: is a pickle, which can run code when it is loaded; convert it")
    assert message.endswith("or pass --allow pickle")


def test_usage_errors_name_the_option(folder: Path, convnet_artifact: Path) -> None:
    command = [sys.executable, "-m", "paring", "run", str(convnet_artifact), "--random", "--batch", "0"]
    search = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": search}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert ran.returncode == 2
    assert "Invalid value for '--batch'" in ran.stderr
    assert "Traceback" not in ran.stderr
