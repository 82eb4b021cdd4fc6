"""Write the tokenizer whose tokens are bytes: `tokenizer.json`, and what transformers reads with it.

python tools/assets/spike_gpt/tokenizer.py toolkit/paring/assets/spike_gpt
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers


def byte_characters() -> dict[str, int]:
    """GPT-2's character for each byte: itself where it prints, else the next one from 256 on."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    return {
        **{chr(byte): byte for byte in printed},
        **{chr(256 + index): byte for index, byte in enumerate(others)},
    }


def byte_tokenizer() -> Tokenizer:
    """Token id and byte are one number."""
    vocabulary = dict(sorted(byte_characters().items(), key=lambda one: one[1]))
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    byte_tokenizer().save(str(folder / "tokenizer.json"), pretty=False)
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
