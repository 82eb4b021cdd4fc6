"""A latency model fitted to measured profiles of one machine, with the error that held-out models show."""

from __future__ import annotations

from .fit import Point, fit, points
from .model import FittedModel, HeldOut, Prediction, is_fitted, predict, read_model, write_model
from .work import Work, work

__all__ = [
    "FittedModel",
    "HeldOut",
    "Point",
    "Prediction",
    "Work",
    "fit",
    "is_fitted",
    "points",
    "predict",
    "read_model",
    "work",
    "write_model",
]
