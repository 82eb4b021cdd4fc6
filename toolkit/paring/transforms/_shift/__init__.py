"""Linear layers with power-of-two weights."""

from __future__ import annotations
