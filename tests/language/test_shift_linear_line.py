"""`shift_linear` of a language model through the whole line."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from language_files import llama_folder  # noqa: E402

import paring  # noqa: E402
from paring_runtimes.artifact import read_manifest  # noqa: E402


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_language_model_shifts_all_but_its_head(tmp_path: Path, precision: str) -> None:
    folder = llama_folder(tmp_path / "tiny")
    done = paring.convert(
        f"hf:{folder}",
        tmp_path / "out",
        transforms=[{"shift_linear": {"layers": ["all"], "bits": 5}}],
        export={"precision": precision},
        verify={"batch_sizes": [1, 2], "seeds": [0], "steps": 2},
    )
    manifest = read_manifest(done.artifact)
    assert manifest.parity["passed"]

    def size(path: Path) -> int:
        return sum(file.stat().st_size for file in path.glob("*.data"))

    assert size(done.artifact) < size(tmp_path / "out-baseline")
