"""Exported vision-language models against PyTorch, without and with dropping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from llava_files import llava, pixels

from paring.transforms import fast_v, must_drop, pixel_unshuffle, sparse_vlm, window_merge
from paring.transforms._vision_language import VisionLanguage, open_vision_language
from paring_exporters.language import DATA, IN_PLACE, LanguageRequest
from paring_exporters.language.parity import prompts
from paring_exporters.vision_language import EMBED, ENCODER, PREFILL, export, vision_language_facts
from paring_exporters.vision_language.parity import compare, open_graphs, with_images
from paring_runtimes.errors import ExportError
from paring_runtimes.generation.image_facts import image_facts
from paring_runtimes.generation.language_model import LanguageModel

pytestmark = pytest.mark.slow

GRAPHS = (ENCODER, EMBED, PREFILL, IN_PLACE)
PREPARATION = {"shortest_edge": 36, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
MERGE = (window_merge, window_merge.Config(r=2))
TRIM = {"trim_cache": True, "whole": 1}
DROP = {"layers": (0, 2), "budgets": (10, 4)}
PAPER = {"positions": "paper_compat"}
STEPS: dict[str, list[tuple[Any, Any]]] = {
    "plain": [],
    "windows": [MERGE],
    "fast_v": [(fast_v, fast_v.Config(layers=2))],
    "stages after layers": [(must_drop, must_drop.Config(**DROP))],
    "keys and trimmed cache": [
        (must_drop, must_drop.Config(**DROP, key_share=0.08, trim_cache=True, whole=1))
    ],
    "everything": [MERGE, (must_drop, must_drop.Config(**DROP, **TRIM, key_share=0.1))],
    "folded, then rated": [
        (pixel_unshuffle, pixel_unshuffle.Config()),
        (sparse_vlm, sparse_vlm.Config((0, 2), (6, 3))),
    ],
    "the paper's positions": [(must_drop, must_drop.Config(**DROP, **PAPER))],
    "the paper's positions, one length": [
        (must_drop, must_drop.Config(**{**DROP, "layers": (0, 3)}, **PAPER, trim_cache=True, whole=0))
    ],
}
ROWS = {
    "plain": [36] * 4,
    "windows": [20] * 4,
    "fast_v": [36, 36, 18, 18],
    "stages after layers": [36, 10, 10, 4],
    "keys and trimmed cache": [36, 4, 4, 4],
    "everything": [20, 4, 4, 4],
    "folded, then rated": [9, 6, 6, 3],
    "the paper's positions": [36, 10, 10, 4],
    "the paper's positions, one length": [4] * 4,
}


def changed(name: str, **options: Any) -> VisionLanguage:
    model: Any = open_vision_language(llava(**options))
    for method, config in STEPS[name]:
        assert method.check(model, config) == []
        model = method.apply(model, config)
    assert isinstance(model, VisionLanguage)
    return model


def facts_of(model: VisionLanguage, precision: str = "fp32") -> LanguageModel:
    told = vision_language_facts(model, PREPARATION, precision)
    image = image_facts(told.pop("image"), dict.fromkeys(GRAPHS, ""), 4, "")
    return LanguageModel(**told, eos_token_ids=(), bos_token_id=1, pad_token_id=2, image=image)


SLOW = [name for name in STEPS if name not in ("plain", "everything")]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in STEPS]
)
def test_graphs_compute_what_the_model_computes(name: str, tmp_path: Path) -> None:
    model = changed(name)
    assert model.image_rows() == ROWS[name]
    export(model, LanguageRequest(), tmp_path)
    inputs = with_images(model, prompts(64, (1, 3), (1, 9), (0,)))
    found = compare(model, open_graphs(tmp_path, facts_of(model)), inputs, 5)
    assert found.failure() is None
    assert found.top1_agreement == 1.0
    assert found.max_abs < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "windows"])
def test_fp16_agrees_with_the_fp32_model(name: str, tmp_path: Path) -> None:
    model = changed(name)
    export(model, LanguageRequest(precision="fp16"), tmp_path)
    assert next(model.parameters()).dtype == torch.float32  # the model itself is left alone
    for file in GRAPHS:
        weights = onnx.load(tmp_path / file, load_external_data=False).graph.initializer
        matrices = [w for w in weights if len(w.dims) > 1 and w.data_type != onnx.TensorProto.INT64]
        assert {w.data_type for w in matrices} == {onnx.TensorProto.FLOAT16}
    facts = facts_of(model, "fp16")
    assert facts.dtype == "float16"
    inputs = with_images(model, prompts(64, (1, 3), (1, 9), (0,)))
    found = compare(model, open_graphs(tmp_path, facts), inputs, 5, "fp16")
    assert found.failure() is None
    assert found.precision == "fp16"
    assert found.max_abs > 1e-5  # it is no fp32
    assert found.top1_agreement > 0.9


def test_weights_are_stored_once(tmp_path: Path) -> None:
    model = changed("plain")
    export(model, LanguageRequest(), tmp_path)
    parameters = [*model.parameters()]
    used = sum(p.numel() * 4 for p in parameters)
    assert (tmp_path / DATA).stat().st_size <= used + len(parameters) * 4096
    for name in GRAPHS:
        graph = onnx.load(tmp_path / name, load_external_data=False).graph
        places = {e.value for w in graph.initializer for e in w.external_data if e.key == "location"}
        assert places == {DATA}


def test_only_the_dropping_layers_compute_attention_apart(tmp_path: Path) -> None:
    counts = {}
    for name in ("plain", "stages after layers"):
        folder = tmp_path / name
        folder.mkdir()
        export(changed(name), LanguageRequest(), folder)
        kinds = [node.op_type for node in onnx.load(folder / PREFILL, load_external_data=False).graph.node]
        counts[name] = kinds.count("Softmax")
    assert counts == {"plain": 4, "stages after layers": 6}


def test_a_tower_step_behind_a_decoder_step_is_refused(tmp_path: Path) -> None:
    model = changed("fast_v")
    window_merge.apply(model, window_merge.Config(r=1))
    with pytest.raises(ExportError, match="steps in the vision tower come before"):
        export(model, LanguageRequest(), tmp_path)


def test_what_is_not_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="in-place graph"):
        export(changed("plain"), LanguageRequest(in_place=False), tmp_path)


def test_the_encoder_graph_gives_features_and_keys(tmp_path: Path) -> None:
    import onnxruntime

    model = changed("everything")
    export(model, LanguageRequest(), tmp_path)
    images = pixels(3)
    found = onnxruntime.InferenceSession(tmp_path / ENCODER).run(None, {"pixel_values": images.numpy()})
    with torch.inference_mode():
        features, keys = model.encode(images)
    assert keys is not None
    np.testing.assert_allclose(found[0], features.numpy(), atol=1e-5, rtol=1e-4)
    np.testing.assert_array_equal(found[1], keys.numpy())
