"""SparseVLM and pixel unshuffle in a LLaVA, against loops, transformers' attention and InternVL's shuffle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from llava_files import SIDE, changed, llava, opened, pixels
from torch import nn

from paring.transforms import must_drop, pixel_unshuffle, sparse_vlm, token_pool, window_merge
from paring.transforms._vision_language import Prefilled, VisionLanguage, open_vision_language
from paring.transforms._vision_language.folding import fold
from paring.transforms._vision_language.raters import text_raters
from paring_exporters.language import LanguageRequest
from paring_exporters.vision_language import export
from paring_runtimes.errors import ExportError

BEFORE, AFTER = torch.tensor([[1, 9, 12]]), torch.tensor([[8, 30, 11, 6, 22, 13]])


def read(model: VisionLanguage, images: torch.Tensor, after: torch.Tensor = AFTER) -> Prefilled:
    with torch.inference_mode():
        start, end = (model.embed(text).expand(len(images), -1, -1) for text in (BEFORE, after))
        return model.prefill(start, model.encode(images).features, end)


def raters_by_loop(image: torch.Tensor, text: torch.Tensor) -> list[bool]:
    """Of image [n, C] and text [T, C]."""
    relevance = torch.zeros(len(text))
    for token in image:
        relevance += torch.tensor([float(token @ word) for word in text]).softmax(0) / len(image)
    return [bool(value > relevance.mean()) for value in relevance]


def test_raters_are_the_words_of_more_than_mean_relevance() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(2, count, 8, generator=generator) for count in (20, 7))
    found = text_raters(image, text)
    assert found.tolist() == [raters_by_loop(*pair) for pair in zip(image, text, strict=True)]
    assert 0 < found.sum() < found.numel()
    assert text_raters(image, text[:, :1]).all()  # a single word is not above its own mean
    assert text_raters(image, text[:, :1].expand(-1, 3, -1)).all()


@pytest.mark.parametrize("seed", range(3))
def test_it_keeps_what_the_raters_attend_to_in_transformers(seed: int) -> None:
    model, image = llava(attn_implementation="eager"), pixels(1, seed)
    holes = torch.full((1, 36), model.config.image_token_id)
    with torch.inference_mode():
        ids = torch.cat([BEFORE, holes, AFTER], 1)
        attention = model(ids, pixel_values=image, output_attentions=True).attentions[1][0].mean(0)
        features = torch.stack(list(model.get_image_features(pixel_values=image)))[0]
        words = model.get_input_embeddings()(AFTER)[0]
    raters = [39 + index for index, rates in enumerate(raters_by_loop(features, words)) if rates]
    assert 0 < len(raters) < 6
    scores = [sum(float(attention[row, 3 + j]) for row in raters) for j in range(36)]
    best = sorted(sorted(range(36), key=lambda j: -scores[j])[:9])
    parts = changed(open_vision_language(model), sparse_vlm, sparse_vlm.Config((1,), (9,)))
    (kept,) = read(parts, image).kept
    assert kept[0].tolist() == [0, 1, 2, *(3 + j for j in best), *range(39, 45)]


def test_what_stays_depends_on_the_question_and_not_on_batch_mates() -> None:
    model = changed(opened(), sparse_vlm, sparse_vlm.Config((0, 2), (9, 4)))
    assert model.image_rows() == [36, 9, 9, 4]
    images = pixels(4)
    together = read(model, images)
    others = [read(model, images, AFTER.roll(shift, 1) + shift) for shift in (1, 2, 3)]
    assert any(not torch.equal(together.kept[0], other.kept[0]) for other in others)
    for row in range(4):
        alone = read(model, images[row : row + 1])
        torch.testing.assert_close(together.logits[row : row + 1], alone.logits, atol=1e-4, rtol=1e-4)


def test_keeping_every_token_changes_nothing() -> None:
    plain = opened()
    found = read(changed(plain, sparse_vlm, sparse_vlm.Config((0, 2), (36, 36))), pixels())
    torch.testing.assert_close(found.logits, read(plain, pixels()).logits)


def test_the_fold_is_internvl_s() -> None:
    from transformers.models.internvl.modeling_internvl import InternVLModel

    x = torch.randn(2, 4, 6, 5)
    theirs = InternVLModel.pixel_shuffle(nn.Module(), x, scale_factor=0.5)
    assert torch.equal(fold(x.flatten(1, 2), (4, 6), 2), theirs.flatten(1, 2))


@pytest.mark.parametrize("tower", ["clip_vision_model", "siglip_vision_model"])
@pytest.mark.parametrize("r", [2, 3])
def test_untrained_it_projects_the_mean_of_each_window(tower: str, r: int) -> None:
    plain = opened(tower=tower)
    folded = changed(plain, pixel_unshuffle, pixel_unshuffle.Config(r))
    assert folded.image_tokens == 36 // r**2
    images, side = pixels(), SIDE // 6 // r
    with torch.inference_mode():
        patches, _ = plain.tower(images)
        windows = patches.reshape(2, side, r, side, r, -1).mean((2, 4)).flatten(1, 2)
        expected, found = plain.projector(windows), folded.encode(images).features
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert read(folded, images).logits.shape == (2, 64)


def test_trained_it_sees_more_than_the_mean() -> None:
    folded, images = changed(opened(), pixel_unshuffle, pixel_unshuffle.Config()), pixels(1)
    with torch.inference_mode():
        before = folded.encode(images).features
        folded.get_parameter("projector.projector.first.weight")[:, :24] *= 2  # of each window's first patch
        assert not torch.allclose(before, folded.encode(images).features, atol=1e-3)
    assert not pixel_unshuffle.TRAITS.training_free


def test_both_work_together_and_with_the_other_steps() -> None:
    model = changed(opened(), pixel_unshuffle, pixel_unshuffle.Config())
    both = changed(model, sparse_vlm, sparse_vlm.Config((0, 2), (6, 3)))
    assert both.image_rows() == [9, 6, 6, 3]
    pooled = changed(opened(), token_pool, token_pool.Config(window=(3, 3)))
    assert pooled.image_tokens == 4
    assert changed(pooled, pixel_unshuffle, pixel_unshuffle.Config()).image_tokens == 1


FOLDED = pixel_unshuffle.Config()
REFUSED: list[tuple[list[tuple[Any, Any]], Any, Any, dict[str, Any], str]] = [
    ([(pixel_unshuffle, FOLDED)], pixel_unshuffle, FOLDED, {}, "windows of patches already"),
    ([], pixel_unshuffle, pixel_unshuffle.Config(4), {}, "no windows of 4 x 4"),
    ([], pixel_unshuffle, FOLDED, {"vision_feature_select_strategy": "full"}, "class token is among"),
    ([(window_merge, window_merge.Config(r=1))], pixel_unshuffle, FOLDED, {}, "out of their grid"),
    (
        [(pixel_unshuffle, FOLDED)],
        must_drop,
        must_drop.Config(layers=(0,), budgets=(5,), key_share=0.1),
        {},
        "which are no tokens",
    ),
    ([], sparse_vlm, sparse_vlm.Config(), {}, "from 0 to 3"),
    ([], sparse_vlm, sparse_vlm.Config((0,), (37,)), {}, "none greater"),
]


@pytest.mark.parametrize(("steps", "method", "config", "options", "message"), REFUSED)
def test_what_does_not_fit_is_refused(
    steps: list[tuple[Any, Any]], method: Any, config: Any, options: Any, message: str
) -> None:
    model = opened(**options)
    for step, own in steps:
        model = changed(model, step, own)
    assert message in " ".join(method.check(model, config))


def test_a_tower_step_behind_the_fold_is_refused(tmp_path: Path) -> None:
    model = changed(opened(), pixel_unshuffle, FOLDED)
    window_merge.apply(model, window_merge.Config(r=1))
    with pytest.raises(ExportError, match="counts on 6 x 6 patches, and the tower gives 28"):
        export(model, LanguageRequest(), tmp_path)
