"""A causal language model as a source hands it back, with what an artifact keeps beside the weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paring_runtimes.errors import SourceError

from ._loaded import Request

if TYPE_CHECKING:
    from torch import nn

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class LoadedLanguageModel:
    """A causal language model: token ids in, logits out.

    Attributes:
        model: transformers' `...ForCausalLM`, in eval mode, in fp32 on the CPU.
        name: short, fit for a file name.
        spec: what was asked for.
        config: transformers' config; with `generation`, what the artifact keeps for other programs.
        generation: transformers' generation config.
        tokenizer_files: the tokenizer's own files, copied into an artifact as they are.
        tokenizer: transformers' tokenizer where there are no such files; it is saved instead.
        random_weights: the weights are known to be random: good for speed, worthless for text.
        source_files: every file that was read.
        facts: what the manifest's `source` says beside spec and digest, as JSON values.
    """

    model: nn.Module
    name: str
    spec: str
    config: Any
    generation: Any
    tokenizer_files: tuple[Path, ...] = ()
    tokenizer: Any = None
    random_weights: bool = False
    source_files: tuple[Path, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def keep(self, folder: Path) -> None:
        """Write config, generation config and tokenizer into `folder`."""
        self.config.save_pretrained(folder)
        self.generation.save_pretrained(folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)
        for file in self.tokenizer_files:
            shutil.copyfile(file, folder / file.name)

    def load_tokenizer(self) -> Any:
        """transformers' tokenizer, or None when the model came without one.

        Raises:
            SourceError: its files cannot be read.
        """
        if self.tokenizer is not None or not self.tokenizer_files:
            return self.tokenizer
        return tokenizer_of(self.tokenizer_files[0].parent, self.spec)

    def text_ids(self) -> Callable[[str], list[int]] | None:
        """Text to token ids without special tokens, None when the model came without a tokenizer."""
        if self.tokenizer is None and not self.tokenizer_files:
            return None
        return lambda text: list(self.load_tokenizer()(text, add_special_tokens=False).input_ids)

    def token_ids(self) -> dict[str, Any]:
        """`eos_token_ids` (a list, perhaps empty), `bos_token_id` and `pad_token_id` (or None)."""
        ends = _first(self.generation.eos_token_id, self.config.eos_token_id)
        return {
            "eos_token_ids": [] if ends is None else list(ends) if isinstance(ends, list) else [ends],
            "bos_token_id": _first(self.generation.bos_token_id, self.config.bos_token_id),
            "pad_token_id": _first(self.generation.pad_token_id, self.config.pad_token_id),
        }


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def tokenizer_of(folder: Path, spec: str, **options: Any) -> Any:
    """transformers' tokenizer in `folder`.

    Raises:
        SourceError: it cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, **options)
    except (ValueError, OSError, KeyError, ImportError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise SourceError(f"{spec}: its tokenizer cannot be read ({reason})") from error


def tokenizer_files(folder: Path) -> tuple[Path, ...]:
    """The tokenizer's files in a checkpoint."""
    return tuple(folder / name for name in TOKENIZER_FILES if (folder / name).is_file())


def refuse_image_options(request: Request) -> None:
    """A language model has no image size.

    Raises:
        SourceError: one is asked for.
    """
    if request.image_size is not None or request.any_image_size:
        raise SourceError(f"{request.spec}: a language model takes token ids; leave image_size out")


def is_causal(folder: Path) -> bool:
    """Whether a checkpoint's config states a causal language model."""
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = stated.get("architectures") or []
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)
