"""Needle in a haystack: what a language model's artifact still finds in long prompts, without PyTorch.

- `haystack`: prompts that hide facts and ask for them. `frames`: how they begin and end.
- `read`: one prompt read once, by the whole model or behind its filter, and scored.
- `run`: all prompts and readers; `cells`: their means, intervals and times. `result`: what comes out.
"""

from __future__ import annotations

from paring_profiles.needle.haystack import FILLER
from paring_profiles.needle.result import NeedleResult, NeedleSettings
from paring_profiles.needle.run import run

__all__ = ["FILLER", "NeedleResult", "NeedleSettings", "run"]
