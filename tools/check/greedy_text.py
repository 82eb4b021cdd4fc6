"""Whether an exported language model writes the same greedy text as PyTorch.

    python tools/check/greedy_text.py MODEL ARTIFACT TEXT [--prompts 20] [--new-tokens 64]

MODEL is the transformers folder that ARTIFACT was made from. Prompts are pieces of TEXT, of 16 to 400 tokens,
from places spread over it. Every prompt is answered by `transformers` and by our session, over both of
its caches; a difference is told with the gap between the two best logits where the texts part. Exits
with 1 when there is one.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import paring_runtimes


def prompts(tokenizer: Any, text: str, count: int) -> list[list[int]]:
    """Pieces of the text, of token ids."""
    ids = tokenizer(text, add_special_tokens=False).input_ids
    lengths = np.geomspace(16, 400, count).astype(int)
    places = np.linspace(0, len(ids) - 401, count).astype(int)
    return [ids[place : place + length] for place, length in zip(places, lengths, strict=True)]


def by_torch(model: Any, ids: list[int], new: int) -> tuple[list[int], list[float]]:
    """Greedy ids, and by how much each was ahead of the second best."""
    asked = torch.tensor([ids])
    found = model.generate(
        asked,
        attention_mask=torch.ones_like(asked),
        max_new_tokens=new,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    best = torch.stack(found.scores)[:, 0].topk(2, dim=-1).values
    return found.sequences[0, len(ids) :].tolist(), (best[:, 0] - best[:, 1]).tolist()


def main() -> None:
    """Compare, and say how many texts are equal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--new-tokens", type=int, default=64)
    told = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(told.model)
    model = AutoModelForCausalLM.from_pretrained(told.model, dtype=torch.float32).eval()
    asked = prompts(tokenizer, told.text.read_text(encoding="utf-8"), told.prompts)
    expected = [by_torch(model, ids, told.new_tokens) for ids in asked]
    equal = dict.fromkeys(("in_place", "concat"), 0)
    session = paring_runtimes.load(told.artifact)
    assert isinstance(session, paring_runtimes.GenerativeSession)
    session.model = replace(session.model, eos_token_ids=())
    for ids, (tokens, ahead) in zip(asked, expected, strict=True):
        for cache in equal:
            (found,) = session.generate(ids, max_new_tokens=told.new_tokens, cache=cache)
            ours = list(found.token_ids)
            equal[cache] += ours == tokens
            if ours != tokens:
                at = next(i for i, (one, other) in enumerate(zip(ours, tokens, strict=True)) if one != other)
                print(f"{cache}, {len(ids)} tokens: parts at {at}, PyTorch's best is {ahead[at]:.1e} ahead")
    session.close()
    closest = min(min(ahead) for _, ahead in expected)
    print(
        f"of {len(asked)} texts of {told.new_tokens} tokens are equal: {equal}; closest choice {closest:.1e}"
    )
    raise SystemExit(any(count != len(asked) for count in equal.values()))


if __name__ == "__main__":
    main()
