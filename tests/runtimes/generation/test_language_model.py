"""What a language model's artifact must say, and which of its graphs is opened."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_lm import LAYERS

from paring_runtimes import ArtifactError, EngineError, GenerativeSession, InputError, load, read_manifest
from paring_runtimes.artifact import hash_files, write_manifest
from paring_runtimes.engines import onnxruntime as engine

NewArtifact = Callable[..., Path]


def rewrite(folder: Path) -> None:
    """Take the folder's files into its manifest as they are now."""
    write_manifest(folder, dataclasses.replace(read_manifest(folder), files=hash_files(folder)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": 0}, "graph.generation.layers: expected a whole number of at least 1, given 0"),
        ({"kv_heads": "2"}, "kv_heads"),
        ({"vocab_size": None}, "vocab_size"),
        ({"eos_token_ids": 3}, "eos_token_ids: expected a list"),
        ({"eos_token_ids": [-1]}, "eos_token_ids"),
        ({"pad_token_id": 1.5}, "pad_token_id"),
        ({"dtype": "int8"}, "dtype: expected float32 or float16, given 'int8'"),
        ({"in_place": "other.onnx"}, "in_place: expected null or one of the files"),
        ({"layers": LAYERS + 1}, r"in_place.onnx: not the graph.* 3 layers; .*cache\.2\.key"),
        ({"kv_heads": 4}, r"'cache\.0\.key' is float32 \(batch, 2, capacity, 8\); expected float32 "),
        ({"head_dim": 16}, r"expected float32 \(batch, 2, rows, 16\)"),
    ],
)
def test_a_wrong_manifest_is_refused(new_artifact: NewArtifact, change: dict, said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        load(new_artifact(told=change), threads=1)


def test_a_manifest_that_tells_nothing_is_refused(new_artifact: NewArtifact) -> None:
    folder = new_artifact()
    manifest = read_manifest(folder)
    write_manifest(folder, dataclasses.replace(manifest, graph={"task": "text-generation"}))
    with pytest.raises(ArtifactError, match="generation: expected an object"):
        load(folder)


def test_without_an_in_place_graph_the_cache_is_copied(new_artifact: NewArtifact) -> None:
    with load(new_artifact(in_place=False), threads=1) as session:
        assert session.cache == "concat"
        assert session.generate("hello", max_new_tokens=3)[0].token_ids
        with pytest.raises(InputError, match="no in-place graph"):
            session.generate("hello", cache="in_place")


def test_an_engine_without_the_operators_falls_back_and_says_so(
    new_artifact: NewArtifact, session: GenerativeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = engine.open_session

    def old(path: Path, options: object) -> object:
        if path.name == "in_place.onnx":
            raise EngineError(f"{path}: ONNX Runtime cannot open it: TensorScatter")
        return opened(path, options)

    monkeypatch.setattr(engine, "open_session", old)
    with pytest.warns(RuntimeWarning, match="copied in every step.*TensorScatter") as told:
        own = load(new_artifact(), threads=1)
    assert told[0].filename == __file__
    expected = session.generate("hello", max_new_tokens=5)[0].token_ids
    assert own.generate("hello", max_new_tokens=5)[0].token_ids == expected


def test_the_entry_is_opened_only_when_it_is_asked_for(
    new_artifact: NewArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, opened = [], engine.open_session

    def recorded(path: Path, options: object) -> object:
        names.append(path.name)
        return opened(path, options)

    monkeypatch.setattr(engine, "open_session", recorded)
    with load(new_artifact(), threads=1) as session:
        session.generate("hello", max_new_tokens=2)
        assert names == ["in_place.onnx"]
        session.stream("hello", cache="concat")  # not when its clock runs already
        assert names == ["in_place.onnx", "model.onnx"]
        for _ in range(2):
            session.generate("hello", max_new_tokens=2, cache="concat")
        assert names == ["in_place.onnx", "model.onnx"]


def test_the_configured_end_tokens_count_too(new_artifact: NewArtifact) -> None:
    folder = new_artifact(told={"eos_token_ids": [5]})
    for told, expected in ((9, (5, 9)), ([9, 5], (5, 9)), (None, (5,))):
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": told}))
        rewrite(folder)
        assert load(folder, threads=1).model.eos_token_ids == expected
    for text, said in (("[1]", "expected an object"), ("{", "not JSON"), ('{"eos_token_id": "x"}', "'x'")):
        (folder / "generation_config.json").write_text(text)
        rewrite(folder)
        with pytest.raises(ArtifactError, match=f"generation_config.json: .*{said}"):
            load(folder, threads=1)


def test_a_tokenizer_is_needed_for_text_only(new_artifact: NewArtifact) -> None:
    folder = new_artifact()
    (folder / "tokenizer.json").write_text("{}")
    rewrite(folder)
    with load(folder, threads=1) as session, pytest.raises(ArtifactError, match="not a tokenizer"):
        session.generate("a")
    (folder / "tokenizer.json").unlink()
    rewrite(folder)
    with load(folder, threads=1) as session:
        assert session.inputs[0].name == "input_ids"
        with pytest.raises(ArtifactError, match=r"tokenizer\.json: missing"):
            session.generate("a")


def test_a_profile_is_of_the_graph_that_generates(new_artifact: NewArtifact, tmp_path: Path) -> None:
    with load(new_artifact(), threads=1, profile_to=tmp_path / "p") as session:
        session.generate("hello", max_new_tokens=2)
        session.generate("hello", max_new_tokens=2, cache="concat")
        events = json.loads(session.end_profiling().read_text())
    assert any("TensorScatter" in event["name"] for event in events)
    assert len(list(tmp_path.glob("p*.json"))) == 1
