"""What Llama, Qwen2, Mistral and Phi-3 have in common: RMS norm, rotary positions, a gated MLP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ..layer import LayerParts
from ..parts import Embedding, GatedMlp, rms_norm
from ..rotary import Rotary
from . import Site

FIXED = ("default", "linear", "yarn", "llama3")  # frequencies that follow from the config alone


def site(model: Any, split: Callable[[nn.Module], LayerParts]) -> Site:
    """The parts of a transformers `...ForCausalLM` of these families."""
    inner = model.model
    rotary, reasons = rotary_of(inner.rotary_emb)
    return Site(
        embedding=Embedding(inner.embed_tokens),
        rotary=rotary,
        layers=list(inner.layers),
        split=split,
        norm=rms_norm(inner.norm),
        head=model.lm_head,
        max_positions=int(model.config.max_position_embeddings),
        reasons=reasons,
    )


def rotary_of(module: Any) -> tuple[Rotary, tuple[str, ...]]:
    """transformers' frequencies, whatever form made them; reasons where they are not fixed."""
    kind, config = module.rope_type, module.config
    frequencies, factor = module.original_inv_freq.clone(), float(module.attention_scaling)
    if kind == "longrope":
        original = getattr(config, "original_max_position_embeddings", config.max_position_embeddings)
        long, _ = module.rope_init_fn(config, frequencies.device, seq_len=original + 1)
        return Rotary(frequencies, factor, long, int(original)), ()
    reasons: tuple[str, ...] = ()
    if kind not in FIXED:
        reasons = (
            f"its rope_scaling is {kind!r}, whose frequencies follow the longest text seen so far: a graph"
            f" without hidden state cannot hold them; known: {', '.join((*FIXED, 'longrope'))}",
        )
    return Rotary(frequencies, factor), reasons


def split(layer: Any) -> LayerParts:
    """A layer with separate projections."""
    attention, config = layer.self_attn, layer.self_attn.config
    return LayerParts(
        norm1=rms_norm(layer.input_layernorm),
        query=attention.q_proj,
        key=attention.k_proj,
        value=attention.v_proj,
        output=attention.o_proj,
        heads=config.num_attention_heads,
        key_heads=config.num_key_value_heads,
        scale=float(attention.scaling),
        norm2=rms_norm(layer.post_attention_layernorm),
        mlp=GatedMlp(layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj, layer.mlp.act_fn),
    )
