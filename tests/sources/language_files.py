"""Small checkpoints of causal language models: transformers folders and GGUF files, with a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

LETTERS = "abcdefghijklmnopqrstuvwxyz.,"
SPECIAL = ["<unk>", "<s>", "</s>"]
TINY = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}


def write_tokenizer(folder: Path) -> Any:
    """A tokenizer of single letters, in transformers' form."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, "Ġ", *LETTERS]
    inner = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="<unk>"))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    made.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    made.save_pretrained(folder)
    return made


def llama_folder(folder: Path, weights: bool = True, **options: Any) -> Path:
    """A Llama checkpoint with tokenizer and chat template."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**{**TINY, **options}, architectures=["LlamaForCausalLM"])
    if weights:
        model = LlamaForCausalLM(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(4 if parameter.ndim > 1 else 1)
        model.save_pretrained(folder)
    else:
        config.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def llama_gguf(file: Path) -> dict[str, np.ndarray]:
    """A Llama file in llama.cpp's form, its MLP in Q8_0; returns the dequantised values by GGUF name."""
    import gguf

    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_name("tiny")
    writer.add_license("mit")
    writer.add_block_count(TINY["num_hidden_layers"])
    writer.add_context_length(TINY["max_position_embeddings"])
    writer.add_embedding_length(TINY["hidden_size"])
    writer.add_feed_forward_length(TINY["intermediate_size"])
    writer.add_head_count(TINY["num_attention_heads"])
    writer.add_head_count_kv(TINY["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(TINY["vocab_size"])
    words = [*SPECIAL, "Ġ", *LETTERS, "ab", "cd"]
    words += [f"<extra{i}>" for i in range(TINY["vocab_size"] - len(words))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([3] * 3 + [1] * (len(words) - 3))
    writer.add_token_merges(["a b", "c d"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    values = {}
    for name, shape in _shapes().items():
        value = (rng.standard_normal(shape) * 0.3 + (len(shape) == 1)).astype(np.float32)
        if "ffn" in name and "norm" not in name:
            packed = gguf.quants.quantize(value, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            value = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, value)
        values[name] = value
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def _shapes() -> dict[str, tuple[int, ...]]:
    width, inner = TINY["hidden_size"], TINY["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (TINY["vocab_size"], width),
        "output_norm.weight": (width,),
        "output.weight": (TINY["vocab_size"], width),
    }
    for block in range(TINY["num_hidden_layers"]):
        own = {
            "attn_q": (width, width), "attn_k": (width // 2, width), "attn_v": (width // 2, width),
            "attn_output": (width, width), "ffn_gate": (inner, width), "ffn_up": (inner, width),
            "ffn_down": (width, inner), "attn_norm": (width,), "ffn_norm": (width,),
        }  # fmt: skip
        shapes |= {f"blk.{block}.{name}.weight": shape for name, shape in own.items()}
    return shapes


def read_json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))
