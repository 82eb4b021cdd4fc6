"""Engine executorch: batches, threads, what is refused, and that no other engine imports PyTorch with it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("executorch", reason="paring[executorch] is not installed")

import torch
from torch import nn

import paring_runtimes
from paring.transforms._encoder.tokens import take
from paring_exporters.formats import executorch
from paring_exporters.request import Request
from paring_runtimes.errors import EngineError, ExportError, InputError


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 4, 4), nn.Flatten(), nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 5))
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def program(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """[batch, 3, 8, 8] -> [batch, 5]."""
    request = Request(torch.randn(2, 3, 8, 8))
    return executorch.export(model, request, tmp_path_factory.mktemp("executorch")).entry


def pixels(batch: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, 3, 8, 8)).astype(np.float32)


def wanted(model: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(images.copy())).numpy()


def test_batches_up_to_the_largest_are_computed(model: nn.Module, program: Path) -> None:
    with paring_runtimes.load(program) as session:
        assert session.inputs[0].shape == ("batch", 3, 8, 8)
        assert session.providers == ("xnnpack",)
        for batch in (1, 3, 32):
            found = session.run({"pixel_values": pixels(batch)})["logits"]
            np.testing.assert_allclose(found, wanted(model, pixels(batch)), atol=1e-5)
        with pytest.raises(EngineError, match="a batch of 33, and the program's memory is planned for 32"):
            session.run({"pixel_values": pixels(33)})


def test_results_outlive_the_next_run_and_inputs_may_be_read_only(model: nn.Module, program: Path) -> None:
    first = pixels(2)
    first.flags.writeable = False
    with paring_runtimes.load(program) as session:
        kept = session.run({"pixel_values": first})["logits"]
        session.run({"pixel_values": pixels(2, seed=1)})
        np.testing.assert_allclose(kept, wanted(model, first), atol=1e-5)
        bound = session.bind({"pixel_values": (2, 3, 8, 8)})
        bound.inputs["pixel_values"][...] = first
        bound.run()
        np.testing.assert_allclose(bound.outputs["logits"], kept, atol=1e-6)


def test_threads_of_the_caller_do_not_mix(model: nn.Module, program: Path) -> None:
    with paring_runtimes.load(program) as session:

        def one(seed: int) -> bool:
            images = pixels(1 + seed % 3, seed)
            found = session.run({"pixel_values": images})["logits"]
            return np.allclose(found, wanted(model, images), atol=1e-5)

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(one, range(40)))


def test_open_sessions_share_their_number_of_threads(program: Path) -> None:
    with paring_runtimes.load(program, threads=1):
        paring_runtimes.load(program, threads=1).close()
        with pytest.raises(EngineError, match="threads=2, and open sessions of ExecuTorch use 1"):
            paring_runtimes.load(program, threads=2)
    paring_runtimes.load(program, threads=2).close()


def test_what_it_lacks_is_named(program: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no 'gpu' in engine executorch; available: cpu"):
        paring_runtimes.load(program, providers=["gpu"])
    with pytest.raises(InputError, match="writes no profile"):
        paring_runtimes.load(program, profile_to=tmp_path / "p")
    broken = tmp_path / "broken.pte"
    broken.write_bytes(program.read_bytes()[:400])
    with pytest.raises(EngineError, match=r"broken\.pte: ExecuTorch cannot open it"):
        paring_runtimes.load(broken)


def test_a_program_of_another_maker_runs_by_places(tmp_path: Path) -> None:
    from executorch.exir import to_edge

    class Sum(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a + b

    example: Any = (torch.ones(2, 3), torch.ones(2, 3))
    file = tmp_path / "other.pte"
    file.write_bytes(to_edge(torch.export.export(Sum(), example)).to_executorch().buffer)
    with paring_runtimes.load(file) as session:
        assert [(spec.name, spec.shape) for spec in session.inputs] == [
            ("input_0", (2, 3)),
            ("input_1", (2, 3)),
        ]
        two = np.full((2, 3), 2, np.float32)
        np.testing.assert_array_equal(session.run({"input_0": two, "input_1": two})["output_0"], two + two)


def test_sorting_and_choosing_tokens_have_kernels(tmp_path: Path) -> None:
    class Best(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            order = x.mean((2, 3)).sort(dim=1, descending=True, stable=True).indices[:, :2]
            return take(x.flatten(2), order)

    found = executorch.export(Best(), Request(torch.randn(2, 3, 8, 8)), tmp_path)
    with paring_runtimes.load(found.entry) as session:
        images = pixels(4)
        np.testing.assert_array_equal(
            session.run({"pixel_values": images})["logits"], Best()(torch.from_numpy(images)).numpy()
        )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"precision": "fp16"}, "export.precision fp16"), ({"dynamic": ("image_size",)}, "image_size")],
)
def test_what_it_does_not_write_is_refused(
    model: nn.Module, tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        executorch.export(model, Request(torch.randn(2, 3, 8, 8), **wrong), tmp_path)
    assert not list(tmp_path.iterdir())


def test_asking_whether_it_is_here_imports_no_pytorch() -> None:
    code = (
        "import sys\nfrom paring_runtimes.engines import engines\n"
        "assert engines()['executorch'].why_not() is None\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
