"""paring_runtimes: open an artifact and run it. Needs numpy and one engine, never PyTorch.

::

    import numpy as np
    import paring_runtimes

    with paring_runtimes.load("vit-small/", threads=2) as session:
        logits = session.run({"pixels": np.zeros((1, 3, 224, 224), np.float32)})["logits"]

A language model's artifact opens as a `GenerativeSession`::

    with paring_runtimes.load("smollm2/") as session:
        for piece in session.stream("The capital of France is", max_new_tokens=32):
            print(piece, end="")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paring_runtimes.artifact import read_manifest
from paring_runtimes.errors import (
    ArtifactError,
    EngineError,
    InputError,
    IntegrityError,
    MissingExtraError,
    ParingError,
)
from paring_runtimes.load import load
from paring_runtimes.manifest import Manifest, TensorSpec
from paring_runtimes.session import BoundRun, Session

if TYPE_CHECKING:
    from paring_runtimes.generation.encoded_image import EncodedImage
    from paring_runtimes.generation.row import Generation
    from paring_runtimes.generation.scoring import Scores
    from paring_runtimes.generation.session import GenerativeSession

__all__ = [
    "ArtifactError",
    "BoundRun",
    "EncodedImage",
    "EngineError",
    "Generation",
    "GenerativeSession",
    "InputError",
    "IntegrityError",
    "Manifest",
    "MissingExtraError",
    "ParingError",
    "Scores",
    "Session",
    "TensorSpec",
    "load",
    "read_manifest",
]


def __getattr__(name: str) -> object:
    """Import what only language models need when it is first asked for."""
    if name not in ("EncodedImage", "Generation", "GenerativeSession", "Scores"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from paring_runtimes.generation import encoded_image, row, scoring, session

    known = {
        "EncodedImage": encoded_image.EncodedImage,
        "Generation": row.Generation,
        "Scores": scoring.Scores,
    }
    return known.get(name, session.GenerativeSession)
