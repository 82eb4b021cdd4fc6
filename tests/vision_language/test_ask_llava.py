"""Questions on images, put to a small LLaVA's artifacts: scoring, encoded images, accuracy, gates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llava_files import llava_folder, picture
from PIL import Image
from typer.testing import CliRunner

import paring_runtimes
from paring.answering import Asking, answer_quality, ask
from paring.answering.asking import behind
from paring.cli import app
from paring.data import QuestionData, load_data
from paring.data.vqa import plain_answer
from paring_runtimes import GenerativeSession
from paring_runtimes.artifact import read_manifest
from paring_runtimes.errors import GateError, InputError

pytestmark = pytest.mark.slow  # whole conversions
PROMPT = "user: <image> {question} assistant:"
WORDS = ["red", "yes", "a cat."]
FILLER = "zzzzzz"  # as many tokens as the longest of them, so that as many are generated
QUICK = ["batch_sizes=[1]", "prompt_lengths=[5]", "seeds=[0]", "steps=2"]
IMAGES = 5


def write_questions(folder: Path, answers: list[str]) -> Path:
    """Three questions on each image, of types a, b and c."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for index in range(IMAGES):
        Image.fromarray(picture(index, 50, 70)).save(folder / "images" / f"{index}.png")
        for kind in "abc":
            row = {"image": f"images/{index}.png", "question": f"what {kind} is it", "type": kind}
            lines.append(json.dumps({**row, "answer": answers[len(lines) % len(answers)]}))
    (folder / "questions.jsonl").write_text("\n".join(lines))
    return folder


def convert(base: Path, name: str, data: Path, judge: str, *more: str) -> Any:
    arguments = ["convert", "-m", f"hf:{base / 'tiny'}", "-o", str(base / name), "--data", f"vqa:{data}"]
    arguments += [
        "-t",
        "window_merge",
        "-s",
        f"data.prompt={json.dumps(PROMPT)}",
        "-s",
        f"data.judge={judge}",
    ]
    for value in QUICK:
        arguments += ["-s", f"verify.{value}"]
    return CliRunner().invoke(app(), [*arguments, *more])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, its artifacts `out` (merged) and `out-baseline`, and the questions they were asked."""
    base = tmp_path_factory.mktemp("asked")
    llava_folder(base / "tiny")
    done = convert(base, "out", write_questions(base / "words", WORDS), "choice", "--max-drop", "1")
    assert done.exit_code == 0, done.output
    assert "VQA accuracy (the likeliest of all answers) on 15 questions, 5 images" in done.output
    return base


@pytest.fixture
def session(base: Path) -> Iterator[GenerativeSession]:
    with paring_runtimes.load(base / "out-baseline") as session:
        assert isinstance(session, GenerativeSession)
        yield session


@pytest.fixture(scope="module")
def own(base: Path) -> Path:
    """Questions whose answers are the baseline's own, where those are short; else a wrong one."""
    asking = Asking(PROMPT, "generate")
    with paring_runtimes.load(base / "out-baseline") as session:
        texts = ask(session, questions(base / "words"), asking).texts
    short = [text if 0 < len(plain_answer(text)) < len(FILLER) else FILLER for text in texts]
    assert sum(text != FILLER for text in short) >= 5
    return write_questions(base / "own", short)


def questions(folder: Path) -> QuestionData:
    data = load_data(f"vqa:{folder}")
    assert isinstance(data, QuestionData)
    return data


def test_continuations_are_scored_with_the_image_as_transformers_does(
    base: Path, session: GenerativeSession
) -> None:
    from transformers import AutoImageProcessor, AutoTokenizer, LlavaForConditionalGeneration

    prompt, image, options = "ab <image> cd:", picture(1, 50, 70), [" red", " no", " a cat."]
    model = LlavaForConditionalGeneration.from_pretrained(base / "tiny").eval()
    tokenizer = AutoTokenizer.from_pretrained(base / "tiny")
    prepare = AutoImageProcessor.from_pretrained(base / "tiny", use_fast=False)
    pixels = prepare(Image.fromarray(image), return_tensors="pt").pixel_values
    read = len(tokenizer(prompt.replace("<image>", "<image>" * 36)).input_ids)
    wanted = []
    for option in options:
        whole = (prompt + option).replace("<image>", "<image>" * 36)
        ids = tokenizer(whole, return_tensors="pt").input_ids
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels).logits
        logs = logits[0, read - 1 : -1].log_softmax(-1)
        wanted.append(float(logs.gather(1, ids[0, read:, None]).sum()))
    for seen in (image, session.encode_image(image)):
        found = session.score(prompt, options, image=seen)
        np.testing.assert_allclose(found.log_likelihoods, wanted, rtol=1e-4)


@pytest.mark.parametrize("name", ["out", "out-baseline"])
def test_an_encoded_image_is_that_image(base: Path, name: str) -> None:
    images = [picture(index, 50, 70) for index in range(2)]
    prompts = ["<image> what:", "ab <image> is it:"]
    with paring_runtimes.load(base / name) as session:
        assert isinstance(session, GenerativeSession)
        encoded = [session.encode_image(image) for image in images]
        for plain, seen in ((images[0], encoded[0]), (images, encoded)):
            wanted = session.generate(prompts, image=plain, max_new_tokens=8)
            found = session.generate(prompts, image=seen, max_new_tokens=8)
            assert [one.token_ids for one in found] == [one.token_ids for one in wanted]


def test_encoded_images_that_do_not_fit_are_refused(base: Path, session: GenerativeSession) -> None:
    image = picture(0)
    encoded = session.encode_image(image)
    with pytest.raises(InputError, match=r"one a prompt \(1\), given 2"):
        session.generate("<image>a", image=[encoded, encoded])
    with pytest.raises(InputError, match="all of them encoded, or none"):
        session.generate(["<image>a", "<image>b"], image=[encoded, image])  # type: ignore[list-item]
    with paring_runtimes.load(base / "out-baseline") as other:
        assert isinstance(other, GenerativeSession)
        with pytest.raises(InputError, match="another session"):
            other.generate("<image>a", image=encoded)


def test_what_it_says_is_held_against_the_answer(base: Path, own: Path, session: GenerativeSession) -> None:
    asking, data = Asking(PROMPT, "generate"), questions(own)
    replies = ask(session, data, asking)
    assert replies.right.tolist() == [one.answer != FILLER for one in data.questions]
    first = data.questions[0]
    (alone,) = session.generate(asking.text(first), image=first.image, max_new_tokens=20)
    assert alone.text.startswith(replies.texts[0].rstrip("\N{REPLACEMENT CHARACTER}"))
    rows = [json.loads(line) for line in (own / "questions.jsonl").read_text().splitlines()]
    half = base / "half"
    write_questions(half, [row["answer"] if row["type"] == "b" else FILLER for row in rows])
    found = ask(session, questions(half), asking).right
    assert found.tolist() == [row["type"] == "b" and row["answer"] != FILLER for row in rows]


def test_the_choice_is_the_likeliest_answer(base: Path, session: GenerativeSession) -> None:
    asking, data = Asking(PROMPT, "choice"), questions(base / "words")
    replies = ask(session, data, asking)
    for one, text in zip(data.questions, replies.texts, strict=True):
        prompt = asking.text(one)
        scores = []
        for answer in data.answers:
            ids = behind(session.tokenizer, prompt, f" {answer}")
            scores += session.score(prompt, [ids], image=one.image).log_likelihoods
        assert text == data.answers[int(np.argmax(scores))]
    assert len(set(replies.texts)) > 1
    assert replies.right.tolist() == [
        one.answer == text for one, text in zip(data.questions, replies.texts, strict=True)
    ]


def test_the_conversion_records_what_its_artifacts_answer(base: Path) -> None:
    asking, data = Asking(PROMPT, "choice"), questions(base / "words")
    right = []
    for name in ("out-baseline", "out"):
        with paring_runtimes.load(base / name) as session:
            right.append(ask(session, data, asking).right)
    wanted = answer_quality(right[0], right[1], data, f"vqa:{base / 'words'}", asking)
    assert read_manifest(base / "out").quality == json.loads(json.dumps(wanted.as_dict()))
    assert read_manifest(base / "out-baseline").quality == json.loads(json.dumps(wanted.of_baseline()))
    shown = CliRunner().invoke(app(), ["inspect", str(base / "out")], catch_exceptions=False).output
    assert "15 questions" in shown
    assert "by type, with 95 % intervals" in shown


def test_finished_artifacts_are_asked_the_same_questions(base: Path, own: Path) -> None:
    arguments = ["accuracy", str(base / "out-baseline"), str(base / "out"), "--data", f"vqa:{own}"]
    arguments += ["--prompt", PROMPT, "--limit", "9", "-o", str(base / "answers.jsonl")]
    done = CliRunner().invoke(app(), [*arguments, "--json"], catch_exceptions=False)
    told = json.loads(done.stdout)
    first, second = told["artifacts"]
    lines = [json.loads(line) for line in (base / "answers.jsonl").read_text().splitlines()]
    right = sum(line["answer"] != FILLER for line in lines)
    assert (told["judge"], first["samples"], first["after"]) == ("generate", 9, right / 9)
    assert second["before"] == first["after"]
    assert second["drop"] == pytest.approx(second["before"] - second["after"])
    assert sum(one["samples"] for one in second["types"]) == 9
    assert len(lines) == 9
    for line in lines:
        given = plain_answer(line["given"][str(base / "out-baseline")])
        assert (given == plain_answer(line["answer"])) == (line["answer"] != FILLER)
    shown = CliRunner().invoke(app(), arguments, catch_exceptions=False).stdout
    low, high = first["after_ci95"]
    assert f"{right / 9:.4f} ({low:.4f} to {high:.4f})" in shown


def test_a_gate_that_fails_leaves_nothing(base: Path, own: Path) -> None:
    more = ["--max-drop", "0", "-s", "export.baseline=false"]
    done = convert(base, "gated", own, "generate", *more)
    assert isinstance(done.exception, GateError)
    assert "vqa_accuracy: drop" in str(done.exception)
    assert "on 15 questions" in str(done.exception)
    assert not (base / "gated").exists()
