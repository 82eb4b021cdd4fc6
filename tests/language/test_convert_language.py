"""`paring convert` on small causal language models, from checkpoint to artifact."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from language_files import llama_folder, llama_gguf  # noqa: E402

import paring_runtimes  # noqa: E402
from paring.cli import app  # noqa: E402
from paring.language.building import LanguageJob  # noqa: E402
from paring.pipeline import convert  # noqa: E402
from paring.recipe import build_recipe  # noqa: E402
from paring_runtimes.artifact import read_manifest, verify_files  # noqa: E402
from paring_runtimes.errors import ExportError, GateError, RecipeError, SourceError  # noqa: E402


def write_text(file: Path, letters: int = 700) -> Path:
    rng = random.Random(0)
    file.write_text("".join(rng.choice("abcdefgh ") for _ in range(letters)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted Llama with a perplexity gate, made through the command line."""
    base = tmp_path_factory.mktemp("convert")
    folder, text = llama_folder(base / "tiny"), write_text(base / "text.txt")
    arguments = ["convert", "-m", f"hf:{folder}", "-o", str(base / "out"), "--data", f"text:{text}"]
    arguments += ["--max-increase", "0.001", "--set", "data.chunk=32", "--set", "data.limit=9"]
    done = CliRunner().invoke(app(), arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "perplexity" in done.output
    return base / "out"


def test_the_manifest_tells_how_to_generate(artifact: Path) -> None:
    manifest = read_manifest(artifact)
    verify_files(artifact, manifest)
    assert manifest.graph["task"] == "text-generation"
    assert manifest.graph["generation"] == {
        "layers": 2,
        "kv_heads": 2,
        "head_dim": 8,
        "vocab_size": 64,
        "max_positions": 64,
        "eos_token_ids": [2],
        "bos_token_id": 1,
        "pad_token_id": 2,
        "in_place": "in_place.onnx",
        "dtype": "float32",
    }
    assert {"model.onnx", "in_place.onnx", "model.onnx.data", "tokenizer.json"} <= set(manifest.files)
    assert {"config.json", "generation_config.json", "chat_template.jinja"} <= set(manifest.files)
    assert not (artifact.parent / "out-baseline").exists()


def test_both_graphs_were_compared_over_prompts_and_steps(artifact: Path) -> None:
    parity = read_manifest(artifact).parity
    assert parity is not None
    assert parity["passed"]
    assert parity["top1_agreement"] == 1.0
    assert parity["min_cosine"] > 0.999999
    cases = parity["cases"]
    assert {case["graph"] for case in cases} == {"model.onnx", "in_place.onnx"}
    assert {case["batch"] for case in cases} == {1, 2, 5}
    assert {case["steps"] for case in cases} == {8}
    assert len({case["length"] for case in cases}) == 2


def test_perplexity_is_that_of_transformers(artifact: Path) -> None:
    quality = read_manifest(artifact).quality
    assert quality is not None
    model = transformers.LlamaForCausalLM.from_pretrained(artifact.parent / "tiny")
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact)
    text = (artifact.parent / "text.txt").read_text(encoding="utf-8")
    ids = torch.tensor(tokenizer(text).input_ids)
    count = len(ids) // 32
    assert quality["samples"] == 9
    losses = []
    for index in range(9):
        chunk = ids[: count * 32].reshape(count, 32)[index * count // 9][None]
        with torch.inference_mode():
            losses.append(float(model(chunk, labels=chunk).loss))
    expected = torch.tensor(losses).mean().exp()
    assert quality["before"] == pytest.approx(float(expected), rel=1e-5)
    assert quality["after"] == pytest.approx(quality["before"], rel=1e-4)
    low, high = quality["increase_ci95"]
    assert low <= quality["increase"] <= high


def test_the_artifact_generates_what_transformers_generates(artifact: Path) -> None:
    from optimum.onnxruntime import ORTModelForCausalLM

    model = transformers.LlamaForCausalLM.from_pretrained(artifact.parent / "tiny")
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact)
    feeds = tokenizer("abc", return_tensors="pt", return_token_type_ids=False)
    theirs = ORTModelForCausalLM.from_pretrained(artifact, file_name="model.onnx")
    options = {"max_new_tokens": 8, "do_sample": False}
    assert torch.equal(theirs.generate(**feeds, **options), model.generate(**feeds, **options))


def test_the_runtime_opens_the_artifact(artifact: Path) -> None:
    with paring_runtimes.load(artifact) as session:
        assert session.manifest is not None
        assert session.inputs[0].name == "input_ids"


def test_inspect_shows_it(artifact: Path) -> None:
    shown = CliRunner().invoke(app(), ["inspect", str(artifact)], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "text-generation" in shown.output


def test_a_gguf_file_converts_and_says_that_it_was_dequantised(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    llama_gguf(tmp_path / "tiny.gguf")
    recipe = {
        "model": f"gguf:{tmp_path / 'tiny.gguf'}",
        "export": {"in_place": False},
        "verify": {"batch_sizes": [2], "seeds": [0], "steps": 2},
    }
    done = convert(build_recipe(recipe), tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert manifest.source["dequantised_from"] == {"F32": 15, "Q8_0": 6}
    assert manifest.graph["generation"]["in_place"] is None
    assert not (tmp_path / "out" / "in_place.onnx").exists()
    assert "dequantised" in done.notes[0]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data": {"source": "embedded"}}, RecipeError, "needs a text"),
        ({"data": {"source": "text:none.txt"}}, SourceError, "no such file"),
        ({"data": {"source": "TEXT", "chunk": 65}}, RecipeError, "reads 64 at most"),
        ({"data": {"source": "TEXT", "chunk": 60, "limit": 2}, "gates": [{"metric": "top1", "max_drop": 0}]},
         RecipeError, "perplexity, not top1"),
        ({"export": {"image_size": 32}}, SourceError, "takes token ids"),
        ({"transforms": ["token_prune"]}, Exception, "token_prune: no vision transformer"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_written(
    changes: dict[str, object], error: type[Exception], message: str, tmp_path: Path
) -> None:
    text = write_text(tmp_path / "text.txt")
    data = changes.get("data")
    if isinstance(data, dict) and data["source"] == "TEXT":
        changes = {**changes, "data": {**data, "source": f"text:{text}"}}
    folder = llama_folder(tmp_path / "tiny")
    recipe = build_recipe({"model": f"hf:{folder}", "export": {"baseline": False}, **changes})
    with pytest.raises(error, match=message):
        convert(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_of_no_known_family_is_named(tmp_path: Path) -> None:
    config = transformers.OPTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16, vocab_size=50,
        word_embed_proj_dim=16, architectures=["OPTForCausalLM"],
    )  # fmt: skip
    config.save_pretrained(tmp_path / "opt")
    with pytest.raises(ExportError, match="no causal language model found in OPTForCausalLM"):
        convert(build_recipe({"model": f"hf:{tmp_path / 'opt'}"}), tmp_path / "out")


def test_the_gate_speaks_of_the_increase() -> None:
    import numpy as np

    from paring.language.perplexity import Chunks, gate, perplexity

    rule = {"metric": "perplexity", "max_increase": 0.05}
    recipe = build_recipe({"data": {"source": "text:a"}, "gates": [rule]})
    job = LanguageJob(recipe, None, Chunks(np.zeros((4, 8), np.int64), ""), print)  # type: ignore[arg-type]
    before = np.array([2.0, 2.1, 1.9, 2.0])
    gate(recipe, perplexity(before, before + 0.04, job))
    with pytest.raises(GateError, match=r"increase 0\.0618 exceeds max_increase 0\.0500"):
        gate(recipe, perplexity(before, before + 0.06, job))
    strict = build_recipe({"data": {"source": "text:a"}, "gates": [{**rule, "confidence": "bound"}]})
    spread = before + np.array([0.0, 0.08, 0.0, 0.08])
    with pytest.raises(GateError, match="upper end"):
        gate(strict, perplexity(before, spread, job))
    gate(recipe, perplexity(before, spread, job))
    with pytest.raises(RecipeError, match="perplexity needs max_increase"):
        build_recipe({"data": {"source": "text:a"}, "gates": [{"metric": "perplexity"}]})
    with pytest.raises(RecipeError, match="top1 takes no max_increase"):
        build_recipe(
            {"data": {"source": "a"}, "gates": [{"metric": "top1", "max_drop": 0, "max_increase": 1}]}
        )
