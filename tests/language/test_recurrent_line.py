"""A SpikeGPT file becomes an artifact that writes, token by token, in constant memory."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
sys.path.insert(0, str(Path(__file__).parents[1] / "transforms" / "spike_gpt"))
from spike_gpts import spike_gpt

import paring_runtimes
from paring.pipeline import convert
from paring.recipe import build_recipe
from paring.transforms._spike_gpt import SpikeGPT
from paring_exporters.language.parity import prompts
from paring_exporters.recurrent.parity import compare, tied_rows
from paring_runtimes import GenerativeSession
from paring_runtimes.errors import ArtifactError, InputError, RecipeError, TransformRefused
from paring_runtimes.generation.language_model import language_model_of

TEXT = "A file holds what was written to it. " * 30


@pytest.fixture(scope="module")
def model() -> SpikeGPT:
    return spike_gpt(seed=3)


@pytest.fixture(scope="module")
def weights(model: SpikeGPT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(dict(model.state_dict()), path)
    return path


@pytest.fixture(scope="module")
def artifact(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = weights.with_name("text.txt")
    text.write_text(TEXT, encoding="utf-8")
    out = tmp_path_factory.mktemp("spike") / "out"
    recipe = {
        "model": f"spikegpt:{weights}",
        "data": {"source": f"text:{text}", "chunk": 64},
        "gates": [{"metric": "perplexity", "max_increase": 0.001}],
        "verify": {"batch_sizes": [1, 2], "prompt_lengths": [5, 40], "seeds": [0], "steps": 8},
    }
    convert(build_recipe(recipe), out)
    return out


@pytest.fixture(scope="module")
def session(artifact: Path) -> Iterator[GenerativeSession]:
    with paring_runtimes.load(artifact, threads=1) as opened:
        assert isinstance(opened, GenerativeSession)
        yield opened


@torch.inference_mode()
def greedy(model: SpikeGPT, ids: list[int], count: int) -> list[int]:
    """What the model writes, by its form for whole sequences."""
    logits, state = model(torch.tensor([ids]))
    found = [int(logits[0, -1].argmax())]
    while len(found) < count:
        logits, state = model(torch.tensor([found[-1:]]), state)
        found.append(int(logits[0, -1].argmax()))
    return found


def test_the_artifact_writes_what_the_model_writes(session: GenerativeSession, model: SpikeGPT) -> None:
    (found,) = session.generate("The file ", max_new_tokens=60)
    assert list(found.token_ids) == greedy(model, list(b"The file "), 60)
    assert session.cache == "state"


def test_prompts_of_a_batch_do_not_see_each_other(session: GenerativeSession) -> None:
    texts = ["One", "A longer prompt than the others", "Two words"]
    together = session.generate(texts, max_new_tokens=20)
    alone = [session.generate(text, max_new_tokens=20)[0] for text in texts]
    assert [one.token_ids for one in together] == [one.token_ids for one in alone]


def test_a_stream_is_the_generation_in_pieces(session: GenerativeSession) -> None:
    pieces = list(session.stream("It is", max_new_tokens=30, temperature=1.0, seed=5))
    (whole,) = session.generate("It is", max_new_tokens=30, temperature=1.0, seed=5)
    assert "".join(pieces) == whole.text


def test_scores_are_the_models_log_probabilities(session: GenerativeSession, model: SpikeGPT) -> None:
    prompt, further = b"The file ", [b"holds", b"hold", b"is"]
    found = session.score(prompt.decode(), [one.decode() for one in further])
    for text, score in zip(further, found.log_likelihoods, strict=True):
        ids = torch.tensor([[*prompt, *text]])
        with torch.inference_mode():
            logs = model(ids)[0].log_softmax(2)[0]
        places = range(len(prompt) - 1, ids.shape[1] - 1)
        assert score == pytest.approx(sum(float(logs[at, ids[0, at + 1]]) for at in places), abs=1e-3)


def test_the_tokenizer_is_the_bytes(session: GenerativeSession) -> None:
    text = "Ünïcode, naïve\n\tand  blanks \N{SNOWMAN}"
    assert session.tokenizer.encode(text) == list(text.encode())
    assert session.tokenizer.decode(list(text.encode())) == text


def test_the_manifest_tells_of_the_state(artifact: Path, model: SpikeGPT) -> None:
    told = json.loads((artifact / "manifest.json").read_text())
    generation = told["graph"]["generation"]
    assert generation["state"]["width"] == model.config.width
    assert generation["max_positions"] is None
    assert told["parity"]["passed"]
    assert told["quality"]["after"] == pytest.approx(told["quality"]["before"], rel=1e-4)
    assert (artifact / "tokenizer.json").is_file()


def test_one_token_of_the_graph_is_one_of_the_model(artifact: Path, model: SpikeGPT) -> None:
    with paring_runtimes.load(artifact / "model.onnx") as bare:
        found = compare(model, bare, prompts(256, (3,), (50,), (7,)), 10)
        assert found.passed
        assert found.max_abs < 1e-4
        other = spike_gpt(seed=4)
        assert not compare(other, bare, prompts(256, (1,), (5,), (7,)), 1).passed


def test_a_tie_is_a_neuron_at_the_threshold_and_nothing_else(model: SpikeGPT) -> None:
    base = model.start(2)
    at, beside = base.attention_membrane.clone(), base.attention_membrane.clone()
    at[1, 0, 3], beside[1, 0, 3] = 0.99999, 0.9
    later = base.mixing_membrane.clone()
    later[1] += 0.3
    others = [one.numpy() for one in base[:5]]

    def tied(attention: torch.Tensor, mixing: torch.Tensor) -> list[bool]:
        return tied_rows(base, [*others, attention.numpy(), mixing.numpy()]).tolist()

    assert tied(at, base.mixing_membrane) == [True, False]
    assert tied(at, later) == [True, False]  # row 1 differs without a tie before
    assert tied(beside, base.mixing_membrane) == [False, False]
    assert tied(base.attention_membrane, base.mixing_membrane) == [False, False]


def test_ten_thousand_tokens_need_no_more_memory_than_two_thousand(session: GenerativeSession) -> None:
    stream = session.stream("The", max_new_tokens=10_000, temperature=1.0, seed=0)
    early = count = 0
    for piece in stream:
        count += len(piece.encode(errors="replace"))
        if not early and count > 2_000:
            early = resident_bytes()
    assert early
    assert count > 5_000  # bytes that are no character are never written
    assert resident_bytes() - early < 3 * 2**20


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_what_a_state_is_not_is_refused(session: GenerativeSession) -> None:
    with pytest.raises(InputError, match="keeps a state"):
        session.generate("a", cache="concat")
    with pytest.raises(InputError, match="no filter"):
        session.generate("a", filter=True)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"transforms": [{"gem_filter": {}}]}, TransformRefused, "no transform changes"),
        ({"export": {"precision": "fp16"}}, RecipeError, "fp32"),
        ({"data": {"source": "embedded"}}, RecipeError, "needs a text"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(
    weights: Path, tmp_path: Path, change: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        convert(build_recipe({"model": f"spikegpt:{weights}", **change}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"width": 0, "initial": {"a": 0}}, "width"),
        ({"width": 4, "initial": {}}, "initial"),
        ({"width": 4, "initial": {"a": "0"}}, r"initial\.a"),
        ([], "width"),
    ],
)
def test_manifests_that_tell_of_no_state_are_refused(artifact: Path, state: object, words: str) -> None:
    graph = json.loads((artifact / "manifest.json").read_text())["graph"]
    graph["generation"]["state"] = state
    with pytest.raises(ArtifactError, match=words):
        language_model_of(artifact, graph, {})


def test_a_graph_of_another_state_is_refused(artifact: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(artifact, tmp_path / "own")
    told = json.loads((artifact / "manifest.json").read_text())
    told["graph"]["generation"]["state"]["width"] += 1
    (tmp_path / "own" / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"state\.attention_last.*expected float32"):
        paring_runtimes.load(tmp_path / "own")


def test_logits_are_finite_from_the_first_token(session: GenerativeSession) -> None:
    found = session.score("x", ["y"])
    assert np.isfinite(found.log_likelihoods).all()
