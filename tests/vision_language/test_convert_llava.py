"""`paring convert` and `paring generate` on a small LLaVA, against transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llava_files import SIDE, llava_folder, picture
from typer.testing import CliRunner

import paring_runtimes
from paring.cli import app
from paring.pipeline import convert
from paring.recipe import build_recipe
from paring.sources import load_model
from paring_runtimes import GenerativeSession
from paring_runtimes.artifact import read_manifest, verify_files
from paring_runtimes.errors import ArtifactError, InputError, RecipeError, SourceError
from paring_runtimes.generation.options import Options

pytestmark = pytest.mark.slow  # whole conversions, several minutes in all
VERIFY = {"batch_sizes": [1, 2], "prompt_lengths": [5], "seeds": [0], "steps": 3}
PROMPTS = ["<image> what is it:", "ab <image> cd, ef.", "user: <image> is a cat. what.", "abc<image>d"]
SHAPES = [(SIDE, SIDE), (50, 70), (90, 41), (20, 31)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and its artifact, made through the command line."""
    base = tmp_path_factory.mktemp("llava")
    folder = llava_folder(base / "tiny")
    arguments = ["convert", "-m", f"hf:{folder}", "-o", str(base / "out")]
    for key, value in VERIFY.items():
        arguments += ["--set", f"verify.{key}={json.dumps(value)}"]
    done = CliRunner().invoke(app(), arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return base


@pytest.fixture(scope="module")
def dropped(base: Path) -> Path:
    """Its artifact with all of MustDrop's stages."""
    drop = {"layers": [0, 2], "budgets": [10, 4], "key_share": 0.1, "trim_cache": True, "whole": 1}
    steps = [{"window_merge": {"r": 2}}, {"must_drop": drop}]
    recipe = {"model": f"hf:{base / 'tiny'}", "transforms": steps, "verify": VERIFY}
    convert(build_recipe(recipe), base / "dropped")
    return base / "dropped"


def processed(base: Path, prompt: str, image: np.ndarray) -> dict[str, torch.Tensor]:
    """transformers' own inputs: the image's token repeated, the image prepared."""
    from PIL import Image
    from transformers import AutoImageProcessor, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base / "tiny")
    prepare = AutoImageProcessor.from_pretrained(base / "tiny", use_fast=False)
    ids = tokenizer(prompt.replace("<image>", "<image>" * 36), return_tensors="pt").input_ids
    pixels = prepare(Image.fromarray(image), return_tensors="pt").pixel_values
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


def model_of(base: Path) -> Any:
    from transformers import LlavaForConditionalGeneration

    return LlavaForConditionalGeneration.from_pretrained(base / "tiny").eval()


def test_the_manifest_tells_how_to_see(base: Path) -> None:
    manifest = read_manifest(base / "out")
    verify_files(base / "out", manifest)
    assert manifest.graph["task"] == "image-text-to-text"
    generation = manifest.graph["generation"]
    assert generation["eos_token_ids"] == [2]
    assert generation["image"] == {
        "encoder": "encoder.onnx",
        "embed": "embed.onnx",
        "prefill": "prefill.onnx",
        "token_id": 3,
        "tokens": 36,
        "keys": 0,
        "size": [36, 36],
        "shortest_edge": 36,
        "mean": [0.48, 0.46, 0.41],
        "std": [0.27, 0.26, 0.28],
        "rows": [36] * 4,
    }
    assert manifest.parity is not None
    assert manifest.parity["passed"]


@pytest.mark.parametrize("index", range(4))
def test_it_answers_as_transformers_does(base: Path, index: int) -> None:
    """Images of all shapes, resized here and there alike; the logits of the prompt, then greedy tokens."""
    prompt, image = PROMPTS[index], picture(index, *SHAPES[index])
    feeds, model = processed(base, prompt, image), model_of(base)
    with torch.inference_mode():
        expected = model(**feeds).logits[:, -1].numpy()
        ids = model.generate(**feeds, max_new_tokens=12, do_sample=False, eos_token_id=None)
    with paring_runtimes.load(base / "out") as session:
        assert isinstance(session, GenerativeSession)
        new_cache = session._cache_maker(Options(), True)
        logits = new_cache(1, image).prefill([session.tokenizer.encode(prompt)])
        (answer,) = session.generate(prompt, image=image, max_new_tokens=12)
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max(), rtol=1e-4)
    wanted = ids[0, feeds["input_ids"].shape[1] :].tolist()
    ended = wanted[: wanted.index(2) + 1] if 2 in wanted else wanted
    assert list(answer.token_ids) == ended


def test_files_arrays_and_prepared_pixels_are_the_same_image(base: Path, tmp_path: Path) -> None:
    from PIL import Image

    image = picture(5, 50, 70)
    Image.fromarray(image).save(tmp_path / "a.png")
    prepared = processed(base, "<image>a", image)["pixel_values"][0].numpy()
    with paring_runtimes.load(base / "out") as session:
        assert isinstance(session, GenerativeSession)
        answers = [
            session.generate(PROMPTS[1], image=given, max_new_tokens=6)[0].token_ids
            for given in (image, tmp_path / "a.png", str(tmp_path / "a.png"), prepared)
        ]
    assert len(set(answers)) == 1


@pytest.mark.parametrize("name", ["out", "dropped"])
def test_a_batch_answers_as_each_alone(base: Path, dropped: Path, name: str) -> None:
    images = [picture(index, *SHAPES[index]) for index in range(4)]
    with paring_runtimes.load(base / name) as session:
        assert isinstance(session, GenerativeSession)
        together = session.generate(PROMPTS, image=images, max_new_tokens=9)
        shared = session.generate(PROMPTS[:2], image=images[0], max_new_tokens=9)
        for index, image in enumerate(images):
            (alone,) = session.generate(PROMPTS[index], image=image, max_new_tokens=9)
            assert alone.token_ids == together[index].token_ids
        assert shared[0].token_ids == together[0].token_ids


@pytest.mark.parametrize("name", ["out", "dropped"])
def test_text_alone_is_read_as_transformers_reads_it(base: Path, dropped: Path, name: str) -> None:
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(base / "tiny")("abc, d", return_tensors="pt").input_ids
    wanted = model_of(base).generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None)
    with paring_runtimes.load(base / name) as session:
        assert isinstance(session, GenerativeSession)
        (answer,) = session.generate("abc, d", max_new_tokens=8)
    count = len(answer.token_ids)
    assert list(answer.token_ids) == wanted[0, ids.shape[1] : ids.shape[1] + count].tolist()


def test_dropping_is_in_the_manifest_and_keeps_a_baseline(base: Path, dropped: Path) -> None:
    manifest = read_manifest(dropped)
    image = manifest.graph["generation"]["image"]
    assert (image["tokens"], image["keys"], image["rows"]) == (20, 2, [20, 4, 4, 4])
    assert [step["name"] for step in manifest.transforms] == ["window_merge", "must_drop"]
    plain = read_manifest(base / "dropped-baseline").graph["generation"]["image"]
    assert plain["rows"] == [36] * 4


def test_the_command_line_shows_the_answer(base: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(picture(1, 50, 70)).save(tmp_path / "a.png")
    arguments = ["generate", str(base / "out"), PROMPTS[1], "--image", str(tmp_path / "a.png"), "--json"]
    done = CliRunner().invoke(app(), [*arguments, "--max-new-tokens", "5"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with paring_runtimes.load(base / "out") as session:
        assert isinstance(session, GenerativeSession)
        (answer,) = session.generate(PROMPTS[1], image=picture(1, 50, 70), max_new_tokens=5)
    assert json.loads(done.stdout)["token_ids"] == list(answer.token_ids)


REFUSED: list[tuple[str, Any, dict[str, Any], str]] = [
    ("no place", picture(0), {}, "must stand in it once, not 0 times"),
    ("<image> and <image>.", picture(0), {}, "once, not 2 times"),
    ("<image> what", None, {}, "nowhere, not 1 times"),
    ("what <image>", picture(0), {}, "text must follow the image"),
    ("<image>" + "a" * 100, picture(0), {}, "shorten it"),
    ("<image>a", "nothing.png", {}, "cannot be read"),
    ("<image>a", np.zeros((3, 5, 5)), {}, "given float64"),
    ("<image>a", [picture(0), picture(1)], {}, "one a prompt"),
    ("<image>a", picture(0), {"cache": "concat"}, "in-place graph only"),
]


@pytest.mark.parametrize(("prompt", "image", "options", "message"), REFUSED)
def test_wrong_prompts_and_images_are_refused(
    base: Path, prompt: str, image: Any, options: Any, message: str
) -> None:
    with paring_runtimes.load(base / "out") as session:
        assert isinstance(session, GenerativeSession)
        with pytest.raises(InputError, match=message):
            session.generate(prompt, image=image, **options)


def test_a_manifest_that_does_not_fit_is_refused(base: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(base / "out", tmp_path / "out")
    file = tmp_path / "out" / "manifest.json"
    told = json.loads(file.read_text())
    told["graph"]["generation"]["image"]["rows"] = [36, 36]
    file.write_text(json.dumps(told))
    with pytest.raises(ArtifactError, match="rows: expected 4 numbers"):
        paring_runtimes.load(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_pad": True}, "do_pad"),
        ({"resample": 2}, "resample 2"),
        ({"crop_size": {"height": 20, "width": 20}}, "a size other than 36"),
    ],
)
def test_other_preparations_are_refused(base: Path, tmp_path: Path, change: Any, message: str) -> None:
    import shutil

    shutil.copytree(base / "tiny", tmp_path / "tiny")
    file = tmp_path / "tiny" / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(SourceError, match=message):
        load_model(f"hf:{tmp_path / 'tiny'}")


def test_other_models_and_gates_are_refused(base: Path, tmp_path: Path) -> None:
    told = json.loads((base / "tiny" / "config.json").read_text())
    (tmp_path / "other").mkdir()
    other = {
        **told,
        "architectures": ["LlavaOnevisionForConditionalGeneration"],
        "model_type": "llava_onevision",
    }
    (tmp_path / "other" / "config.json").write_text(json.dumps(other))
    with pytest.raises(SourceError, match="LlavaOnevisionForConditionalGeneration is no vision"):
        load_model(f"hf:{tmp_path / 'other'}")
    (tmp_path / "a.txt").write_text("some text")
    data = {"source": f"text:{tmp_path / 'a.txt'}"}
    gates = [{"metric": "top1", "max_drop": 0.1}]
    refused: list[tuple[dict[str, Any], str]] = [
        ({"data": data}, "needs questions on images, as in vqa:DIR"),
        ({"data": data, "gates": gates}, "its gates hold vqa_accuracy, not top1"),
        ({"data": {**data, "mean": [0.5]}}, "leave mean out"),
        ({"data": data, "robustness": {}}, "robustness is of labelled images"),
    ]
    for more, message in refused:
        with pytest.raises(RecipeError, match=message):
            convert(build_recipe({"model": f"hf:{base / 'tiny'}", **more}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
