"""paring makes a trained model cheap enough to ship, and proves it."""

from __future__ import annotations

__version__ = "0.1.0"
