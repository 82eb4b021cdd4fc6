"""Few image tokens without training: means of regions, by attention or not, and medoids; one projector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from llava_files import changed, opened, pixels

from paring.transforms import attention_mean, k_medoids, token_pool
from paring_exporters.language import LanguageRequest
from paring_exporters.language.parity import prompts
from paring_exporters.vision_language import export, files_of, vision_language_facts
from paring_exporters.vision_language.parity import compare, open_graphs, with_images
from paring_runtimes.generation.image_facts import image_facts
from paring_runtimes.generation.language_model import LanguageModel

LAST = 2  # of three blocks: the selected layer is the last but one


@pytest.mark.parametrize(("stride", "tokens"), [(6, 1), (4, 4), (3, 4), (2, 9)])
def test_token_pool_behind_the_last_block_is_the_mean_of_regions(stride: int, tokens: int) -> None:
    plain = opened()
    pooled = changed(plain, token_pool, token_pool.Config(window=(stride, stride), block=LAST))
    assert pooled.image_tokens == tokens
    with torch.inference_mode():
        patches = plain.tower(pixels())[0]
        regions: dict[tuple[int, int], list[int]] = {}
        for place in range(36):
            regions.setdefault((place // 6 // stride, place % 6 // stride), []).append(place)
        means = torch.stack([patches[:, places].mean(1) for places in regions.values()], 1)
        found = pooled.encode(pixels()).features
        torch.testing.assert_close(found, plain.projector(means), atol=1e-4, rtol=1e-4)


def test_medoids_are_patches_as_they_were_projected() -> None:
    plain = opened()
    kept = changed(plain, k_medoids, k_medoids.Config(tokens=5))
    assert kept.image_tokens == 5
    with torch.inference_mode():
        every, found = plain.encode(pixels()).features, kept.encode(pixels()).features
    away = (found[:, :, None] - every[:, None]).norm(dim=3)  # [2, 5, 36]
    assert float(away.amin(2).amax()) < 1e-4
    assert all(len(set(row.tolist())) == 5 for row in away.argmin(2))


def test_attention_weighs_the_means() -> None:
    plain = opened()
    weighed = changed(plain, attention_mean, attention_mean.Config(stride=3))
    pooled = changed(plain, token_pool, token_pool.Config(window=(3, 3), block=LAST))
    assert weighed.image_tokens == 4
    with torch.inference_mode():
        found, other = (model.encode(pixels()).features for model in (weighed, pooled))
    assert found.shape == other.shape
    assert not torch.allclose(found, other, atol=1e-3)


def test_what_does_not_fit_is_refused() -> None:
    told = attention_mean.check(opened(tower="siglip_vision_model"), attention_mean.Config())
    assert "no class token" in " ".join(told)
    assert "37 cannot stay of 36" in " ".join(k_medoids.check(opened(), k_medoids.Config(tokens=37)))
    assert "block 3 does not exist" in " ".join(k_medoids.check(opened(), k_medoids.Config(4, block=3)))
    for method in (attention_mean, k_medoids, token_pool):
        assert method.TRAITS.training_free


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "config"),
    [(attention_mean, attention_mean.Config(stride=4)), (k_medoids, k_medoids.Config(tokens=5))],
)
def test_graphs_compute_what_the_model_computes(method: Any, config: Any, tmp_path: Path) -> None:
    model = changed(opened(), method, config)
    export(model, LanguageRequest(), tmp_path)
    told = vision_language_facts(model, {"shortest_edge": 36, "mean": [0.5] * 3, "std": [0.5] * 3})
    image = image_facts(told.pop("image"), dict.fromkeys(files_of(model), ""), 4, "")
    facts = LanguageModel(**told, eos_token_ids=(), bos_token_id=1, pad_token_id=2, image=image)
    inputs = with_images(model, prompts(64, (2,), (9,), (0,)))
    found = compare(model, open_graphs(tmp_path, facts), inputs, 3)
    assert found.failure() is None
    assert found.top1_agreement == 1.0
