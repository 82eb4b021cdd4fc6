"""The smaller tables: parity cases, operators, the curve's points, the machine, the settings."""

from __future__ import annotations

import json
from dataclasses import asdict
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from paring_profiles.report import answers, quantities
from paring_profiles.report.tables import ABSENT, Table
from paring_profiles.result import Candidate, Machine, Profile, Settings

TOP_OPERATORS = 10
PARITY_HEADER = (
    "Case", "Batch", "Image size", "Max abs", "Max rel", "Cosine", "Top-1 agreement", "Ties",
)  # fmt: skip

ANSWERS = (
    "Candidates answer the same prompts in turn, in one process, greedily and without end token. Each "
    "phase of an answer is timed: the vision encoder, the prompt's filter, reading the prompt (prefill), "
    "then every step of decoding; the first token is there after the first three. A speed-up is the "
    "median over answers of the baseline's time over the candidate's; its 95 % interval is a bootstrap's."
    " A percentile is refused below 64 values (p90). The ideal speed-up is the ratio of multiply-"
    "accumulates (MACs) of the graphs that ran; realised / ideal tells how much of it reached the clock. "
    "The cache is what the arrays held."
)
CHOICE = (
    " The headline is on the fastest candidate that computes something else than the baseline and is "
    "known to lose at most a point of accuracy or 5 % of perplexity, or, where none is, on the fastest of"
    " all."
)
METHOD = (
    "Candidates are run in turn, in one process, after a warm-up. The speed-up is the median over "
    "rounds of the baseline's latency over the candidate's; its 95 % interval is a bootstrap's. "
    "A percentile is refused below 64 runs (p90) or 662 runs (p99): fewer cannot bound it with "
    "confidence 0.99. The ideal speed-up is the ratio of multiply-accumulates (MACs); realised / "
    "ideal tells how much of it reached the clock."
)


def as_yaml(value: Any) -> str:
    """A JSON-like value as YAML, keys in their own order, lists of plain values on one line."""
    stream = StringIO()
    YAML().dump(_flowing(json.loads(json.dumps(value, default=str))), stream)
    return stream.getvalue().rstrip()


def _flowing(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _flowing(item) for key, item in value.items()}
    if isinstance(value, list):
        items = CommentedSeq(_flowing(item) for item in value)
        if not any(isinstance(item, dict | list) for item in value):
            items.fa.set_flow_style()
        return items
    return value


def parity_table(parity: dict[str, Any]) -> Table:
    """One row for each compared case."""
    cases = parity.get("cases", [])
    if any("graph" in case for case in cases):
        return _answers_parity(cases)
    rows = [
        (
            str(case.get("name", ABSENT)),
            _text(case.get("batch")),
            _text(case.get("image_size")),
            *_differences(case),
            _text(case.get("ties")),
        )
        for case in cases
    ]
    return Table(PARITY_HEADER, tuple(rows))


def _answers_parity(cases: list[dict[str, Any]]) -> Table:
    """Of language models: prompts and steps."""
    rows = [
        (
            *(_text(case.get(key)) for key in ("name", "graph", "batch", "length", "steps")),
            *_differences(case),
        )
        for case in cases
    ]
    header = ("Case", "Graph", "Batch", "Prompt tokens", "Steps", *PARITY_HEADER[3:7])
    return Table(header, tuple(rows))


def _differences(case: dict[str, Any]) -> tuple[str, ...]:
    return (
        _error(case.get("max_abs")),
        _error(case.get("max_rel")),
        _digits(case.get("cosine"), 7),
        _digits(case.get("top1_agreement"), 4),
    )


def parity_sentence(parity: dict[str, Any]) -> str:
    """The verdict and the tolerance it was given under."""
    tolerance = ", ".join(f"{key} {value:g}" for key, value in parity.get("tolerance", {}).items())
    verdict = "Passed" if parity.get("passed") else "Failed"
    return f"{verdict}; tolerance: {tolerance or 'not recorded'}."


def top_operators(profile: Profile, batch_size: int) -> list[str]:
    """The operators that cost most in any candidate, longest first."""
    longest: dict[str, float] = {}
    for candidate in profile.candidates:
        for operator in candidate.operators.get(str(batch_size), []):
            known = longest.get(operator.op_type, 0.0)
            longest[operator.op_type] = max(known, operator.time_ms)
    return sorted(longest, key=lambda name: -longest[name])[:TOP_OPERATORS]


def operator_ms(candidate: Candidate, batch_size: int) -> dict[str, float]:
    """ms a call by kind of operator."""
    return {op.op_type: op.time_ms for op in candidate.operators.get(str(batch_size), [])}


def operator_table(profile: Profile, batch_size: int) -> Table:
    """One row for each of the top operators, one column for each candidate, ms a call."""
    times = [operator_ms(candidate, batch_size) for candidate in profile.candidates]
    rows = [
        (name, *(_milliseconds(of_candidate.get(name)) for of_candidate in times))
        for name in top_operators(profile, batch_size)
    ]
    return Table(("Operator", *(candidate.name for candidate in profile.candidates)), tuple(rows))


def token_table(profile: Profile) -> Table:
    """Tokens of each layer; candidates without a token count are left out."""
    if answers.places(profile):
        return answers.cache_table(profile)
    known = [c for c in profile.candidates if c.tokens_per_layer]
    rows = [(c.name, " ".join(str(n) for n in c.tokens_per_layer or [])) for c in known]
    return Table(("Candidate", "Tokens, layer by layer"), tuple(rows))


def curve_table(curve: dict[str, Any]) -> Table:
    """The points of the accuracy/latency curve."""
    metric = str(curve["metric"])
    rows = []
    for point in curve["points"]:
        low, high = point["latency_ratio_ci95"]
        rows.append(
            (
                _point_name(point),
                f"{quantities.metric_value(metric, point['accuracy'])} "
                f"({quantities.metric_between(metric, point['accuracy_ci95'])})",
                f"{quantities.ratio(point['latency_ratio'])} "
                f"({quantities.fixed(low, 2)} to {quantities.fixed(high, 2)})",
            )
        )
    return Table(("Point", metric[:1].upper() + metric[1:], "Speed-up"), tuple(rows))


def _point_name(point: dict[str, Any]) -> str:
    """The label, with the transform before it when the label does not tell it."""
    label, transform = str(point["label"]), str(point["transform"])
    return label if transform in label else f"{transform} {label}"


def machine_rows(machine: Machine) -> list[tuple[str, str]]:
    """The machine in words."""
    unknown = "not known"
    virtual = {True: "yes", False: "no", None: unknown}[machine.virtualised]
    physical, logical = (n or unknown for n in (machine.cores_physical, machine.cores_logical))
    memory, load = machine.memory_bytes, machine.load_1m
    return [
        ("Processor", machine.cpu),
        ("Cores", f"{physical} physical, {logical} logical"),
        ("Memory", unknown if memory is None else quantities.in_bytes(memory)),
        *([("GPU", ", ".join(machine.gpus))] if machine.gpus else []),
        ("System", machine.system),
        ("Virtual machine", virtual),
        ("Load before (1 min)", unknown if load is None else quantities.fixed(load, 2)),
        ("Python", machine.python),
    ]


def settings_rows(profile: Profile) -> list[tuple[str, str]]:
    """How it was measured."""
    settings, asked = profile.settings, any(candidate.answered for candidate in profile.candidates)
    named = asdict(settings)
    sizes = ", ".join(str(size) for size in settings.batch_sizes)
    dims = ", ".join(f"{name} = {size}" for name, size in settings.dims.items())
    return [
        ("Batch sizes", sizes),
        ("Threads", str(named["threads"])),
        ("Runs, at least", f"{settings.min_runs:,}"),
        ("Time, at least", f"{settings.min_seconds:g} s a candidate"),
        ("Time, at most", f"{settings.max_seconds:g} s"),
        ("Seed", str(settings.seed)),
        *([("Symbolic dimensions", dims)] if dims else []),
        *(_prompt_rows(settings) if asked else []),
    ]


def _prompt_rows(settings: Settings) -> list[tuple[str, str]]:
    return [
        ("Prompt tokens", ", ".join(f"{count:,}" for count in settings.prompt_tokens)),
        ("New tokens", str(settings.new_tokens)),
        ("Prompts", settings.text or "random ids"),
        ("Images", settings.image or "random pixels, where a model sees"),
    ]


def method(profile: Profile) -> str:
    """How this profile was measured, in words."""
    asked = any(candidate.answered for candidate in profile.candidates)
    return (ANSWERS if asked else METHOD) + CHOICE


def methods(profile: Profile) -> list[str]:
    """Each way in which a latency was obtained, once."""
    found = [lat.method for cand in profile.candidates for lat in cand.latency if lat.method]
    return list(dict.fromkeys(found))


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "×".join(str(item) for item in value)
    return ABSENT if value is None else str(value)


def _error(value: float | None) -> str:
    return ABSENT if value is None else quantities.scientific(value)


def _digits(value: float | None, places: int) -> str:
    return ABSENT if value is None else quantities.fixed(value, places)


def _milliseconds(value: float | None) -> str:
    return ABSENT if value is None else f"{quantities.plain(value)} ms"
