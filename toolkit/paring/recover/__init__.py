"""Recovery: a transformed model is trained against its original until its accuracy is back.

`recover` writes a folder that `paring convert --recovered` goes on from. `chunked_cross_entropy` and
`chunked_divergence` are losses over large vocabularies in bounded memory.
"""

from __future__ import annotations

from .chunked_loss import chunked_cross_entropy, chunked_divergence
from .folder import Recovery, read_recovery
from .run import recover

__all__ = ["Recovery", "chunked_cross_entropy", "chunked_divergence", "read_recovery", "recover"]
