"""Recovery: a transformed model is trained against its original until its accuracy is back.

`recover` writes a folder that `paring convert --recovered` goes on from.
"""

from __future__ import annotations

from .folder import Recovery, read_recovery
from .run import recover

__all__ = ["Recovery", "read_recovery", "recover"]
