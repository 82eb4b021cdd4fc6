"""The ledger's sums of products against fvcore and onnx-tool on stock models; modelled energy of two ViTs.

    pip install fvcore onnx-tool timm
    python tools/check/ledger_macs.py [MODEL ...]

Of each model of timm, at random weights, one image of 224 x 224: the ledger's terms of sums of products,
those of fvcore and of onnx-tool, and what explains the difference. Exit code 1 where an explained difference
is left above 1 %. Then DeiT-T and PVT v2 B0, dense and with shifts and additions, in both accountings: as
the authors of ShiftAddViT (arXiv 2306.06446) count, and in full. Energy is modelled; nothing here is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
import tempfile
from pathlib import Path

import fvcore.nn
import numpy as np
import onnx
import onnx_tool
import timm
import torch
from onnx import helper, numpy_helper

from paring_profiles.ledger import ACCOUNTINGS, ledger

MODELS = (
    "resnet50",
    "mobilenetv3_large_100",
    "deit_tiny_patch16_224",
    "vit_small_patch16_224",
    "convnext_tiny",
)
PRICED = {"DeiT-T": "deit_tiny_patch16_224", "PVT v2 B0": "pvt_v2_b0"}
IMAGE = (1, 3, 224, 224)
SHAPES = {"x": IMAGE}
# Both count what sums no products too. fvcore: 5 operations an element of a layer norm, 2 of a batch norm,
# 1 of pooling. onnx-tool: all element-wise work, and the additions of biases.
NO_PRODUCTS = {"layer_norm", "batch_norm", "adaptive_avg_pool2d"}
PRODUCTS = {"Conv", "Gemm", "MatMul"}
MOST_APART = 0.01


def export(name: str, folder: Path) -> tuple[torch.nn.Module, Path]:
    """A model of timm at random weights, and its ONNX file."""
    model = timm.create_model(name, pretrained=False).eval()
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # fvcore has no count for scaled_dot_product_attention
    path = folder / f"{name}.onnx"
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            model, (torch.zeros(IMAGE),), str(path), dynamo=True, input_names=["x"], verbose=False
        )
    return model, path


def of_fvcore(model: torch.nn.Module) -> tuple[int, int]:
    """All that fvcore counts, and its products."""
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    counted = fvcore.nn.FlopCountAnalysis(model, torch.zeros(IMAGE)).by_operator()
    products = sum(count for operator, count in counted.items() if operator not in NO_PRODUCTS)
    return int(sum(counted.values())), int(products)


def of_onnx_tool(path: Path) -> tuple[int, int, int]:
    """All that onnx-tool counts, that of its sums of products, and the biases' additions among those."""
    with contextlib.redirect_stdout(io.StringIO()):
        model = onnx_tool.Model(str(path), {"constant_folding": True})
        model.graph.shape_infer({"x": np.zeros(IMAGE, np.float32)})
        model.graph.profile()
    nodes = [node for node in model.graph.nodemap.values() if node.op_type in PRODUCTS]
    biased = [node for node in nodes if node.op_type != "MatMul" and len(node.input) == 3]
    biases = sum(int(np.prod(model.graph.tensormap[node.output[0]].get_shape())) for node in biased)
    return int(model.graph.macs[0]), int(sum(node.macs[0] for node in nodes)), biases


def compare(name: str, folder: Path) -> bool:
    """Print a model's counts; whether the explained ones agree."""
    model, path = export(name, folder)
    ours = ledger(path, SHAPES)
    fv_all, fv_products = of_fvcore(model)
    tool_all, tool_products, biases = of_onnx_tool(path)
    apart = [abs(ours.terms / theirs - 1) for theirs in (fv_products, tool_products - biases)]
    print(
        f"{name}: ledger {ours.terms:,}; fvcore {fv_all:,} ({ours.terms / fv_all - 1:+.3%}), of which"
        f" products {fv_products:,} ({apart[0]:.3%} apart); onnx-tool {tool_all:,}"
        f" ({ours.terms / tool_all - 1:+.3%}), of which products {tool_products:,}, without"
        f" {biases:,} additions of biases {apart[1]:.3%} apart; not priced: {ours.unpriced or 'nothing'}",
        flush=True,
    )
    return max(apart) <= MOST_APART


def shifted_and_added(path: Path) -> Path:
    """The same shapes: power-of-two weights in linear layers, a binary operand in attention's products.

    The attention stays quadratic; the authors' own is linear, so that their models have fewer terms there.
    """
    model = onnx.load(str(path))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    views = {node.output[0]: node for node in model.graph.node if node.op_type in ("Transpose", "Identity")}
    zero = numpy_helper.from_array(np.float32(0), "zero_threshold")
    nodes = []
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm"):
            weight = node.input[1]
            while weight in views:
                weight = views[weight].input[0]
            if weight in stored:
                values = numpy_helper.to_array(stored[weight])
                powers = np.sign(values) * 2.0 ** np.clip(np.round(np.log2(np.abs(values) + 1e-9)), -14, 0)
                stored[weight].CopyFrom(numpy_helper.from_array(powers.astype(np.float32), weight))
            else:
                bits, mask = f"{node.output[0]}/bits", f"{node.output[0]}/mask"
                nodes.append(helper.make_node("Greater", [node.input[0], zero.name], [bits]))
                nodes.append(helper.make_node("Cast", [bits], [mask], to=onnx.TensorProto.FLOAT))
                node.input[0] = mask
        nodes.append(node)
    model.graph.initializer.append(zero)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    target = path.with_suffix(".shift_add.onnx")
    onnx.save(model, str(target))
    return target


def energy(title: str, name: str, folder: Path) -> None:
    """Print modelled energy of a model and of its form with shifts and additions."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        export(name, folder)
    cheap = shifted_and_added(path)
    for accounting in ACCOUNTINGS:
        dense, other = (ledger(one, SHAPES, accounting) for one in (path, cheap))
        int8 = ledger(path, SHAPES, accounting, as_int8=True)
        told = {kind: count for kind, count in other.counts().items() if count and kind != "elementwise"}
        print(
            f"{title}, modelled, accounting {accounting}: dense fp32 {dense.total_uj:,.0f} µJ, shift and add"
            f" {other.total_uj:,.0f} µJ ({1 - other.total_uj / dense.total_uj:.1%} saved), dense int8"
            f" {int8.total_uj:,.0f} µJ ({1 - int8.total_uj / dense.total_uj:.1%} saved); {told}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    chosen = parser.parse_args().models
    with tempfile.TemporaryDirectory() as scratch:
        agreed = [compare(name, Path(scratch)) for name in chosen]
        for title, name in PRICED.items():
            energy(title, name, Path(scratch))
    sys.exit(0 if all(agreed) else 1)


if __name__ == "__main__":
    main()
