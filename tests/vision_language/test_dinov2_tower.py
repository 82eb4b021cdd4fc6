"""LLaVA with a DINOv2 tower, and features of several layers: every method of vision-language models on it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llava_files import SIDE, TRAINED_SIDE, llava, llava_folder, picture, pixels

import paring_runtimes
from paring.pipeline import convert
from paring.recipe import build_recipe
from paring.sources import load_model
from paring.transforms import (
    fast_v,
    must_drop,
    pixel_unshuffle,
    sparse_vlm,
    token_merge,
    token_pool,
    window_merge,
)
from paring.transforms._must_drop.keys import key_set
from paring.transforms._vision_language import VisionLanguage, find, open_vision_language
from paring_exporters.language import LanguageRequest
from paring_exporters.vision_language import export
from paring_runtimes import GenerativeSession
from paring_runtimes.errors import ExportError

SIZE = (SIDE, SIDE)
STAGES = {"layers": (0, 2), "budgets": (10, 4), "key_share": 0.1, "trim_cache": True, "whole": 1}
STEPS: dict[str, tuple[list[tuple[Any, Any]], list[int]]] = {  # and the image's rows in each layer's cache
    "must_drop": ([(must_drop, must_drop.Config(**STAGES))], [36, 4, 4, 4]),
    "all of MustDrop": (
        [(window_merge, window_merge.Config(r=2)), (must_drop, must_drop.Config(**STAGES))],
        [20, 4, 4, 4],
    ),
    "token_merge": ([(token_merge, token_merge.Config(r=5))], [26] * 4),
    "token_pool": ([(token_pool, token_pool.Config(block=1))], [9] * 4),
    "fast_v": ([(fast_v, fast_v.Config(layers=2))], [36, 36, 18, 18]),
    "sparse_vlm": ([(sparse_vlm, sparse_vlm.Config((1,), (9,)))], [36, 36, 9, 9]),
    "pixel_unshuffle": ([(pixel_unshuffle, pixel_unshuffle.Config())], [9] * 4),
}


def opened(**options: Any) -> VisionLanguage:
    return open_vision_language(llava(tower="dinov2", **options), SIZE)


def hidden_states(model: Any, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode():
        states: tuple[torch.Tensor, ...] = model.vision_tower(images, output_hidden_states=True).hidden_states
    return states


def test_the_trunk_s_states_are_transformers_hidden_states() -> None:
    model = llava(tower="dinov2", vision_feature_layer=-1)
    parts = open_vision_language(copy.deepcopy(model), SIZE)
    with torch.inference_mode():
        found = parts.tower.trunk.states(parts.tower.embedding(pixels()), (3, 0, 2, 1))
    theirs = hidden_states(model, pixels())
    for number, own in zip((3, 0, 2, 1), found, strict=True):
        torch.testing.assert_close(own, theirs[number], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="has 0 to 3"):
        parts.tower.trunk.states(found[0], (4,))


@pytest.mark.parametrize("side", [SIDE, TRAINED_SIDE, 45])
def test_positions_are_interpolated_once_for_images_of_one_size(side: int) -> None:
    model = llava(tower="dinov2")
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    wanted = hidden_states(model, images)[0]
    tower = open_vision_language(model, None if side == TRAINED_SIDE else (side, side)).tower
    assert tower.patches() == (side // 6) ** 2
    with torch.inference_mode():
        torch.testing.assert_close(tower.embedding(images), wanted, atol=1e-5, rtol=1e-5)


def test_another_size_of_clip_is_refused() -> None:
    with pytest.raises(
        ValueError, match="images of 60 x 60 pixels do not fit its CLIPVisionModel for 36 x 36"
    ):
        open_vision_language(llava(), (60, 60))


def test_opening_leaves_the_tower_as_it_was() -> None:
    model = llava(tower="dinov2")
    before = hidden_states(model, pixels())
    open_vision_language(model, SIZE)
    assert all(torch.equal(*pair) for pair in zip(before, hidden_states(model, pixels()), strict=True))


def test_keys_are_what_the_class_token_of_the_last_layer_attends_to() -> None:
    model = llava(tower="dinov2", attn_implementation="eager")
    with torch.inference_mode():
        scores = model.vision_tower(pixels(), output_attentions=True).attentions[-1].mean(1)[:, 0, 1:]
    parts = open_vision_language(model, SIZE)
    parts.tower.key_share = 0.2
    with torch.inference_mode():
        keys = parts.encode(pixels()).keys
    assert keys is not None
    assert keys.tolist() == key_set(scores, 0.2).tolist()


@pytest.mark.parametrize("name", STEPS)
def test_every_method_works(name: str) -> None:
    model: Any = opened()
    steps, rows = STEPS[name]
    for method, config in steps:
        assert method.check(model, config) == []
        model = method.apply(model, config)
    changed = find(model)
    assert changed is not None
    assert changed.image_rows() == rows
    texts = torch.tensor([[1, 9, 12], [1, 20, 7]])
    with torch.inference_mode():
        features, keys = changed.encode(pixels())
        read = changed.prefill(changed.embed(texts), features, changed.embed(texts), keys)
    assert [own.key.shape[2] - 6 for own in read.memory] == rows
    assert bool(read.logits.isfinite().all())


@pytest.mark.parametrize("block", [1, 2])
def test_windows_merged_before_the_first_of_several_layers(block: int) -> None:
    """By its end at the latest; in the last block's end, patches are counted as they leave."""
    model = opened(vision_feature_layer=[-2, 2])
    window_merge.apply(model, window_merge.Config(r=2, block=block))
    assert model.image_tokens == 20
    with torch.inference_mode():
        features = model.tower(pixels())[0]
    assert features.shape == (2, 20, 48)


def test_windows_merged_between_several_layers_are_refused(tmp_path: Path) -> None:
    model = opened(vision_feature_layer=[1, 2])
    window_merge.apply(model, window_merge.Config(r=2, block=2))
    with pytest.raises(ExportError, match=r"blocks \(1, 2\) .* are 36, 20 patches: .* must come by block 1"):
        export(model, LanguageRequest(), tmp_path)


def test_the_processor_s_crop_is_the_tower_s_size(tmp_path: Path) -> None:
    folder = llava_folder(tmp_path / "tiny", tower="dinov2")
    assert load_model(f"hf:{folder}").image_size == SIZE
    file = folder / "preprocessor_config.json"
    whole = {"do_center_crop": False, "size": {"height": TRAINED_SIDE, "width": TRAINED_SIDE}}
    file.write_text(json.dumps({**json.loads(file.read_text()), **whole}))
    assert load_model(f"hf:{folder}").image_size is None  # its config's own


@pytest.mark.slow  # two conversions
@pytest.mark.parametrize("layer", [-2, [-1, 1]])
def test_it_answers_as_transformers_does(layer: Any, tmp_path: Path) -> None:
    from PIL import Image
    from transformers import AutoImageProcessor, AutoTokenizer, LlavaForConditionalGeneration

    folder, image = (
        llava_folder(tmp_path / "tiny", tower="dinov2", vision_feature_layer=layer),
        picture(2, 50, 70),
    )
    verify = {"batch_sizes": [1, 2], "prompt_lengths": [5], "seeds": [0], "steps": 3}
    convert(build_recipe({"model": f"hf:{folder}", "verify": verify}), tmp_path / "out")
    tokenizer, prompt = AutoTokenizer.from_pretrained(folder), "ab <image> cd, ef."
    ids = tokenizer(prompt.replace("<image>", "<image>" * 36), return_tensors="pt").input_ids
    prepare = AutoImageProcessor.from_pretrained(folder, use_fast=False)
    seen = prepare(Image.fromarray(image), return_tensors="pt").pixel_values
    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    with torch.inference_mode():
        wanted = model.generate(ids, pixel_values=seen, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    with paring_runtimes.load(tmp_path / "out") as session:
        assert isinstance(session, GenerativeSession)
        (answer,) = session.generate(prompt, image=np.asarray(image), max_new_tokens=8)
    assert list(answer.token_ids) == wanted.tolist()
