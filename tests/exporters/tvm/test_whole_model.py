"""A whole model in one library: what is fused, what is packed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("tvm", reason="paring[tvm] is not installed")

import paring
import paring_runtimes
from paring_exporters.formats import tvm as exporter
from paring_exporters.request import Request
from paring_exporters.tvm_graph.cpus import facts_of, target_for
from paring_exporters.tvm_graph.program import constants_of, exported
from paring_exporters.tvm_graph.rewrites import paring_attention, paring_layer, rewrite
from paring_runtimes.errors import ExportError

EXPORT = {"format": "tvm", "threads": 2, "baseline": False}
VERIFY = {"batch_sizes": [1, 3], "seeds": [0]}


def test_layers_and_attention_become_one_node_each() -> None:
    from timm.models.vision_transformer import VisionTransformer

    vit = VisionTransformer(
        img_size=28, patch_size=7, in_chans=1, num_classes=10, embed_dim=48, depth=2, num_heads=3
    )
    program = exported(vit, Request(torch.randn(2, 1, 28, 28)))
    rewrite(program, constants_of(program))
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    layers = [node.meta["paring"] for node in nodes if node.target is paring_layer]
    assert [(one.activation, one.residual) for one in layers] == [
        *[("", False), ("", True), ("gelu", False), ("", True)] * 2,
        ("", False),
    ]
    assert sum(node.target is paring_attention for node in nodes) == 2
    kinds = {str(node.target) for node in nodes}
    assert not kinds & {"aten.scaled_dot_product_attention.default", "aten.squeeze.dims", "aten.gelu.default"}


def test_what_holds_nothing_leaves_the_graph() -> None:
    from paring_exporters.tvm_graph.empties import drop_empty

    class Halves(torch.nn.Module):
        def __init__(self, rows: int) -> None:
            super().__init__()
            self.rows = rows

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first, rest = x.split([self.rows, x.shape[1] - self.rows], dim=1)
            return torch.cat([first * 2, rest.sort(dim=1).values, x], dim=1)

    x = torch.randn(2, 5, 3)
    for rows, sorts in ((5, 0), (0, 1), (2, 1)):
        program = exported(Halves(rows), Request(x))
        before = program.module()(x)
        drop_empty(program.graph_module.graph)
        program.graph_module.recompile()
        targets = [node.target for node in program.graph.nodes]
        assert targets.count(torch.ops.aten.sort.default) == sorts
        assert (torch.ops.aten.split_with_sizes.default in targets) == (rows == 2)
        values = [node.meta["val"] for node in program.graph.nodes if "val" in node.meta]
        assert all(0 not in value.shape for value in values if isinstance(value, torch.Tensor))
        assert torch.equal(program.module()(x), before)


def test_a_shift_model_keeps_four_bits_and_says_what_was_chosen(factories: Path, tmp_path: Path) -> None:
    made = paring.convert(
        f"py:{factories}:vit", tmp_path / "out", transforms=["shift_linear"], export=EXPORT, verify=VERIFY
    )
    manifest = made.manifest
    assert manifest.format == "tvm"
    assert manifest.export["target"]["threads"] == 2
    shift = manifest.export["shift"]
    assert shift["terms"] == 4
    for choice in shift["choices"]:
        faster = "integer" if choice["integer_ms"] <= choice["float_ms"] else "float"
        assert choice["kernel"] == faster
        lost = f"{choice['layer']['in_features']} -> {choice['layer']['out_features']} features"
        assert any(lost in note for note in made.notes) == (faster == "float")
    fp32_bytes = 4 * 2 * (48 * 48 * 4 + 2 * 48 * 192)
    assert (tmp_path / "out" / "model.so").stat().st_size < fp32_bytes + 150_000
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["parity"]["passed"]
    with paring_runtimes.load(tmp_path / "out", threads=1) as session:
        assert session.engine.startswith("tvm ")
        (given,) = session.inputs
        (found,) = session.run({given.name: np.zeros((4, 1, 28, 28), np.float32)}).values()
        assert found.shape == (4, 10)


def test_additive_attention_runs_on_its_kernel_at_a_fixed_batch(factories: Path, tmp_path: Path) -> None:
    made = paring.convert(
        f"py:{factories}:vit",
        tmp_path / "out",
        transforms=["additive_attention"],
        export={**EXPORT, "dynamic": []},
        verify={"seeds": [0]},
    )
    assert made.manifest.export["kernels"]["binary_attention"] == 1
    assert made.manifest.inputs[0].shape == (1, 1, 28, 28)
    assert not made.notes


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"precision": "fp16"}, "fp32"),
        ({"dynamic": ("batch", "image_size")}, "image_size"),
        ({"shift": "dequantize"}, "float or integer"),
        ({"target": "znver44"}, "znver4"),
    ],
)
def test_what_it_cannot_do_is_refused_with_what_would_be_right(
    changed: dict[str, object], said: str, tmp_path: Path
) -> None:
    request = Request(torch.randn(2, 1, 28, 28), **changed)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=said):
        exporter.export(torch.nn.Flatten(), request, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_portable_target_asks_for_no_optional_feature() -> None:
    assert facts_of(target_for("portable", 2))["features"] == []
    assert "avx2" in facts_of(target_for("x86-64-v3", 2))["features"]
    assert "avx512_vnni" in facts_of(target_for("znver4", 2))["features"]
