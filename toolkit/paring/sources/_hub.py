"""Find a transformers checkpoint: a folder, or a repository in the local cache or on the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paring_runtimes.errors import SourceError

from ._loaded import Request
from ._weights import refusal

DESCRIPTIONS = ["*.json", "*.safetensors", "*.jinja", "merges.txt", "tokenizer.model"]


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a config.json. `weights` is empty when there are none to read."""

    folder: Path
    name: str
    weights: tuple[Path, ...]
    is_pickle: bool = False


def checkpoint(request: Request) -> Checkpoint:
    """Resolve the request's target.

    Raises:
        SourceError: nothing is there, or its weights are pickles and these are not allowed.
    """
    folder = Path(request.target).expanduser()
    if request.target and folder.is_dir():
        if not (folder / "config.json").is_file():
            raise SourceError(f"{request.spec}: the folder has no config.json")
        return _checkpoint(folder.resolve(), request)
    if request.target and folder.is_file():
        raise SourceError(f"{request.spec}: is a file; {_right_for(folder)}")
    found = _checkpoint(_repository(request, cached=True) or _download(request), request)
    if not found.weights and request.weights is None:
        found = _checkpoint(_download(request), request)  # the cache holds only a part
    if not found.weights and request.weights is None:
        raise SourceError(f"{request.spec}: the repository holds no weights for transformers")
    return found


def _right_for(file: Path) -> str:
    if file.suffix.lower() == ".gguf":
        return f"a GGUF file is gguf:{file}"
    if file.suffix.lower() == ".onnx":
        return "an ONNX file has no PyTorch model to convert; `paring profile` takes it as it is"
    return f"give the folder that holds it and its config.json: hf:{file.parent}"


def _checkpoint(folder: Path, request: Request) -> Checkpoint:
    name = folder.name if Path(request.target).is_dir() else request.target
    safe = tuple(sorted(folder.glob("model*.safetensors")))
    pickles = tuple(sorted(folder.glob("pytorch_model*.bin")))
    if safe or not pickles or request.weights is not None:
        return Checkpoint(folder, name, safe)
    if "pickle" not in request.allow:
        raise SourceError(refusal(pickles[0]))
    return Checkpoint(folder, name, pickles, is_pickle=True)


def _download(request: Request) -> Path:
    found = _repository(request, cached=False)
    if found is None:
        raise SourceError(
            f"{request.spec}: no such folder, not in the local cache, and it could not be downloaded;"
            " check the name and the network"
        )
    return found


def _repository(request: Request, *, cached: bool) -> Path | None:
    """The snapshot of a repository, or None when it cannot be had."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    name, _, revision = request.target.partition("@")
    patterns = list(DESCRIPTIONS)
    patterns += ["*.bin"] if "pickle" in request.allow else []
    patterns += ["*.py"] if "remote-code" in request.allow else []
    try:
        path = snapshot_download(
            name, revision=revision or None, allow_patterns=patterns, local_files_only=cached
        )
    except HFValidationError as error:
        raise SourceError(f"{request.spec}: no such folder, and no name of a repository") from error
    except (HfHubHTTPError, OSError, ValueError):
        return None
    folder = Path(path)
    return folder if (folder / "config.json").is_file() else None
