"""One row of the store: a candidate of one run of `paring profile`, in one case. Units are in the names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from paring_profiles.history.fingerprint import Host
from paring_profiles.result import Case


@dataclass(frozen=True)
class Row:
    """What was measured, of what, where and with what. None: not measured, or not known.

    Attributes:
        profile: the run's number in the store; all rows of one run were timed in turns.
        created_s: when, seconds since 1970, UTC.
        artifact_digest: SHA-256, see `candidates.artifact_digest`; None in profiles of before it was told.
        engine: with its version, "onnxruntime 1.32.0".
        settings: what changes a call's cost: threads, dims, ...
        environment: versions of tools, Python and system.
        settings_key, environment_key: equal where those are, within one store.
        calls: timed ones.
        provenance: of the times: "measured" or "modelled".
        macs: multiply-accumulates of what was timed.
        peak_memory_bytes: of the whole run of its candidate, the largest case's.
        metric, quality: the task metric (a share, or a perplexity) and what of it the artifact reaches, from
            its manifest; with its 95 % interval (a perplexity's is that of its increase over the source's),
            how many samples, and of which data.
        energy_measured_mj, energy_modelled_mj: a call's; one never stands in for the other.
        baseline: the candidate that it was timed in turns with; None of the baseline itself.
        speedup: baseline / this, over rounds, with its 95 % interval.
        noise: what made the run noisy, in sentences.
        git_commit: of the user's own working tree; `git_changed`: whether files differed from it.
    """

    id: int
    profile: int
    created_s: int
    machine: str
    host: Host
    name: str
    artifact_digest: str | None
    format: str
    engine: str | None
    source: str | None
    recipe: Mapping[str, Any]
    settings: Mapping[str, Any]
    settings_key: int
    environment: Mapping[str, Any]
    environment_key: int
    batch_size: int
    prompt_tokens: int | None
    phase: str
    p50_ms: float
    p50_ci95_ms: tuple[float, float]
    p90_ms: float | None
    p99_ms: float | None
    throughput_per_s: float
    calls: int
    provenance: str
    size_bytes: int
    parameters: int | None
    macs: int | None
    peak_memory_bytes: int | None
    load_ms: float | None
    metric: str | None
    quality: float | None
    quality_ci95: tuple[float, float] | None
    quality_samples: int | None
    quality_data: str | None
    energy_measured_mj: float | None
    energy_modelled_mj: float | None
    baseline: str | None
    baseline_digest: str | None
    speedup: float | None
    speedup_ci95: tuple[float, float] | None
    noise: tuple[str, ...]
    labels: Mapping[str, str]
    git_commit: str | None
    git_changed: bool | None

    @property
    def case(self) -> Case:
        """What was timed."""
        return self.batch_size, self.prompt_tokens, self.phase

    @property
    def created(self) -> str:
        """When, ISO 8601 in UTC."""
        return utc(self.created_s)

    @property
    def engine_name(self) -> str | None:
        """The engine without its version."""
        return None if self.engine is None else self.engine.partition(" ")[0]


def utc(seconds: int) -> str:
    """Return a time as ISO 8601 text in UTC: "2026-01-02T03:04:05Z"."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def case_text(case: Case) -> str:
    """Return a case in words: "batch 1", "batch 1, 128 tokens, first token"."""
    batch_size, prompt_tokens, phase = case
    if prompt_tokens is None:
        return f"batch {batch_size}"
    return f"batch {batch_size}, {prompt_tokens} tokens, {phase.replace('_', ' ')}"
