"""A recurrent language model as a source hands it back, and SpikeGPT read from a file of weights."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paring_runtimes.errors import SourceError

from ._language import LoadedLanguageModel, refuse_image_options, tokenizer_files
from ._loaded import Request, require
from ._weights import fit, read_weights

PACKAGES = ("torch", "safetensors")
BYTES = 256  # the vocabulary of models that read bytes, for which there is a tokenizer in `paring.assets`
PLAIN_EMBEDDING = 50277  # the vocabulary of the authors' model whose generation reads plain embeddings


@dataclass(frozen=True, eq=False)
class LoadedRecurrentModel(LoadedLanguageModel):
    """A language model with a state of fixed size, no transformers model: it has no such config."""

    config: Any = None
    generation: Any = None

    def keep(self, folder: Path) -> None:
        """Write the tokenizer into `folder`."""
        for file in self.tokenizer_files:
            shutil.copyfile(file, folder / file.name)

    def token_ids(self) -> dict[str, Any]:
        """No special tokens."""
        return {"eos_token_ids": [], "bos_token_id": None, "pad_token_id": None}


def spike_gpt(request: Request, file: Path, name: str) -> LoadedRecurrentModel:
    """SpikeGPT from its weights, by the names and shapes of the authors' checkpoints.

    Raises:
        SourceError: the file is none, is a pickle that was not allowed, or its tensors are not a SpikeGPT's.
        MissingExtraError: PyTorch or safetensors is not installed.
    """
    require("a SpikeGPT", *PACKAGES)
    refuse_image_options(request)
    from paring.transforms._spike_gpt import SpikeGPT, from_weights

    weights = read_weights(file, request.allow)
    binary = len(weights.get("emb.weight", ())) != PLAIN_EMBEDDING
    try:
        config = from_weights(weights, binary)
    except ValueError as error:
        raise SourceError(f"{file}: {error}") from None
    model = SpikeGPT(config)
    fit(model, weights, file)
    kept = _tokenizer(file.parent, config.vocabulary)
    return LoadedRecurrentModel(
        model=model.eval(),
        name=name,
        spec=request.spec,
        tokenizer_files=kept,
        source_files=(file, *kept),
        facts={"binary_embedding": binary},
    )


def _tokenizer(folder: Path, vocabulary: int) -> tuple[Path, ...]:
    """The files beside the weights; for a model of bytes else those that come with paring."""
    found = tokenizer_files(folder)
    if found or vocabulary != BYTES:
        return found
    from paring.assets.spike_gpt import FOLDER

    return tokenizer_files(FOLDER)
