"""A fitted model: its constants, the range it was fitted over, its error, and what it predicts."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from paring_profiles import inputs
from paring_profiles.onnx_graph import input_specs, open_graph
from paring_profiles.whole import write_whole
from paring_runtimes.errors import InputError, OutputError

from .work import Work, work

KIND = "fitted latency model"
SLACK = 0.02  # beyond the fitted range that is not yet told as such, for counts differ by a node


@dataclass(frozen=True)
class HeldOut:
    """What a model that never saw a variant predicted of it."""

    variant: str
    batch_size: int
    measured_ms: float
    predicted_ms: float

    @property
    def error(self) -> float:
        """Relative, without its sign."""
        return abs(self.predicted_ms / self.measured_ms - 1)


@dataclass(frozen=True)
class FittedModel:
    """Seconds = scale x (sum over groups of constants x work) + fixed. Fitted to measurements.

    Attributes:
        name: of its file.
        machine, threads, engine: what it was measured on.
        constants: seconds for a call, a multiply-accumulate, a byte, by group of operators.
        scale: whole latency over the sum of operator times: below 1, for timing operators costs time itself.
        fixed_s: of a call, beyond its operators.
        ranges: of each group's work in the variants: smallest and largest.
        folds: of the cross-validation; a variant's batch sizes are always held out together.
        held_out: each point of it.
        median_error, p90_error: of them, relative.
        profiles: that it was fitted to.
    """

    name: str
    machine: str
    threads: int
    engine: str
    constants: dict[str, dict[str, float]]
    scale: float
    fixed_s: float
    ranges: dict[str, dict[str, tuple[float, float]]]
    folds: int
    held_out: list[HeldOut]
    median_error: float
    p90_error: float
    profiles: list[str]

    @property
    def variants(self) -> int:
        """How many models it was fitted to."""
        return len({one.variant for one in self.held_out})

    def seconds(self, done: Work) -> float:
        """Predicted latency, whatever the range."""
        spent = sum(
            price * done.get(group, {}).get(feature, 0.0)
            for group, prices in self.constants.items()
            for feature, price in prices.items()
        )
        return self.scale * spent + self.fixed_s

    def outside(self, done: Work) -> list[str]:
        """In words, what lies outside of the range that was fitted."""
        told = []
        for group in sorted(done.keys() | self.ranges.keys()):
            held, ranges = done.get(group, {}), self.ranges.get(group)
            if ranges is None:
                told.append(f"{group} operators, of which no variant had any")
                continue
            for feature, (low, high) in ranges.items():
                value = held.get(feature, 0.0)
                if not low * (1 - SLACK) <= value <= high * (1 + SLACK):
                    told.append(f"{group} {feature} {value:,.0f}, fitted from {low:,.0f} to {high:,.0f}")
        return told


@dataclass(frozen=True)
class Prediction:
    """Of one call. Modelled, from measurements of other models on the same machine.

    Attributes:
        milliseconds: None where it is refused.
        refused: why: it would extrapolate.
        median_error, p90_error: relative, of held-out variants; over `variants` of them.
    """

    milliseconds: float | None
    refused: str | None
    median_error: float
    p90_error: float
    variants: int
    machine: str
    provenance: str = "modelled: fitted to measurements"


def predict(model: FittedModel, path: Path, batch: int = 1, dims: dict[str, int] | None = None) -> Prediction:
    """Predict one call of an ONNX file; refused outside of the range that was fitted."""
    shapes = inputs.concrete_shapes(input_specs(open_graph(path)), batch, dims or {}, path)
    (done,) = work(path, shapes)
    outside = model.outside(done)
    refused = f"it would extrapolate: {'; '.join(outside)}" if outside else None
    return Prediction(
        milliseconds=None if outside else 1e3 * model.seconds(done),
        refused=refused,
        median_error=model.median_error,
        p90_error=model.p90_error,
        variants=model.variants,
        machine=f"{model.machine}, {model.threads} threads, {model.engine}",
    )


def is_fitted(path: Path) -> bool:
    """Whether a file holds a fitted model.

    Raises:
        InputError: it cannot be read.
    """
    return isinstance(told := _load(path), dict) and told.get("kind") == KIND


def write_model(model: FittedModel, path: Path) -> Path:
    """Write a model as YAML, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    text = io.StringIO()
    YAML(typ="safe").dump({"kind": KIND, **_plain(dataclasses.asdict(model))}, text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.getvalue())
    except OSError as error:
        raise OutputError(f"{path}: the model cannot be written ({error.strerror})") from error
    return path


def read_model(path: Path) -> FittedModel:
    """Read a model.

    Raises:
        InputError: not a fitted model's file.
    """
    told = _load(path)
    if not isinstance(told, dict) or told.pop("kind", None) != KIND:
        raise InputError(f"{path}: expected `kind: {KIND}`, as `paring calibrate-model` writes it")
    try:
        told["held_out"] = [HeldOut(**one) for one in told["held_out"]]
        told["ranges"] = {
            group: {feature: (float(low), float(high)) for feature, (low, high) in held.items()}
            for group, held in told["ranges"].items()
        }
        return FittedModel(**told)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a fitted model: {error}") from None


def _load(path: Path) -> Any:
    try:
        return YAML(typ="safe").load(path)
    except (OSError, YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
