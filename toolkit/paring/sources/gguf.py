"""`gguf:FILE.gguf`: a causal language model of llama.cpp's format, its weights dequantised to fp32.

transformers reads the config, the weights and the tokenizer out of the one file. What is lost by
quantisation stays lost: the artifact computes what the dequantised weights say, which the manifest's
`source.dequantised_from` tells, with the number of tensors of each type.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paring_runtimes.errors import MissingExtraError, SourceError

from ._language import LoadedLanguageModel, refuse_image_options, tokenizer_of
from ._loaded import Request
from .hf import quiet

HELP = "gguf:FILE.gguf: a causal language model, dequantised to fp32"
MAGIC = b"GGUF"
PACKAGES = ("torch", "transformers", "gguf", "accelerate")


def why_not() -> str | None:
    """Why GGUF files cannot be read here."""
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed: pip install 'paring[torch,gguf]'"
    return None


def writes_text(_request: Request) -> bool:
    """Every model of this format does."""
    return True


def load(request: Request) -> LoadedLanguageModel:
    """Read config, weights and tokenizer from the file."""
    if why_not() is not None:
        raise MissingExtraError("reading a GGUF file", "torch,gguf")
    refuse_image_options(request)
    if request.weights is not None:
        raise SourceError(f"{request.spec}: a GGUF file holds its own weights; leave --weights out")
    file = Path(request.target).expanduser()
    facts = _described(file)
    with quiet(), _no_bars():
        model = _model(file, request)
        tokenizer = tokenizer_of(file.parent, request.spec, gguf_file=file.name)
    model.config.architectures = [type(model).__name__]
    return LoadedLanguageModel(
        model=model.eval(),
        name=file.stem,
        spec=request.spec,
        config=model.config,
        generation=model.generation_config,
        tokenizer=tokenizer,
        source_files=(file,),
        facts=facts,
    )


def _described(file: Path) -> dict[str, Any]:
    """What the file says of itself: how its tensors are stored, its licence."""
    from gguf import GGUFReader

    if not file.is_file():
        raise SourceError(f"{file}: no such file")
    with file.open("rb") as opened:
        if opened.read(4) != MAGIC:
            raise SourceError(f"{file}: no GGUF file")
    try:
        reader = GGUFReader(file)
        kinds = Counter(tensor.tensor_type.name for tensor in reader.tensors)
        fields = {key: reader.get_field(f"general.{key}") for key in ("name", "license")}
        texts = {key: str(found.contents()) for key, found in fields.items() if found is not None}
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise SourceError(f"{file}: damaged GGUF file ({error})") from error
    return {"dequantised_from": dict(kinds.most_common()), **texts}


def _model(file: Path, request: Request) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, output_loading_info=True
        )
    except (ValueError, KeyError, OSError, RuntimeError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise SourceError(f"{request.spec}: transformers cannot read it ({reason})") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise SourceError(f"{request.spec}: lacks {len(missing)} weights: {', '.join(missing[:4])}")
    return model


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Hold back the progress bar that transformers writes over the command's own."""
    from transformers import modeling_gguf_pytorch_utils as reading

    before = reading.tqdm
    reading.tqdm = lambda items, **options: items
    try:
        yield
    finally:
        reading.tqdm = before
