"""A vision-language model's recovery: a fresh compressor learns to answer, and the adapters after it."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from stopping import Stopped, stop_at

import paring
import paring_runtimes
from paring.answering import Asking
from paring.image_prompts import image_facts_of
from paring.opening import open_questions
from paring.recipe import build_recipe, load_recipe
from paring.recover import Recovery, recover
from paring.recover._answers import Answering, AnswerLoss, judged
from paring.recover._connector import connector, put_in, sharing
from paring.recover._questions import QuestionBatch, Reader, tokenizer_in
from paring.sources import digest, load_model
from paring.transforming import transform
from paring.transforms import query_compressor
from paring.transforms._vision_language import open_vision_language
from paring_runtimes.errors import MissingExtraError, RecoveryError, SourceError

sys.path.insert(0, str(Path(__file__).parents[1] / "vision_language"))
from llava_files import SIDE, llava_folder, opened

Values = dict[str, Any]
ANSWERS = ("r", "g", "b")
COMPRESSOR = {"query_compressor": {"stride": 6, "inner": 16, "heads": 2}}  # 36 patches to one token


def ask(folder: Path, count: int, seed: int) -> None:
    """Pictures of one colour and noise, and what colour they are."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    lines = []
    for index in range(count):
        colour = int(rng.integers(3))
        picture = rng.integers(0, 120, (SIDE, SIDE, 3))
        picture[..., colour] += 120
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"images/{index}.png")
        told = {"image": f"images/{index}.png", "question": "which colour", "answer": ANSWERS[colour]}
        lines.append(json.dumps(told))
    (folder / "questions.jsonl").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA, questions to train on and others to judge by."""
    folder = tmp_path_factory.mktemp("llava")
    llava_folder(folder / "tiny")
    ask(folder / "train", 48, 1)
    ask(folder / "test", 20, 2)
    return folder


@pytest.fixture(scope="module")
def first_values(base: Path) -> Values:
    """A recipe's values: both stages, five steps each."""
    return {
        "model": f"hf:{base / 'tiny'}",
        "transforms": [COMPRESSOR],
        "data": {"source": f"vqa:{base / 'test'}", "prompt": "user: <image> {question} answer:"},
        "recover": {
            "data": {"source": f"vqa:{base / 'train'}"},
            "steps": 5,
            "batch_size": 8,
            "learning_rate": 1e-2,
            "adapters": {"rank": 4},
            "loss": {"logits": 0.0, "labels": 1.0},
            "checkpoint_seconds": 0,
        },
        "verify": {"batch_sizes": [1, 2], "seeds": [0], "prompt_lengths": [5], "steps": 2},
        "export": {"baseline": False},
    }


@pytest.fixture
def values(first_values: Values) -> Values:
    """The same, for a test to change."""
    return copy.deepcopy(first_values)


@pytest.fixture(scope="module")
def recovered(first_values: Values, tmp_path_factory: pytest.TempPathFactory) -> Recovery:
    """A recovery that a test may read, and must not change."""
    values = copy.deepcopy(first_values)
    values["recover"] |= {"steps": 25, "checkpoint_seconds": 60}
    return recover(build_recipe(values), tmp_path_factory.mktemp("recovered") / "tiny")


def test_a_fresh_compressor_learns(recovered: Recovery) -> None:
    told = recovered.record["accuracy"]
    assert told["metric"] == "vqa_accuracy"
    assert told["questions"] == 20
    assert told["recovered"]["loss"] < told["transformed"]["loss"] / 2
    assert told["recovered"]["vqa_accuracy"] > told["transformed"]["vqa_accuracy"] + 0.5


def test_what_was_trained_is_all_that_is_written(recovered: Recovery) -> None:
    state = load_file(recovered.folder / "weights.safetensors")
    kinds = {"adapter" if ".adapter_" in name else name.split(".")[0] for name in state}
    assert kinds == {"compressor", "adapter"}
    assert len([name for name in state if ".adapter_" in name]) == 2 * 7 * 4  # of seven matrices a layer
    assert state["decoder.layers.0.attention.query.adapter_a"].shape == (4, 32)
    assert [file.name for file in recovered.folder.parent.iterdir()] == [recovered.folder.name]


def test_what_was_trained_makes_the_same_model_again(recovered: Recovery) -> None:
    recipe = load_recipe(recovered.folder / "recipe.yaml")
    source = load_model(str(recipe.model))
    recovered.check(recipe, digest(source.model))
    model = open_vision_language(source.model)
    facts, data = image_facts_of(model, source), recipe.data
    changed = transform(model, recipe)
    again = recovered.load_into(changed)
    assert again is changed
    reader = Reader(
        tokenizer_in(source.tokenizer_files, source.spec),
        Asking.of(data),
        facts,
        [2],
        model.decoder.max_positions,
    )
    rows = reader.rows(open_questions(data, "tiny", lambda text: None).questions)
    assert len(rows.rows[0].answer) == 3  # a blank, a letter and the end
    found = judged(Answering(again), rows, torch.device("cpu"), lambda done: None)
    told = recovered.record["accuracy"]["recovered"]
    assert found.loss == pytest.approx(told["loss"], rel=1e-5)
    assert found.right.mean() == told["vqa_accuracy"]


@pytest.mark.slow
def test_a_conversion_goes_on_from_it(recovered: Recovery, base: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recovered.folder / "recipe.yaml")
    done = paring.convert(recipe, tmp_path / "out", recovered=recovered.folder)
    quality, accuracy = done.manifest.quality, recovered.record["accuracy"]
    assert quality is not None
    assert quality["before"] == accuracy["original"]["vqa_accuracy"]
    assert quality["after"] == accuracy["recovered"]["vqa_accuracy"]  # from the exported artifact, generating
    assert done.manifest.source["recovery"]["weights_sha256"] == recovered.record["weights_sha256"]
    assert done.manifest.graph["random_weights"] is False
    assert not any("RANDOM" in note for note in done.notes)
    with paring_runtimes.load(done.artifact) as session:
        assert session.model.image.tokens == 1


def weights(values: Values, folder: Path, **options: Any) -> bytes:
    recover(build_recipe(values), folder, **options)
    return (folder / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(first_values: Values, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of both stages without a stop."""
    return weights(first_values, tmp_path_factory.mktemp("whole") / "out")


@pytest.mark.parametrize("stopped", [3, 6, 8])
def test_it_goes_on_to_the_same_bits_from_anywhere(
    values: Values, whole: bytes, tmp_path: Path, stopped: int
) -> None:
    said = list[str]()
    with pytest.raises(Stopped):
        recover(build_recipe(values), tmp_path / "out", watch=stop_at(stopped))
    kept = list((tmp_path / "out.checkpoints").glob("*.safetensors"))
    names = {name for file in kept for name in load_file(file) if name.startswith("model.")}
    assert not [name for name in names if "tower" in name or "embedding" in name]  # what rests is left out
    assert weights(values, tmp_path / "out", progress=said.append) == whole
    assert f"going on after step {stopped - 1} of 10" in said


def test_the_seed_decides(values: Values, whole: bytes, tmp_path: Path) -> None:
    values["recover"]["seed"] = 1
    assert weights(values, tmp_path / "out") != whole


def test_distillation_follows_the_model_before_its_transforms(values: Values, tmp_path: Path) -> None:
    values["transforms"] = [{"token_pool": {"window": [2, 2]}}]
    values["recover"] |= {
        "loss": {"logits": 1.0, "labels": 0.0},
        "stages": [{"train": "connector", "steps": 30}],
        "learning_rate": 1e-3,
    }
    done = recover(build_recipe(values), tmp_path / "out")
    losses = [one["logits"] for one in done.record["losses"]]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert {name.split(".")[0] for name in load_file(done.folder / "weights.safetensors")} == {"projector"}


def test_the_loss_is_that_of_whole_logits() -> None:
    model = opened()
    changed = query_compressor.apply(sharing(model), query_compressor.Config(6, inner=16, heads=2))
    student, teacher = Answering(changed), Answering(model)  # type: ignore[arg-type]
    answered = torch.tensor([[0, 0, 1, 1, 0], [0, 0, 0, 1, 1]], dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    batch = QuestionBatch(
        torch.randn(2, 3, SIDE, SIDE, generator=generator),
        torch.tensor([[1, 5]]).expand(2, -1),
        torch.randint(4, 30, (2, 5), generator=generator),
        torch.tensor([2, 3]),
        answered,
    )
    weights = build_recipe({"recover": {"loss": {"temperature": 2.0}}}).recover.loss  # type: ignore[union-attr]
    parts = AnswerLoss(teacher, student, weights)(student, *batch)
    own, theirs, labels = [], [], []
    for row, length in enumerate((2, 3)):  # each alone, without padding
        end = int(answered[row].nonzero().max()) + 1
        after = batch.after[row : row + 1, :end]
        for side, found in ((changed, own), (model, theirs)):
            image = side.see(batch.pixels[row : row + 1], after[:, :length]).features
            for place in range(length, end):
                read = side.prefill(
                    side.embed(batch.before[row : row + 1]), image, side.embed(after[:, :place])
                )
                found.append(read.logits)
        labels += after[0, length:].tolist()
    student_logits, teacher_logits = torch.cat(own), torch.cat(theirs)
    expected = torch.nn.functional.cross_entropy(student_logits, torch.tensor(labels))
    torch.testing.assert_close(parts["labels"], 0.5 * expected, rtol=1e-4, atol=1e-5)
    apart = 4 * torch.nn.functional.kl_div(
        (student_logits / 2).log_softmax(-1),
        (teacher_logits / 2).log_softmax(-1),
        log_target=True,
        reduction="batchmean",
    )
    torch.testing.assert_close(parts["logits"], apart, rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused_whole(tmp_path: Path) -> None:
    model = query_compressor.apply(opened(), query_compressor.Config(6, inner=16, heads=2))
    good = {name: value.detach() + 1 for name, value in connector(model).items()}  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    bad = {**good, "decoder.layers.9.mlp.up.adapter_a": torch.zeros(1)}
    bad.pop("compressor.out.bias")
    with pytest.raises(SourceError, match=r"compressor\.out\.bias: missing; .*layers\.9.*: unexpected"):
        put_in(model, bad, tmp_path / "w.safetensors")  # type: ignore[arg-type]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"recover": {"augment": ["flip"]}}, r"recover\.augment: of models that classify images"),
        ({"recover": {"loss": {"features": 1.0}}}, r"recover\.loss\.features: of models that classify"),
        (
            {"recover": {"stages": [{"train": "language"}, {"train": "connector"}]}},
            "connector must come before language",
        ),
        ({"recover": {"batch_size": 64}}, "at most the 48 training questions"),
        ({"transforms": [{"must_drop": {"layers": [1], "budgets": [4]}}]}, "drops image tokens within"),
        ({"data": {"prompt": "{question} <image> answer:"}}, None),
        ({"data": {"prompt": "no place for {question}"}}, "image token .* must stand in it once"),
    ],
)
def test_bad_recipes_are_told(values: Values, tmp_path: Path, changes: Values, told: str | None) -> None:
    for key, value in changes.items():
        values[key] = value if isinstance(value, list) else values[key] | value
    if told is None:
        values["recover"]["steps"] = 1
        recover(build_recipe(values), tmp_path / "out")  # one question alone may come before its image
        return
    with pytest.raises(RecoveryError, match=told):
        recover(build_recipe(values), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_images_that_are_held_out_are_refused(values: Values, base: Path, tmp_path: Path) -> None:
    values["recover"]["data"] = {"source": f"vqa:{base / 'test'}"}
    with pytest.raises(RecoveryError, match=r"20 of the 20 questions' images .* are held out"):
        recover(build_recipe(values), tmp_path / "out")


def test_a_missing_peft_is_one_line(values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    hidden = lambda name, *rest: None if name == "peft" else found(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    with pytest.raises(MissingExtraError, match=r"needs an extra: pip install 'paring\[recover\]'"):
        recover(build_recipe(values), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    values["recover"] |= {"stages": [{"train": "connector", "steps": 1}]}
    recover(build_recipe(values), tmp_path / "out")  # without adapters it is not needed
