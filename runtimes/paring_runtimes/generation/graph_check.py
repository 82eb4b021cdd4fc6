"""Whether a graph is of the form that a cache works with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from paring_runtimes.engines import NativeSession
from paring_runtimes.errors import ArtifactError
from paring_runtimes.feeds import shape_text
from paring_runtimes.generation.language_model import LanguageModel


def check_graph(
    path: Path,
    native: NativeSession,
    model: LanguageModel,
    inputs: set[str],
    outputs: Iterable[str],
    caches: Iterable[str],
    kind: str = "",
) -> None:
    """Check names, and the caches' dtype, heads and width. `kind` says what graph was expected.

    Raises:
        ArtifactError: says what differs.
    """
    taken = {spec.name: spec for spec in native.inputs}
    given = {spec.name for spec in native.outputs}
    if set(taken) != inputs or not set(outputs) <= given:
        differing = sorted((set(taken) ^ inputs) | (set(outputs) - given))
        expected = kind or f"the graph of a language model of {model.layers} layers"
        raise ArtifactError(f"{path}: not {expected}; missing or unknown: {', '.join(differing)}")
    for name in caches:
        spec = taken[name]
        heads, width = (*spec.shape, None, None, None, None)[1:4:2]
        wrong = (isinstance(heads, int) and heads != model.kv_heads) or (
            isinstance(width, int) and width != model.head_dim
        )
        if spec.dtype != model.dtype or len(spec.shape) != 4 or wrong:
            raise ArtifactError(
                f"{path}: {name!r} is {spec.dtype} {shape_text(spec.shape)}; expected {model.dtype} "
                f"(batch, {model.kv_heads}, rows, {model.head_dim})"
            )
