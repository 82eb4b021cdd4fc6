"""QueCC from a recipe to answers: artifacts, their sessions, images encoded once, the profile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from llava_files import llava_folder, picture

import paring_runtimes
from paring.pipeline import convert
from paring.recipe import build_recipe
from paring_profiles import Profile, Settings, profile
from paring_profiles.report import html, markdown
from paring_profiles.result import Stage
from paring_runtimes import EncodedImage, GenerativeSession
from paring_runtimes.artifact import read_manifest
from paring_runtimes.errors import ArtifactError, InputError

pytestmark = pytest.mark.slow  # three conversions
PROMPTS = ["<image> what is it:", "ab <image> cd, ef."]
VERIFY = {"batch_sizes": [1, 2], "prompt_lengths": [5], "seeds": [0], "steps": 3}
STEP = {"stride": 3, "heads": 4, "levels": [1, 2]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ "prompt" with its baseline, and "constant"."""
    base = tmp_path_factory.mktemp("compressed")
    folder = llava_folder(base / "tiny")
    texts = {"prompt": {"text": "prompt"}, "constant": {"text": "constant", "prompt": " what is it:"}}
    for name, text in texts.items():
        steps = [{"query_compressor": {**STEP, **text}}]
        recipe = {"model": f"hf:{folder}", "transforms": steps, "verify": VERIFY}
        done = convert(build_recipe({**recipe, "export": {"baseline": name == "prompt"}}), base / name)
        assert any("RANDOM" in note for note in done.notes)
    return base


@pytest.fixture(params=["prompt", "constant"])
def session(base: Path, request: pytest.FixtureRequest) -> Iterator[GenerativeSession]:
    with paring_runtimes.load(base / request.param) as found:
        assert isinstance(found, GenerativeSession)
        yield found


def test_the_manifest_tells_what_can_be_kept(base: Path) -> None:
    graphs = {name: read_manifest(base / name).graph for name in ("prompt", "constant", "prompt-baseline")}
    images = {name: graph["generation"]["image"] for name, graph in graphs.items()}
    assert (images["prompt"]["question"], images["prompt"]["compressor"]) == (
        "question.onnx",
        "compressor.onnx",
    )
    assert not {"question", "compressor"} & (images["constant"].keys() | images["prompt-baseline"].keys())
    assert [images[name]["tokens"] for name in graphs] == [4, 4, 36]
    assert [graphs[name]["random_weights"] for name in graphs] == [True, True, False]


def test_an_image_encoded_once_answers_as_one_that_is_not(session: GenerativeSession) -> None:
    pictures = [picture(0), picture(1)]
    plain = session.generate(PROMPTS, image=pictures, max_new_tokens=6)
    encoded = [session.encode_image(one) for one in pictures]
    kept = session.generate(PROMPTS, image=encoded, max_new_tokens=6)
    assert [one.token_ids for one in kept] == [one.token_ids for one in plain]
    first = session.generate(PROMPTS, image=encoded[0], max_new_tokens=6)
    assert first[0].token_ids == plain[0].token_ids
    assert (
        session.generate(PROMPTS[0], image=encoded[:1], max_new_tokens=6)[0].token_ids == plain[0].token_ids
    )
    asked = session.path.name == "prompt"
    assert {one.reusable for one in encoded} == {"encoder" if asked else "tokens"}
    assert encoded[0].nbytes == 4 * (3 * 36 * 24 if asked else 4 * 32)


def test_the_encoder_does_not_run_again(session: GenerativeSession) -> None:
    image = session.encode_image(picture(2))
    graphs = session.open_graphs().image
    assert graphs is not None
    runs = []
    inner = graphs.encoder.run
    graphs.encoder.run = lambda *given: runs.append(given) or inner(*given)  # type: ignore[method-assign]
    session.generate(PROMPTS, image=image, max_new_tokens=2)
    assert not runs
    session.generate(PROMPTS, image=picture(2), max_new_tokens=2)
    assert len(runs) == 1


def test_what_encoded_images_do_not_go_with(base: Path, session: GenerativeSession) -> None:
    with paring_runtimes.load(base / "prompt-baseline") as other:
        assert isinstance(other, GenerativeSession)
        foreign = other.encode_image(picture(0))
    assert isinstance(foreign, EncodedImage)
    own = session.encode_image(picture(0))
    with pytest.raises(InputError, match="encoded by another session"):
        session.generate(PROMPTS[0], image=foreign)
    with pytest.raises(InputError, match="expected all of them encoded, or none"):
        session.generate(PROMPTS, image=[own, picture(1)])  # type: ignore[list-item]
    with pytest.raises(InputError, match="one a prompt \\(1\\), given 2"):
        session.generate(PROMPTS[0], image=[own, own])


def test_the_question_makes_the_tokens(base: Path) -> None:
    with paring_runtimes.load(base / "prompt") as session:
        assert isinstance(session, GenerativeSession)
        image = session.encode_image(picture(0))
        graphs = session.open_graphs().image
        assert graphs is not None
        assert graphs.question is not None
        asked = [
            graphs.question.run(["question"], {"input_ids": np.array([ids])})[0] for ids in ([5, 6], [7, 6])
        ]
        assert not np.allclose(*asked)
        assert set(image.values) == {"image_queries", "image_keys", "image_values"}


def test_a_manifest_of_other_graphs_is_refused(base: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "wrong"
    shutil.copytree(base / "prompt", folder)
    told = json.loads((folder / "manifest.json").read_text())
    told["graph"]["generation"]["image"]["compressor"] = "embed.onnx"
    (folder / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(ArtifactError, match="embed\\.onnx: not that graph"):
        paring_runtimes.load(folder)


def test_the_profile_tells_the_stages_apart(base: Path) -> None:
    quick = Settings(threads=1, min_runs=2, min_seconds=0, prompt_tokens=(12,), new_tokens=3)
    paths = [base / name for name in ("prompt-baseline", "prompt", "constant")]
    found: Profile = profile(paths, quick, names=["whole", "asking", "constant"])
    _, asking, constant = found.candidates
    phases = [{latency.phase for latency in one.latency} for one in found.candidates]
    assert phases[0] == phases[2] == {"first_token", "encoder", "prefill", "decode"}
    assert phases[1] - phases[0] == {"question", "compressor"}
    macs = asking.answered[0].macs
    assert macs["first_token"] == sum(macs[n] for n in ("encoder", "question", "compressor", "prefill"))
    assert min(macs[n] for n in ("question", "compressor")) > 0
    assert constant.answered[0].macs["first_token"] < macs["first_token"]
    places = [one.answered[0].stages for one in (asking, constant)]
    between = "between tower and language model"
    assert places[0] == [Stage("query_compressor", f"{between}, anew for each question", "image", 36, 4)]
    assert places[1] == [Stage("query_compressor", f"{between}, once for every question", "image", 36, 4)]
    assert asking.answered[0].read_tokens == 12 + 4
    for text in (markdown.render(found), html.render(found)):
        assert "Question, read for the compressor" in text
        assert "anew for each question" in text
