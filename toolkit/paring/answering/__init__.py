"""Visual question answering, measured on an exported artifact without PyTorch.

- `asking`: an artifact's answers to questions on images, and which of them are right.
- `accuracy`: shares of right answers with their intervals, overall and by type of question.
"""

from __future__ import annotations

from .accuracy import AnswerQuality, alone, answer_quality
from .asking import Asking, Replies, ask

__all__ = ["AnswerQuality", "Asking", "Replies", "alone", "answer_quality", "ask"]
