"""The planner's table from what `paring profile -o` wrote: models as they were measured.

| table | profile |
| --- | --- |
| `parameters` | the candidate's, of the whole model (a vision encoder's too) |
| `tokens` | `tokens_per_layer`: image tokens that a layer of the language model keeps, on average |
| `latency_ms` | median of the phase "first_token", at batch size 1 and one length of prompts |
| `score` | the manifest's `quality`: a share of right answers |

A CSV of scores replaces what it names, artifact by artifact. Measurements of different devices, or scores of
different data, are never put into one table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paring_profiles import store
from paring_profiles.planner.table import Measured, Table, number, read_rows
from paring_profiles.result import Candidate, Latency, Profile
from paring_runtimes.errors import InputError

FILE = "profile.json"
PHASE = "first_token"
SHARES = ("VQA accuracy", "top-1 accuracy")  # metrics of which 1 minus the score is an error
OPTIONAL = ("parameters", "tokens")
LIMITS = {"score": (0.0, 0.999999), "parameters": (1.0, 1e15), "tokens": (1.0, 1e9)}


@dataclass(frozen=True)
class _Entry:
    """A candidate and the profile that it is from."""

    path: Path
    profile: Profile
    candidate: Candidate

    def __str__(self) -> str:
        return f"{self.path}, {self.candidate.name}"


def read_profiles(
    paths: Sequence[Path], scores: Path | None = None, text_tokens: int | None = None
) -> tuple[Table, int]:
    """The candidates of profiles, and how many tokens of text their prompts have beside the image.

    Args:
        paths: `profile.json` files, or folders that hold one; one or more.
        scores: a CSV with the columns `artifact` (a candidate's name), `score` and, where the profile does
            not tell or another figure is wanted, `parameters` and `tokens`.
        text_tokens: the length of prompts whose times are taken; None where they are of one length.

    Raises:
        InputError: what a candidate lacks and where to give it, or figures that cannot be compared.
        ArtifactError: a file is no profile.
    """
    entries = [entry for path in paths for entry in _entries(path)]
    given = {} if scores is None else _read_scores(scores)
    names = [entry.candidate.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name}: in these profiles twice; name them apart with `paring profile --name`")
    unknown = [name for name in given if name not in names]
    if unknown:
        raise InputError(f"{scores}: {', '.join(unknown)} not in the profiles; they hold {', '.join(names)}")
    _check_alike([entry for entry in entries if entry.candidate.name not in given])
    length = _length(entries, text_tokens)
    timed = [_latency(entry, length) for entry in entries]
    rows = [
        _row(entry, found.p50_ms, given.get(entry.candidate.name, {}))
        for entry, found in zip(entries, timed, strict=True)
    ]
    name = ", ".join(dict.fromkeys(str(entry.path) for entry in entries))
    return Table(
        name if scores is None else f"{name}; {scores}", tuple(rows), _device(entries, timed)
    ), length


def _entries(path: Path) -> list[_Entry]:
    file = path / FILE if path.is_dir() else path
    profile = store.read(file)
    return [_Entry(file, profile, candidate) for candidate in profile.candidates]


def _read_scores(path: Path) -> dict[str, dict[str, float]]:
    """Of each artifact, what the CSV tells."""
    found: dict[str, dict[str, float]] = {}
    for line, row in read_rows(path, ("artifact", "score"), OPTIONAL):
        told = {name: row[name] for name in LIMITS if row.get(name)}
        name = row["artifact"] or ""
        if name in found:
            raise InputError(f"{path}, line {line}, artifact: {name!r} was there before")
        found[name] = {key: number(path, line, row, key, *LIMITS[key]) for key in ("score", *told)}
    return found


def _check_alike(entries: Sequence[_Entry]) -> None:
    """Scores of manifests are of one metric on the same data."""
    first: tuple[_Entry, tuple[object, ...]] | None = None
    for entry in entries:
        quality = entry.candidate.quality or {}
        told = tuple(quality.get(key) for key in ("metric", "data", "data_digest"))
        if not quality:
            continue
        if first is None:
            first = entry, told
        elif told != first[1]:
            raise InputError(
                f"{first[0]} and {entry}: scores of different questions ({first[1][0]} on {first[1][1]},"
                f" {told[0]} on {told[1]}); measure them on the same, or give comparable ones with --scores"
            )


def _length(entries: Sequence[_Entry], wanted: int | None) -> int:
    """Of the prompts that every candidate was timed with."""
    every = [
        {one.prompt_tokens for one in entry.candidate.latency if one.phase == PHASE and one.batch_size == 1}
        for entry in entries
    ]
    for entry, lengths in zip(entries, every, strict=True):
        if not lengths:
            raise InputError(
                f"{entry}: no time to the first token at batch size 1; `paring profile --batch 1` of a"
                " vision-language model's artifact measures it"
            )
    shared = sorted(length for length in set.intersection(*every) if length is not None)
    if wanted is None and len(shared) == 1:
        return shared[0]
    if wanted not in shared:
        told = ", ".join(map(str, shared)) or "none in common"
        raise InputError(
            f"prompts of {wanted or 'one length'}: expected --text-tokens to be a length that all were timed"
            f" with: {told}"
        )
    return wanted


def _latency(entry: _Entry, length: int) -> Latency:
    cases = {one.case: one for one in entry.candidate.latency}
    return cases[1, length, PHASE]


def _row(entry: _Entry, latency_ms: float, given: Mapping[str, float]) -> Measured:
    own, lacking = entry.candidate, f"{entry}: expected"
    layers = own.tokens_per_layer or []
    tokens = given.get("tokens", sum(layers) / len(layers) if layers else 0)
    parameters = given.get("parameters", own.parameters or 0)
    if not parameters:
        raise InputError(f"{lacking} its parameters; give a column `parameters` in --scores")
    if tokens < 1:
        raise InputError(
            f"{lacking} a model that reads visual tokens; give a column `tokens` in --scores, or leave it out"
        )
    score = given["score"] if "score" in given else _score(entry)
    return Measured(parameters, round(tokens), score, latency_ms, own.name)


def _score(entry: _Entry) -> float:
    """The share of right answers that the manifest tells."""
    quality = entry.candidate.quality or {}
    score = quality.get("after")
    if quality.get("metric") not in SHARES or not isinstance(score, float):
        told = (
            f"its quality is {quality['metric']}" if quality.get("metric") else "its quality was not measured"
        )
        raise InputError(
            f"{entry}: expected a share of right answers, but {told}; convert it with --data, or name a CSV"
            f" with --scores: artifact,score and the line {entry.candidate.name},SCORE"
        )
    return min(score, LIMITS["score"][1])


def _device(entries: Sequence[_Entry], timed: Sequence[Latency]) -> str:
    """What all of it was measured on: processor, engine, threads."""
    told = [
        f"{entry.profile.machine.cpu}, {', '.join(found.method.split(', ')[:3])}"
        for entry, found in zip(entries, timed, strict=True)
    ]
    for entry, device in zip(entries, told, strict=True):
        if device != told[0]:
            raise InputError(
                f"{entries[0]} and {entry}: measured on different devices ({told[0]}; {device}); a plan takes"
                " the times of one"
            )
    return told[0]
