"""`shift_linear` of a language model through the whole line."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from language_files import llama_folder  # noqa: E402

import paring  # noqa: E402
from paring_runtimes.artifact import read_manifest  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("precision", "in_place"), [("fp32", True), ("fp16", False)])
def test_a_language_model_shifts_all_but_its_head(tmp_path: Path, precision: str, in_place: bool) -> None:
    folder = llama_folder(tmp_path / "tiny")
    done = paring.convert(
        f"hf:{folder}",
        tmp_path / "out",
        transforms=[{"shift_linear": {"layers": ["all"], "bits": 5}}],
        export={"precision": precision, "in_place": in_place},
        verify={"batch_sizes": [1, 2], "seeds": [0], "steps": 2},
    )
    manifest = read_manifest(done.artifact)
    assert manifest.parity["passed"]

    def size(path: Path) -> int:
        return sum(file.stat().st_size for file in path.glob("*.data"))

    assert size(done.artifact) < size(tmp_path / "out-baseline")
