"""`profile --on`: artifacts timed in turns on a board, by the board's own clock."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import paring_runtimes
from paring_profiles import inputs, latency, machine, noise, openings
from paring_profiles.candidates import candidate, check, default_names
from paring_profiles.remote import address as addresses
from paring_profiles.remote.board import Board, Model, connect
from paring_profiles.result import Candidate, Comparison, Latency, Profile, Settings
from paring_runtimes.artifact import read_manifest, verify_files
from paring_runtimes.engines.tvm import misfit
from paring_runtimes.errors import InputError, ParityError
from paring_runtimes.manifest import FILE_NAME, Manifest

if TYPE_CHECKING:
    from numpy.typing import NDArray

Progress = Callable[[str, float], None]
REFERENCE = "reference.npz"  # in an artifact: inputs, and what PyTorch's equal answers to them
_WAIT_SECONDS = 30.0
_TURN_CALLS = 3
_WARMUP_CALLS, _WARMUPS = 5, 6
_LEAST_DB = 30.0  # where activations are rounded


@dataclass
class _Subject:
    name: str
    path: Path
    manifest: Manifest
    model: Model
    differs: str
    latency: list[Latency] = field(default_factory=list)
    rounds_ms: dict[int, list[NDArray[np.float64]]] = field(default_factory=dict)  # by opening


def profile_remote(
    paths: Sequence[str | Path],
    on: str,
    settings: Settings = Settings(),  # noqa: B008  frozen
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Measure TVM artifacts against the first of them on the board at `on`.

    Libraries and inputs are sent there once; outputs are fetched once and compared with the artifact's
    reference, or with this machine's own run of the same library. Then each is called there in turns, in
    random order, by TVM's time evaluator: what the network takes is in no figure.

    Args:
        paths: the baseline, then the candidates: folders.
        on: rpc://HOST:PORT/KEY.
        settings: how to measure; `threads` cannot be more than the server's own setting.
        names: one a path.
        progress: told what is being done and how much is done, 0 to 1.

    Raises:
        InputError: no such address, or no artifacts of TVM.
        EngineError: no tracker or board, or a library that does not run there.
        ParityError: a library answers otherwise there.
    """
    check(paths, settings, names)
    where, say = addresses.parse(on), progress or (lambda _what, _share: None)
    manifests = [_manifest(Path(path)) for path in paths]
    seconds = 120 + len(settings.batch_sizes) * (settings.max_seconds + 60) * len(paths)
    with connect(where, _WAIT_SECONDS, seconds) as board:
        return _profile(board, paths, manifests, settings, names or default_names(paths), say)


def _profile(
    board: Board,
    paths: Sequence[str | Path],
    manifests: Sequence[Manifest],
    settings: Settings,
    names: Sequence[str],
    say: Progress,
) -> Profile:
    threads = board.use_threads(settings.threads)
    sentences, subjects = [], []
    if threads < settings.threads:
        sentences.append(
            f"{settings.threads} threads were asked for, and the server's pool has {threads}: TVM_NUM_THREADS"
            " of its environment says how many."
        )
    for number, (path, manifest, name) in enumerate(zip(map(Path, paths), manifests, names, strict=True)):
        say(f"sending {name}", 0.0)
        model = board.open(path / manifest.entry, f"model{number}.so", manifest.export["target"])
        say(f"comparing {name}", 0.05)
        subjects.append(_Subject(name, path, manifest, model, _compare(path, manifest, model, settings)))
    for number, batch_size in enumerate(settings.batch_sizes):
        say(f"timing at batch size {batch_size}", 0.1 + 0.9 * number / len(settings.batch_sizes))
        sentences += _time(subjects, batch_size, settings, board, threads)
    candidates = [_candidate(subject) for subject in subjects]
    say("done", 1.0)
    return Profile(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=board.describe(),
        settings=settings,
        tools=machine.tool_versions(),
        candidates=candidates,
        comparisons=_comparisons(subjects, settings),
        noise=sentences,
    )


def _manifest(path: Path) -> Manifest:
    if not (path / FILE_NAME).is_file():
        raise InputError(f"{path}: on another machine artifacts are measured: a folder with {FILE_NAME}")
    manifest = read_manifest(path)
    if manifest.format != "tvm":
        raise InputError(
            f"{path}: an artifact of {manifest.format}, and TVM's RPC runs libraries of TVM: convert it with"
            " -s export.format=tvm -s export.target=NAME, for the board's CPU"
        )
    verify_files(path, manifest)
    return manifest


def _compare(path: Path, manifest: Manifest, model: Model, settings: Settings) -> str:
    """Say how far the board's answers are from what they should be.

    Raises:
        ParityError: too far.
    """
    feeds, expected, source = _reference(path, manifest, settings)
    model.feed([feeds[spec.name] for spec in manifest.inputs])
    found = dict(zip([spec.name for spec in manifest.outputs], model.run(), strict=True))
    parity: Mapping[str, Any] = manifest.parity or {}
    atol, rtol = parity.get("atol", 1e-5), parity.get("rtol", 1e-4)
    rounded = parity.get("min_snr_db") is not None
    worst = 0.0
    for name, value in expected.items():
        got = found[name]
        if got.shape != value.shape:
            raise ParityError(
                f"{path}: {model.where}: output {name!r} has shape {got.shape}, not {value.shape}"
            )
        gap = float(np.abs(got.astype(np.float64) - value).max(initial=0))
        worst = max(worst, gap)
        near = _decibels(value, got) >= _LEAST_DB if rounded else np.allclose(got, value, rtol, atol)
        if not near:
            raise ParityError(
                f"{path}: on {model.where} output {name!r} differs by up to {gap:.3g} from {source}; allowed:"
                f" {f'{_LEAST_DB:g} dB' if rounded else f'atol {atol:g} + rtol {rtol:g}'}"
            )
    return f"answers within {worst:.1e} of {source}"


def _reference(
    path: Path, manifest: Manifest, settings: Settings
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], str]:
    """Inputs and outputs that were kept, otherwise those of this machine."""
    if REFERENCE in manifest.files:
        with np.load(path / REFERENCE, allow_pickle=False) as kept:
            arrays = dict(kept)
        given, made = (
            {key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)}
            for start in ("input:", "output:")
        )
        return given, made, "the artifact's reference"
    reason = misfit(manifest.export["target"])
    if reason is not None:
        raise InputError(f"{path}: has no {REFERENCE}, and cannot run here to be compared with: {reason}")
    shapes = inputs.concrete_shapes(manifest.inputs, settings.batch_sizes[0], settings.dims, path)
    feeds = inputs.make(manifest.inputs, shapes, settings.seed)
    with paring_runtimes.load(path, threads=1) as session:
        return feeds, session.run(feeds), "this machine's"


def _decibels(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    noise_power = np.square(actual.astype(np.float64) - expected).sum()
    power = np.square(expected.astype(np.float64)).sum()
    return float(10 * np.log10(power / noise_power)) if noise_power else float("inf")


def _time(
    subjects: Sequence[_Subject], batch_size: int, settings: Settings, board: Board, threads: int
) -> list[str]:
    """Time every subject at one batch size; return what was noisy."""
    feeds = [_feeds(subject, batch_size, settings) for subject in subjects]
    warmups = [_warm_up(one, own, settings) for one, own in zip(subjects, feeds, strict=True)]

    def reopen(order: list[int]) -> None:
        for index in order:
            subjects[index].model.reopen(feeds[index])
            subjects[index].model.times_ms(_TURN_CALLS)

    rounds = [
        _take_turns(subjects, one.settings) for one, _ in openings.open_anew(len(subjects), settings, reopen)
    ]
    sentences = []
    for subject, runs, turns in zip(subjects, warmups, zip(*rounds, strict=True), strict=True):
        subject.rounds_ms[batch_size] = [np.asarray(turn.rounds_ms) for turn in turns]
        method = (
            f"tvm {subject.manifest.export['tvm']} on {board.address}, {threads} threads, TVM's time"
            " evaluator around invoke_stateful there, by its clock and without the network, all opened anew"
            f" several times, in turns of {_TURN_CALLS} calls after an untimed one in random order,"
            f" {subject.differs}"
        )
        subject.latency.append(latency.summarise_openings(turns, batch_size, runs, settings.seed, method))
        together = np.concatenate(subject.rounds_ms[batch_size])
        sentences += noise.in_series(together, f"{subject.name}, batch size {batch_size}")
    return sentences


def _take_turns(subjects: Sequence[_Subject], settings: Settings) -> list[latency.Turns]:
    """Time the subjects of one opening in turns."""
    turns, order = [latency.Turns() for _ in subjects], list(range(len(subjects)))
    shuffler, begin, done = random.Random(settings.seed), time.perf_counter(), 0.0
    while done < 1 and len(turns[0].rounds_ms) < latency.MAX_ROUNDS:
        shuffler.shuffle(order)
        for index in order:
            times = subjects[index].model.times_ms(_TURN_CALLS)
            turns[index].samples_ms.extend(times)
            turns[index].timed_s += sum(times) / 1e3
            turns[index].rounds_ms.append(float(np.median(times)))
        done = latency.share_done(turns, settings, time.perf_counter() - begin)
    return turns


def _feeds(subject: _Subject, batch_size: int, settings: Settings) -> list[NDArray[Any]]:
    """The inputs, in the model's order."""
    specs = subject.manifest.inputs
    shapes = inputs.concrete_shapes(specs, batch_size, settings.dims, subject.path)
    made = inputs.make(specs, shapes, settings.seed)
    return [made[spec.name] for spec in specs]


def _warm_up(subject: _Subject, feeds: list[NDArray[Any]], settings: Settings) -> int:
    """Call until medians stand still, some times at most; return how many calls that took."""
    subject.model.feed(feeds)
    before, begin, calls = float("inf"), time.perf_counter(), 0
    for _ in range(_WARMUPS):
        calls += _WARMUP_CALLS + 1
        now = float(np.median(subject.model.times_ms(_WARMUP_CALLS)))
        if abs(before - now) <= 0.03 * now or time.perf_counter() - begin > settings.max_seconds / 4:
            break
        before = now
    return calls


def _candidate(subject: _Subject) -> Candidate:
    return candidate(
        subject.name,
        subject.path,
        subject.manifest,
        macs={},
        macs_unknown=[],
        peak_memory_bytes=None,
        load_ms=None,
        latency=subject.latency,
        operators={},
        engine=f"tvm {subject.manifest.export['tvm']}",
    )


def _comparisons(subjects: Sequence[_Subject], settings: Settings) -> list[Comparison]:
    found = []
    for batch_size in settings.batch_sizes:
        every = [subject.rounds_ms[batch_size] for subject in subjects]
        for index, other in enumerate(subjects[1:], 1):
            one = openings.against(every, index, settings.seed)
            told = (one.ratio, one.ci95, None, None, one.verdict)
            found.append(Comparison(subjects[0].name, other.name, batch_size, *told, p_value=one.p_value))
    return found
