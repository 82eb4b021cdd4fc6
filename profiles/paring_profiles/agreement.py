"""Do candidates agree that should compute one thing: one artifact on two engines, a recipe in two formats?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_profiles import inputs
from paring_profiles.result import Agreement, Settings
from paring_runtimes import Session
from paring_runtimes.errors import EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = 8  # sets of inputs


def same_source(baseline: Session, candidate: Session) -> bool:
    """Whether two sessions are of one file, or of artifacts made of one model by the same transforms."""
    if baseline.path == candidate.path:
        return True
    one, other = baseline.manifest, candidate.manifest
    if one is None or other is None:
        return False
    told = [(m.source.get("digest"), m.source.get("spec"), m.transforms) for m in (one, other)]
    return told[0] == told[1]


def agreement(
    baseline: Session, candidate: Session, batch_size: int, settings: Settings, path: object
) -> Agreement | None:
    """Compare the outputs of both on the same inputs; None where they take or give others.

    Raises:
        EngineError: an engine failed.
    """
    if [spec.name for spec in baseline.inputs] != [spec.name for spec in candidate.inputs]:
        return None
    names = [spec.name for spec in baseline.outputs if spec.name in {o.name for o in candidate.outputs}]
    if not names:
        return None
    shapes = inputs.concrete_shapes(candidate.inputs, batch_size, settings.dims, path)
    pairs = []
    for number in range(SAMPLES):
        feeds = inputs.make(candidate.inputs, shapes, settings.seed + number, settings.values)
        pairs.append((baseline.run(feeds, names), candidate.run(feeds, names)))
    return of_outputs(pairs)


def of_outputs(
    pairs: Sequence[tuple[Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]]],
) -> Agreement:
    """The same of outputs that are there: what the baseline and what the candidate computed.

    Raises:
        EngineError: an output has another shape.
    """
    largest, signal, noise, alike, rows = 0.0, 0.0, 0.0, 0, 0
    for wanted, found in pairs:
        for name, value in wanted.items():
            if value.shape != found[name].shape:
                raise EngineError(f"output {name!r}: shapes {value.shape} and {found[name].shape} differ")
            expected = np.nan_to_num(value.astype(np.float64))
            gap = np.nan_to_num(found[name].astype(np.float64)) - expected
            largest = max(largest, float(np.abs(gap).max(initial=0.0)))
            signal, noise = signal + float(np.square(expected).sum()), noise + float(np.square(gap).sum())
        first = next(iter(wanted))
        best = [value[first].reshape(-1, value[first].shape[-1] if value[first].ndim else 1).argmax(-1)
                for value in (wanted, found)]  # fmt: skip
        alike, rows = alike + int((best[0] == best[1]).sum()), rows + len(best[0])
    ratio = float(10 * np.log10(signal / noise)) if noise and signal else None
    return Agreement(max_abs=largest, snr_db=ratio, argmax_alike=alike / max(rows, 1), samples=len(pairs))
