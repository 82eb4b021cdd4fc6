"""LLaVA-NeXT's tiles for images of one shape, against transformers: pixels, tokens, logits, whole line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llava_files import CANVASES, MEAN, STD, TILE, llava_next, llava_next_folder, next_processor, picture
from typer.testing import CliRunner

import paring_runtimes
from paring.cli import app
from paring.recipe import build_recipe
from paring.sources import LoadedVisionLanguageModel, load_model
from paring.transforming import transform
from paring.transforms import fast_v, must_drop, pixel_unshuffle, sparse_vlm
from paring.transforms._vision_language import VisionLanguage, open_vision_language
from paring.transforms._vision_language.tiles import tiling_of
from paring_exporters.language import LanguageRequest
from paring_exporters.vision_language import export
from paring_runtimes import GenerativeSession
from paring_runtimes.errors import ExportError, SourceError, TransformRefused
from paring_runtimes.generation.image_facts import ImageFacts, Tiles
from paring_runtimes.generation.image_input import prepare

BEFORE, AFTER = torch.tensor([[1, 9, 12]]), torch.tensor([[8, 30, 11, 6]])
SHAPES = [(40, 60), (60, 40), (48, 48), (20, 90), (47, 49), (31, 45), (100, 30), (24, 72), (10, 10)]
PREPARED = {"mean": MEAN, "std": STD}


def theirs(image: np.ndarray) -> dict[str, torch.Tensor]:
    from PIL import Image

    found = next_processor()(Image.fromarray(image), return_tensors="pt")
    return {"pixel_values": found.pixel_values, "image_sizes": found.image_sizes}


def facts_of(model: VisionLanguage) -> ImageFacts:
    assert model.untile is not None
    tiling = model.untile.tiling
    tiles = Tiles(tiling.grid, tiling.image)
    return ImageFacts("", "", "", 3, model.image_tokens, 0, (TILE, TILE), None, MEAN, STD, (), tiles)


@pytest.fixture(scope="module")
def whole() -> Any:
    return llava_next()


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_tokens_and_logits_are_transformers_own(whole: Any, shape: tuple[int, int]) -> None:
    image = picture(1, *shape)
    feeds = theirs(image)
    opened = open_vision_language(copy.deepcopy(whole), shape)
    pixels = torch.from_numpy(prepare(image, facts_of(opened), 1))
    assert pixels.shape[1:] == opened.pixel_shape
    torch.testing.assert_close(pixels, feeds["pixel_values"], atol=1e-6, rtol=1e-5)
    with torch.inference_mode():
        (features,) = whole.model.get_image_features(**feeds)
        found = opened.encode(pixels).features
    assert found.shape[1] == opened.image_tokens == len(features)
    scale = float(features.abs().max())
    torch.testing.assert_close(found[0], features, atol=1e-5 * scale, rtol=1e-4)
    holes = torch.full((1, len(features)), whole.config.image_token_id)
    with torch.inference_mode():
        expected = whole(input_ids=torch.cat([BEFORE, holes, AFTER], 1), **feeds).logits[:, -1]
        read = opened.prefill(opened.embed(BEFORE), found, opened.embed(AFTER))
    torch.testing.assert_close(read.logits, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-4)


def test_a_siglip_tower_has_tiles_too() -> None:
    model, image = llava_next(tower="siglip_vision_model"), picture(2, 40, 60)
    feeds = theirs(image)
    opened = open_vision_language(copy.deepcopy(model), (40, 60))
    with torch.inference_mode():
        (features,) = model.model.get_image_features(**feeds)
        found = opened.encode(feeds["pixel_values"]).features[0]
    torch.testing.assert_close(found, features, atol=1e-5 * float(features.abs().max()), rtol=1e-4)


@pytest.mark.parametrize("patches", [(24, 24), (3, 3)])
def test_real_canvases_have_the_tokens_that_transformers_counts(patches: tuple[int, int]) -> None:
    """LLaVA-1.6: 336-pixel tiles of 24 x 24 patches; a square of 2 x 2 is 576 + 48 * 49 = 2928 tokens."""
    side = patches[0] * 14
    canvases = [[side * down, side * across] for down, across in ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))]
    if patches == (24, 24):
        assert tiling_of((640, 640), canvases, side, patches).tokens() == 2928
        assert tiling_of((480, 640), canvases, side, patches).tokens() == 576 + 36 * 49
    from transformers.models.llava_next.modeling_llava_next import unpad_image

    rng = np.random.default_rng(0)
    for height, width in rng.integers(20, 900, (60, 2)).tolist():
        tiling = tiling_of((height, width), canvases, side, patches)
        rows, columns = (n * m for n, m in zip(tiling.grid, patches, strict=True))
        left = unpad_image(torch.zeros(1, rows, columns), (height, width)).shape[1:]
        assert tiling.tokens() == patches[0] * patches[1] + left[0] * (left[1] + 1)


def test_images_of_another_shape_get_black_bars_first(whole: Any) -> None:
    opened = open_vision_language(copy.deepcopy(whole), (40, 60))
    for shape, padded in (((40, 40), (40, 60)), ((40, 90), (60, 90)), ((80, 120), (80, 120))):
        image = picture(3, *shape)
        black = np.zeros((*padded, 3), np.uint8)
        top, left = (padded[0] - shape[0]) // 2, (padded[1] - shape[1]) // 2
        black[top : top + shape[0], left : left + shape[1]] = image
        found = prepare(image, facts_of(opened), 1)
        np.testing.assert_array_equal(found, prepare(black, facts_of(opened), 1))
        assert found.shape[1:] == opened.pixel_shape
        tiles = theirs(black)["pixel_values"]
        if tiles.shape == found.shape:  # transformers may take a larger canvas for a larger picture
            np.testing.assert_allclose(found, tiles.numpy(), atol=1e-6)


def test_without_a_shape_it_is_the_largest_canvas(whole: Any) -> None:
    opened = open_vision_language(copy.deepcopy(whole))
    assert opened.untile is not None
    assert opened.untile.tiling.grid == (2, 2)
    assert opened.image_tokens == 9 + 6 * 7


@pytest.mark.parametrize(
    ("method", "config"),
    [
        (must_drop, must_drop.Config(layers=(0, 2), budgets=(12, 5))),
        (must_drop, must_drop.Config(layers=(0, 2), budgets=(12, 5), positions="paper_compat")),
        (fast_v, fast_v.Config()),
        (sparse_vlm, sparse_vlm.Config((0, 2), (12, 5))),
    ],
)
def test_image_tokens_are_dropped_as_in_llava(whole: Any, method: Any, config: Any) -> None:
    opened = open_vision_language(copy.deepcopy(whole), (40, 60))
    assert method.check(opened, config) == []
    changed = method.apply(opened, config)
    pixels = torch.from_numpy(prepare([picture(1, 40, 60), picture(2, 40, 60)], facts_of(opened), 2))
    with torch.inference_mode():
        text = [changed.embed(ids).expand(2, -1, -1) for ids in (BEFORE, AFTER)]
        read = changed.prefill(text[0], changed.encode(pixels).features, text[1])
        alone = changed.prefill(text[0][:1], changed.encode(pixels[:1]).features, text[1][:1])
    assert [7 + rows for rows in changed.image_rows()] == [own.key.shape[2] for own in read.memory]
    torch.testing.assert_close(read.logits[:1], alone.logits, atol=1e-4, rtol=1e-4)


def test_what_tiles_cannot_have_is_refused(whole: Any, tmp_path: Path) -> None:
    opened = open_vision_language(copy.deepcopy(whole), (40, 60))
    assert "seen in tiles" in pixel_unshuffle.check(opened, pixel_unshuffle.Config(3))[0]
    keys = must_drop.Config(layers=(0,), budgets=(9,), key_share=0.1)
    assert "which are no tokens" in " ".join(must_drop.check(opened, keys))
    steps = [{"window_merge": {"r": 1}}, {"fast_v": {}}]
    with pytest.raises(TransformRefused, match="have 3 x 3 patches, and the tower gives 1 tokens"):
        transform(opened, build_recipe({"transforms": steps}))
    with pytest.raises(ExportError, match="nothing may take patches out of their grid"):
        export(opened, LanguageRequest(), tmp_path)


def test_a_checkpoint_is_loaded_with_the_shape_that_is_asked_for(tmp_path: Path) -> None:
    folder = llava_next_folder(tmp_path / "next")
    found = load_model(f"hf:{folder}", image_size=(40, 60))
    assert isinstance(found, LoadedVisionLanguageModel)
    assert found.image_size == (40, 60)
    assert found.preparation == {"shortest_edge": None, **PREPARED}
    with pytest.raises(SourceError, match="leave image_size out"):
        load_model(f"hf:{folder}", any_image_size=True)


@pytest.mark.slow
def test_the_whole_line_answers_as_transformers_does(tmp_path: Path) -> None:
    folder = llava_next_folder(tmp_path / "next")
    sets = ("verify.batch_sizes=[1,2]", "verify.prompt_lengths=[5]", "verify.seeds=[0]", "verify.steps=3")
    arguments = ["convert", "-m", f"hf:{folder}", "-o", str(tmp_path / "out")]
    for value in (*sets, "export.image_size=[40,60]"):
        arguments += ["--set", value]
    done = CliRunner().invoke(app(), arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())["graph"]["generation"]["image"]
    assert told["tiles"] == {"grid": [2, 2], "image": [40, 60]}
    from transformers import AutoTokenizer, LlavaNextForConditionalGeneration

    model = LlavaNextForConditionalGeneration.from_pretrained(folder).eval()
    image, prompt = picture(4, 40, 60), "ab <image> cd, ef."
    text = prompt.replace("<image>", "<image>" * told["tokens"])
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt").input_ids
    feeds = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **theirs(image)}
    with torch.inference_mode():
        expected = model.generate(**feeds, max_new_tokens=8, do_sample=False, eos_token_id=None)
    wanted = expected[0, ids.shape[1] :].tolist()
    wanted = wanted[: wanted.index(2) + 1] if 2 in wanted else wanted
    with paring_runtimes.load(tmp_path / "out") as session:
        assert isinstance(session, GenerativeSession)
        (answer,) = session.generate(prompt, image=image, max_new_tokens=8)
        several = session.generate([prompt] * 2, image=[image, picture(5, 90, 31)], max_new_tokens=8)
    assert list(answer.token_ids) == wanted
    assert several[0].token_ids == answer.token_ids


def test_the_canvases_of_the_tests_are_whole_tiles() -> None:
    assert all(side % TILE == 0 for canvas in CANVASES for side in canvas)
