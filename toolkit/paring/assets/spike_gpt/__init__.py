"""The embedded SpikeGPT: weights, and a tokenizer whose tokens are bytes (see `card.md`)."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
WEIGHTS = FOLDER / "spike_gpt.safetensors"
