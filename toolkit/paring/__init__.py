"""paring makes a trained model cheap enough to ship, and proves it.

::

    import paring

    done = paring.convert("timm:vit_small_patch16_224", "out", transforms=[{"token_prune": {}}])
    found = paring.profile([done.baseline, done.artifact])
    print(paring.headline(found))

Importing paring loads no framework: PyTorch, ONNX and the others are loaded by the calls that need them.
"""

from __future__ import annotations

from .api import compare, convert, headline, history, profile, report

__all__ = ["__version__", "compare", "convert", "headline", "history", "profile", "report"]
__version__ = "0.1.0"
