"""QueCC's graphs against PyTorch, what they hold, and what the manifest may say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from llava_files import SPECIAL, llava

from paring.transforms import query_compressor, sparse_vlm
from paring.transforms._vision_language import VisionLanguage, open_vision_language
from paring.transforms.query_compressor import Config
from paring_exporters.language import DATA, LanguageRequest
from paring_exporters.language.parity import prompts
from paring_exporters.vision_language import (
    COMPRESSOR,
    ENCODER,
    QUESTION,
    export,
    files_of,
    vision_language_facts,
)
from paring_exporters.vision_language.parity import compare, open_graphs, with_images
from paring_runtimes.errors import ArtifactError
from paring_runtimes.generation.image_facts import ImageFacts, image_facts
from paring_runtimes.generation.language_model import LanguageModel

pytestmark = pytest.mark.slow

PREPARATION = {"shortest_edge": 36, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
TEXTS: dict[str, dict[str, Any]] = {
    "prompt": {"text": "prompt"},
    "constant": {"text": "constant", "prompt": "what"},
    "none": {"text": "none"},
}


def changed(text: str, stride: int = 4, **options: Any) -> VisionLanguage:
    model = open_vision_language(llava(**options))
    model.text_ids = lambda words: [len(SPECIAL) + ord(letter) % 29 for letter in words]
    config = Config(stride=stride, heads=4, levels=(0, 2), **TEXTS[text])
    assert query_compressor.check(model, config) == []
    found = query_compressor.apply(model, config)
    assert isinstance(found, VisionLanguage)
    return found


def facts_of(model: VisionLanguage, precision: str = "fp32") -> tuple[LanguageModel, ImageFacts]:
    told = vision_language_facts(model, PREPARATION, precision)
    image = image_facts(told.pop("image"), dict.fromkeys(files_of(model), ""), 4, "image")
    facts = LanguageModel(**told, eos_token_ids=(), bos_token_id=1, pad_token_id=2, image=image)
    return facts, image


@pytest.mark.parametrize(
    ("text", "stride", "precision", "tower"),
    [
        ("prompt", 4, "fp32", "clip_vision_model"),  # regions that are padded
        ("constant", 6, "fp32", "clip_vision_model"),
        pytest.param("none", 3, "fp32", "clip_vision_model", marks=pytest.mark.slow),
        pytest.param("prompt", 3, "fp32", "siglip_vision_model", marks=pytest.mark.slow),
        pytest.param("prompt", 4, "fp16", "clip_vision_model", marks=pytest.mark.slow),
        pytest.param("constant", 3, "fp16", "clip_vision_model", marks=pytest.mark.slow),
    ],
)
def test_graphs_compute_what_the_model_computes(
    text: str, stride: int, precision: str, tower: str, tmp_path: Path
) -> None:
    model = changed(text, stride, tower=tower)
    export(model, LanguageRequest(precision=precision), tmp_path)
    facts, image = facts_of(model, precision)
    assert image.tokens == {3: 4, 4: 4, 6: 1}[stride]
    assert image.reusable == ("encoder" if text == "prompt" else "tokens")
    inputs = with_images(model, prompts(64, (1, 3), (1, 9), (0,)))
    found = compare(model, open_graphs(tmp_path, facts), inputs, 5, precision)
    assert found.failure() is None
    assert found.top1_agreement == 1.0 or precision == "fp16"
    assert found.max_abs < 1e-4 or precision == "fp16"
    assert (tmp_path / QUESTION).exists() == (tmp_path / COMPRESSOR).exists() == (text == "prompt")
    stored = sum(p.numel() for p in model.parameters()) * (2 if precision == "fp16" else 4)
    tensors = len(list(model.parameters()))
    assert (tmp_path / DATA).stat().st_size <= stored + tensors * 4096  # the question's weights are shared


def test_a_constant_prompt_costs_nothing_at_run_time(tmp_path: Path) -> None:
    counts = {}
    for text in ("constant", "none"):
        folder = tmp_path / text
        folder.mkdir()
        export(changed(text), LanguageRequest(), folder)
        nodes = onnx.load(folder / ENCODER, load_external_data=False).graph.node
        counts[text] = [node.op_type for node in nodes if node.op_type in ("MatMul", "Gemm")]
    assert counts["constant"] == counts["none"]


@pytest.mark.slow
def test_steps_in_the_language_model_come_behind_it(tmp_path: Path) -> None:
    model: Any = changed("prompt", 2)
    step = sparse_vlm.Config((0, 2), (6, 3))
    assert sparse_vlm.check(model, step) == []
    model = sparse_vlm.apply(model, step)
    assert model.image_rows() == [9, 6, 6, 3]
    export(model, LanguageRequest(), tmp_path)
    inputs = with_images(model, prompts(64, (2,), (9,), (0,)))
    assert compare(model, open_graphs(tmp_path, facts_of(model)[0]), inputs, 3).failure() is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, "image.question: question and compressor are files together, given None"),
        ({"compressor": "other.onnx"}, "image.compressor: question and compressor are files together"),
        ({"keys": 2}, "image.keys: there are none"),
        ({"tiles": {"grid": [1, 1], "image": [4, 4]}}, "image.tiles: there are none"),
    ],
)
def test_manifests_that_contradict_themselves_are_refused(change: dict[str, Any], message: str) -> None:
    model = changed("prompt")
    told = {**vision_language_facts(model, PREPARATION)["image"], **change}
    with pytest.raises(ArtifactError, match=message):
        image_facts(told, dict.fromkeys(files_of(model), ""), 4, "image")
