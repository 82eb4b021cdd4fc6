"""The counter against fvcore's on stock models, exported as paring exports them."""

from __future__ import annotations

import logging

import pytest

from paring_profiles import macs

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
fvcore_nn = pytest.importorskip("fvcore.nn")

# fvcore also counts normalisation and pooling, which sum no products: 5 operations an element of a
# layer norm, 2 of a batch norm, 1 of a pooled map. Leaving those out, the integers are equal.
NO_PRODUCTS = {"layer_norm", "batch_norm", "adaptive_avg_pool2d"}


def _counts(name, options, tmp_path):
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    model = timm.create_model(name, pretrained=False, **options).eval()
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # fvcore has no count for scaled_dot_product_attention
    image = torch.zeros(1, 3, 224, 224)
    analysis = fvcore_nn.FlopCountAnalysis(model, image)
    theirs = {op: int(flops) for op, flops in analysis.by_operator().items()}
    torch.onnx.export(
        model, (image,), str(tmp_path / "m.onnx"), dynamo=True, input_names=["x"], verbose=False
    )
    return theirs, macs.count(tmp_path / "m.onnx", {"x": (1, 3, 224, 224)})


@pytest.mark.parametrize(("name", "options"), [("vit_tiny_patch16_224", {"depth": 3}), ("resnet18", {})])
def test_agrees_with_fvcore(name, options, tmp_path):
    theirs, ours = _counts(name, options, tmp_path)
    products = sum(flops for op, flops in theirs.items() if op not in NO_PRODUCTS)
    assert ours.unknown == []
    assert ours.total == products
    assert ours.total == pytest.approx(sum(theirs.values()), rel=0.005)
