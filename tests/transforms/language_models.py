"""Small causal language models of every known family, with random weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

SMALL = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def llama(**options: object) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**{**SMALL, **options}))


def qwen2(**options: object) -> nn.Module:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(Qwen2Config(**{**SMALL, **options}))


def mistral(**options: object) -> nn.Module:
    from transformers import MistralConfig, MistralForCausalLM

    return MistralForCausalLM(MistralConfig(**{**SMALL, "sliding_window": None, **options}))


def phi3(**options: object) -> nn.Module:
    from transformers import Phi3Config, Phi3ForCausalLM

    return Phi3ForCausalLM(Phi3Config(**{**SMALL, **options}))


def gpt2(**options: object) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    fixed = {"vocab_size": 97, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 128}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(**{**fixed, **ids, **options}))


def rope(kind: str, **options: object) -> dict[str, object]:
    return {"rope_scaling": {"rope_type": kind, "factor": 4.0, **options}}


LLAMA3 = rope("llama3", low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
LONG = {
    "rope_scaling": {"type": "longrope", "short_factor": [1.1] * 4, "long_factor": [3.0, 2.0, 1.5, 1.2]},
    "original_max_position_embeddings": 16,
}

LANGUAGE: dict[str, Callable[[], nn.Module]] = {
    "Llama": llama,
    "Llama, tied": lambda: llama(tie_word_embeddings=True),
    "Llama, biases": lambda: llama(attention_bias=True, mlp_bias=True, head_dim=16),
    "Llama, llama3 RoPE": lambda: llama(**LLAMA3),
    "Llama, linear RoPE": lambda: llama(**rope("linear")),
    "Llama, YaRN": lambda: llama(**rope("yarn")),
    "Qwen2": qwen2,
    "Qwen2, windows": lambda: qwen2(use_sliding_window=True, sliding_window=5, max_window_layers=1),
    "Mistral": mistral,
    "Mistral, window": lambda: mistral(sliding_window=5),
    "Phi-3, ungrouped": lambda: phi3(sliding_window=None, num_key_value_heads=6),
    "Phi-3": lambda: phi3(sliding_window=None),
    "Phi-3, LongRoPE": lambda: phi3(sliding_window=None, **LONG),
    "GPT-2": gpt2,
    # transformers honours this scale in its eager attention only.
    "GPT-2, scaled by layer": lambda: gpt2(
        scale_attn_by_inverse_layer_idx=True, activation_function="gelu", attn_implementation="eager"
    ),
}


def build_language(name: str, seed: int = 0) -> nn.Module:
    """A family's model in eval mode, with weights large enough that tokens differ."""
    torch.manual_seed(seed)
    model = LANGUAGE[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model
