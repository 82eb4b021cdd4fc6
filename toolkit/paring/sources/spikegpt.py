"""`spikegpt:FILE`: a SpikeGPT checkpoint, safetensors, or the authors' `.pth` where pickles are allowed.

Its sizes are read off its tensors. A `tokenizer.json` beside it becomes the artifact's; a model of 256 tokens
reads bytes. Of a pickle nothing but tensors is read (`weights_only`). The authors' model of 50,277 tokens
reads plain embeddings, as their generation does; all others read spikes, as in training.
"""

from __future__ import annotations

from pathlib import Path

from paring_runtimes.errors import SourceError

from ._loaded import Request, missing_extra
from ._recurrent import PACKAGES, LoadedRecurrentModel, spike_gpt

HELP = "spikegpt:FILE: a SpikeGPT checkpoint, safetensors or .pth"


def why_not() -> str | None:
    """Why the model cannot be built here."""
    return missing_extra(*PACKAGES)


def writes_text(_request: Request) -> bool:
    """It does."""
    return True


def load(request: Request) -> LoadedRecurrentModel:
    """Read config and weights from the file."""
    if request.weights is not None:
        raise SourceError(f"{request.spec}: the file holds its own weights; leave --weights out")
    file = Path(request.target).expanduser()
    return spike_gpt(request, file, file.stem)
