"""What is on the disk is whole, or skipped, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from paring.recover import _checkpoints
from paring.recover._checkpoints import Checkpoints, Progress
from paring_runtimes.errors import RecoveryError

IDENTITY = {"model": "abc", "recover.seed": 0, "recover.stages": ()}


def saved(folder: Path, *steps: int) -> Checkpoints:
    checkpoints = Checkpoints(folder / "kept", IDENTITY)
    for step in steps:
        tensors = {"model.weight": torch.full((3,), float(step))}
        checkpoints.save(tensors, Progress(step, step / 2, [{"step": step, "loss": 0.1}]))
    return checkpoints


def test_the_last_two_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 5, 9, 12, 100)
    assert sorted(file.name for file in checkpoints.folder.iterdir()) == [
        "step-000000012.json",
        "step-000000012.safetensors",
        "step-000000100.json",
        "step-000000100.safetensors",
    ]
    found = checkpoints.latest()
    assert found is not None
    tensors, progress = found
    assert tensors["model.weight"].tolist() == [100.0] * 3
    assert progress == Progress(100, 50.0, [{"step": 100, "loss": 0.1}])
    assert Checkpoints(tmp_path / "none", IDENTITY).latest() is None


@pytest.mark.parametrize("ending", ["json", "safetensors"])
@pytest.mark.parametrize("harm", ["truncate", "flip", "delete", "empty"])
def test_a_damaged_one_is_skipped_for_the_one_before(tmp_path: Path, ending: str, harm: str) -> None:
    said: list[str] = []
    checkpoints = saved(tmp_path, 5, 9)
    checkpoints = Checkpoints(checkpoints.folder, IDENTITY, warn=said.append)
    file = checkpoints.folder / f"step-000000009.{ending}"
    content = file.read_bytes()
    if harm == "delete":
        file.unlink()
    else:
        flipped = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
        file.write_bytes({"truncate": content[: len(content) // 2], "flip": flipped, "empty": b""}[harm])
    found = checkpoints.latest()
    assert found is not None
    assert found[1].step == 5
    assert len(said) == (0 if (ending, harm) == ("json", "delete") else 1)
    assert all("skipped the damaged checkpoint" in text and "step-000000009" in text for text in said)


def test_a_kill_while_writing_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = saved(tmp_path, 5)
    steps = 0

    def dies(path: Path) -> None:
        nonlocal steps
        steps += 1
        if steps == at:
            raise KeyboardInterrupt

    for at in range(1, 5):  # after the draft, and after the rename, of either file
        steps = 0
        with monkeypatch.context() as patched:
            patched.setattr(_checkpoints, "fsync", dies)
            with pytest.raises(KeyboardInterrupt):
                checkpoints.save({"model.weight": torch.zeros(3)}, Progress(8))
        found = checkpoints.latest()
        assert found is not None
        assert found[1].step == (8 if at == 4 else 5)  # by then it is whole


def test_another_training_is_refused_by_what_differs(tmp_path: Path) -> None:
    folder = saved(tmp_path, 5).folder
    other = Checkpoints(folder, {**IDENTITY, "recover.seed": 1})
    with pytest.raises(RecoveryError, match=r"another training: other recover\.seed; .*--restart"):
        other.latest()
    Checkpoints(folder, IDENTITY).latest()
    other.remove()
    assert other.latest() is None
