"""Causal language models from transformers folders and GGUF files."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from language_files import llama_folder, llama_gguf, read_json, write_tokenizer  # noqa: E402

from paring.sources import LoadedLanguageModel, load_model  # noqa: E402
from paring_runtimes.errors import SourceError  # noqa: E402


def loaded(spec: str, **options: object) -> LoadedLanguageModel:
    found = load_model(spec, **options)  # type: ignore[arg-type]
    assert isinstance(found, LoadedLanguageModel)
    return found


def test_a_folder_gives_its_model_config_and_tokenizer(tmp_path: Path) -> None:
    folder = llama_folder(tmp_path / "tiny")
    found = loaded(f"hf:{folder}")
    assert found.name == "tiny"
    assert not found.random_weights
    ids = torch.tensor([[1, 5, 6, 7]])
    with torch.inference_mode():
        expected = transformers.LlamaForCausalLM.from_pretrained(folder)(ids).logits
        assert torch.equal(found.model(ids).logits, expected)
    names = {file.name for file in found.source_files}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    assert found.token_ids() == {"eos_token_ids": [2], "bos_token_id": 1, "pad_token_id": 2}
    assert found.load_tokenizer().decode(found.load_tokenizer()("ab c").input_ids) == "ab c"


def test_what_an_artifact_keeps_is_read_again(tmp_path: Path) -> None:
    found = loaded(f"hf:{llama_folder(tmp_path / 'tiny')}")
    kept = tmp_path / "kept"
    kept.mkdir()
    found.keep(kept)
    assert read_json(kept / "config.json")["architectures"] == ["LlamaForCausalLM"]
    assert read_json(kept / "generation_config.json")["eos_token_id"] == 2
    tokenizer = transformers.AutoTokenizer.from_pretrained(kept)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "abc"}], tokenize=False) == "abc"


def test_weights_that_are_not_there_are_random_and_said_to_be(tmp_path: Path) -> None:
    folder = llama_folder(tmp_path / "tiny", weights=False)
    first, second = loaded(f"hf:{folder}"), loaded(f"hf:{folder}", seed=1)
    assert first.random_weights
    assert not torch.equal(first.model.lm_head.weight, second.model.lm_head.weight)
    assert torch.equal(first.model.lm_head.weight, loaded(f"hf:{folder}").model.lm_head.weight)


def test_a_safetensors_file_replaces_the_weights(tmp_path: Path) -> None:
    folder = llama_folder(tmp_path / "tiny", weights=False)
    llama_folder(tmp_path / "other")
    file = tmp_path / "other" / "model.safetensors"
    found = loaded(f"hf:{folder}", weights=file)
    assert not found.random_weights
    assert torch.equal(found.model.lm_head.weight, loaded(f"hf:{tmp_path / 'other'}").model.lm_head.weight)


@pytest.mark.parametrize("options", [{"image_size": 32}, {"any_image_size": True}])
def test_a_language_model_has_no_image_size(options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="takes token ids"):
        loaded(f"hf:{llama_folder(tmp_path / 'tiny', weights=False)}", **options)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = llama_folder(tmp_path / "tiny")
    state = load_file(folder / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        loaded(f"hf:{folder}")


def test_a_gguf_file_is_dequantised_and_says_so(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    values = llama_gguf(tmp_path / "tiny.gguf")
    found = loaded(f"gguf:{tmp_path / 'tiny.gguf'}")
    state = found.model.state_dict()
    for theirs, ours in (
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight"),
        ("blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight"),
        ("output.weight", "lm_head.weight"),
    ):
        assert torch.equal(state[ours], torch.from_numpy(values[theirs]))
    # llama.cpp stores a head's rotated pairs side by side, transformers in two halves.
    stored = torch.from_numpy(values["blk.0.attn_q.weight"])
    halves = stored.reshape(4, 4, 2, 32).transpose(1, 2).reshape(32, 32)
    assert torch.equal(state["model.layers.0.self_attn.q_proj.weight"], halves)
    assert found.facts["dequantised_from"] == {"F32": 15, "Q8_0": 6}
    assert found.facts["license"] == "mit"
    assert found.config.architectures == ["LlamaForCausalLM"]
    kept = tmp_path / "kept"
    kept.mkdir()
    found.keep(kept)
    assert (kept / "tokenizer.json").is_file()


def test_what_is_no_gguf_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    (tmp_path / "a.gguf").write_bytes(b"PK\x03\x04 no model")
    with pytest.raises(SourceError, match="no GGUF file"):
        loaded(f"gguf:{tmp_path / 'a.gguf'}")
    llama_gguf(tmp_path / "b.gguf")
    whole = (tmp_path / "b.gguf").read_bytes()
    (tmp_path / "b.gguf").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(SourceError, match=r"b\.gguf: damaged|cannot read it"):
        loaded(f"gguf:{tmp_path / 'b.gguf'}")


def test_the_tokenizer_round_trips(tmp_path: Path) -> None:
    made = write_tokenizer(tmp_path)
    assert made.decode(made("hello, you.").input_ids) == "hello, you."
