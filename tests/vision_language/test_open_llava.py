"""A LLaVA in parts computes what transformers computes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llava_files import SIDE, llava, llava_folder, picture, pixels
from torch import nn

from paring.sources import LoadedVisionLanguageModel, load_model
from paring.transforms._decoder import Growing, Tokens
from paring.transforms._vision_language import VisionLanguage, open_vision_language, why_not
from paring_runtimes.generation.image_facts import ImageFacts
from paring_runtimes.generation.image_input import prepare

MODELS: dict[str, dict[str, Any]] = {
    "CLIP, Llama": {},
    "CLIP, Qwen2, class token kept": {"text": "qwen2", "vision_feature_select_strategy": "full"},
    "CLIP, Mistral, last layer": {"text": "mistral", "vision_feature_layer": -1},
    "CLIP, first layer": {"vision_feature_layer": 1},
    "SigLIP, Llama": {"tower": "siglip_vision_model"},
    "CLIP, three layers": {"vision_feature_layer": [-2, 0, 2]},
    "DINOv2, Llama": {"tower": "dinov2"},
    "DINOv2, class token kept": {"tower": "dinov2", "vision_feature_select_strategy": "full"},
    "DINOv2, last layer": {"tower": "dinov2", "vision_feature_layer": -1},
    "DINOv2, two layers": {"tower": "dinov2", "vision_feature_layer": [-1, 1]},
    "SigLIP, last layer": {"tower": "siglip_vision_model", "vision_feature_layer": -1},
}
BEFORE, AFTER = torch.tensor([[1, 9, 12], [1, 20, 7]]), torch.tensor([[8, 30, 11, 6], [22, 10, 5, 13]])


def theirs(model: Any, before: torch.Tensor, after: torch.Tensor, images: torch.Tensor, tokens: int) -> Any:
    """transformers' output over the whole prompt."""
    holes = torch.full((len(before), tokens), model.config.image_token_id)
    with torch.inference_mode():
        return model(input_ids=torch.cat([before, holes, after], 1), pixel_values=images)


def ours(model: VisionLanguage, before: torch.Tensor, after: torch.Tensor, images: torch.Tensor) -> Any:
    with torch.inference_mode():
        features, keys = model.encode(images)
        return model.prefill(model.embed(before), features, model.embed(after), keys)


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Within 1e-5 of the largest value: features may be in the tens."""
    torch.testing.assert_close(found, wanted, atol=1e-5 * max(1.0, float(wanted.abs().max())), rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_parts_compute_what_transformers_computes(name: str) -> None:
    model = llava(**MODELS[name])
    opened = open_vision_language(copy.deepcopy(model), (SIDE, SIDE))
    images = pixels()
    with torch.inference_mode():
        wanted = torch.stack(list(model.get_image_features(pixel_values=images)))
        found = opened.encode(images).features
    assert found.shape[1] == opened.image_tokens == (37 if "class token" in name else 36)
    close(found, wanted)
    expected = theirs(model, BEFORE, AFTER, images, opened.image_tokens)
    read = ours(opened, BEFORE, AFTER, images)
    close(read.logits, expected.logits[:, -1])
    for layer, own in enumerate(read.memory):
        close(own.key, expected.past_key_values[layer][0])
    place = torch.full((2, 1), 7 + opened.image_tokens)
    ids, seen = torch.tensor([[9], [14]]), torch.ones(2, 8 + opened.image_tokens, dtype=torch.bool)
    with torch.inference_mode():
        tokens = Tokens(opened.decoder.embedding(ids, place), place, seen[:, :1])
        after = opened.decoder.run(tokens, Growing(read.memory, seen), reduce=False)
        stepped = opened.decoder.logits(after.tokens.x)
        again = model(input_ids=ids, past_key_values=expected.past_key_values, cache_position=place[0])
    close(stepped, again.logits)


@pytest.mark.parametrize("tower", ["clip_vision_model", "siglip_vision_model", "dinov2"])
@pytest.mark.parametrize("shape", [(SIDE, SIDE), (50, 70), (90, 41), (20, 31)])
def test_a_checkpoint_s_images_are_prepared_as_transformers_prepares_them(
    tower: str, shape: tuple[int, int], tmp_path: Path
) -> None:
    from PIL import Image
    from transformers import AutoImageProcessor

    folder, image = llava_folder(tmp_path / "tiny", tower=tower), picture(3, *shape)
    source = load_model(f"hf:{folder}")
    assert isinstance(source, LoadedVisionLanguageModel)
    facts = ImageFacts("", "", "", 3, 36, 0, (SIDE, SIDE), **source.preparation, rows=())
    theirs = AutoImageProcessor.from_pretrained(folder, use_fast=False)(
        Image.fromarray(image), return_tensors="np"
    )
    np.testing.assert_allclose(prepare(image, facts, 1), theirs.pixel_values, atol=1e-6)


def test_images_make_a_difference() -> None:
    opened = open_vision_language(llava())
    read = [ours(opened, BEFORE[:1], AFTER[:1], pixels(1, seed)).logits for seed in (0, 1)]
    assert not torch.allclose(read[0], read[1], atol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vision_feature_layer": [-2, 4]}, "hidden states are -4 to 3, and one of them or a list"),
        ({"vision_feature_layer": []}, "vision_feature_layer is []"),
        ({"tower": "siglip_vision_model", "vision_feature_select_strategy": "default"}, "its tower lacks"),
        ({"tower": "vit"}, "its vision tower is ViTModel; known: CLIPVisionModel"),
    ],
)
def test_what_is_not_known_is_named(options: dict[str, Any], message: str) -> None:
    assert message in "; ".join(why_not(llava(**options)))


def test_another_model_is_named() -> None:
    assert "Linear is no vision-language model" in why_not(nn.Linear(2, 2))[0]
