"""What a profile says, as plain data: written as JSON, read by `compare` and by the reports.

Units are in the names. `provenance` is "measured" or "modelled": the two never share a column.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 1
NOT_MEASURED = "not measured"

# What is timed apart when a language model answers. "decode" is one step: one token for each prompt.
PHASES = ("first_token", "encoder", "question", "compressor", "filter", "prefill", "decode")

# Batch size, tokens of a prompt (None for other models), phase ("" for a whole call of other models).
Case = tuple[int, "int | None", str]


@dataclass(frozen=True)
class Settings:
    """How latency is measured.

    Attributes:
        batch_sizes: one measurement for each.
        threads: intra-op threads of the engine.
        openings: how often each candidate is opened anew, an even number; fewer times where that
            takes long, but 4 at least: two openings of one model differ, see `openings`.
        min_runs: timed runs of each candidate, at least.
        min_seconds: timed seconds over each candidate, at least.
        max_seconds: stop a measurement here, whatever `min_runs` says.
        seed: of the inputs and of the interleaving.
        dims: sizes for symbolic dimensions other than the batch.
        values: inputs by name that hold one number everywhere, in place of random ones.
        prompt_tokens: of language models: one measurement for each length of prompts, an image's tokens
            not counted.
        new_tokens: that are generated after each prompt, the first among them.
        text: a file that prompts are cut from; None for random ids.
        image: a file that vision-language models see; None for random pixels.
        energy: meters to use: "auto" for all that are present, "none", or one's name, with a sensor after a
            colon where it has several ("hwmon:amdgpu/PPT").
        energy_csv: a log that an external meter's program writes meanwhile, see `meters.external`.
        energy_csv_offset_s: to add to the log's times to get this machine's.
    """

    batch_sizes: tuple[int, ...] = (1,)
    threads: int = 2
    openings: int = 10
    min_runs: int = 100
    min_seconds: float = 3.0
    max_seconds: float = 120.0
    seed: int = 0
    dims: dict[str, int] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    prompt_tokens: tuple[int, ...] = (128,)
    new_tokens: int = 32
    text: str | None = None
    image: str | None = None
    energy: str = "auto"
    energy_csv: str | None = None
    energy_csv_offset_s: float = 0.0


@dataclass(frozen=True)
class Machine:
    """Where it was measured. What cannot be read of another machine is None.

    `gpus` holds the names of NVIDIA's, each card's; it is empty where none is, or none can be read.
    """

    cpu: str
    cores_physical: int | None
    cores_logical: int | None
    memory_bytes: int | None
    system: str
    python: str
    load_1m: float | None
    virtualised: bool | None = None
    gpus: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Latency:
    """Latency of one candidate at one batch size, ms a call; of a language model, ms a phase.

    `openings_ms` are the medians of the times that it was opened anew; the median's interval is made of them.
    A percentile below its minimal sample count is None (64 runs for p90, 662 for p99: MLPerf's early
    stopping, confidence 0.99) and `refused` says why.
    """

    batch_size: int
    samples_ms: list[float]
    warmup_runs: int
    p50_ms: float
    p50_ci95_ms: tuple[float, float]
    p90_ms: float | None
    p99_ms: float | None
    mean_ms: float
    std_ms: float
    min_ms: float
    throughput_per_s: float  # items (batch_size / p50)
    refused: dict[str, str] = field(default_factory=dict)  # {"p99_ms": "121 runs, 662 needed"}
    provenance: str = "measured"
    method: str = ""  # "ONNX Runtime 1.32.0, CPUExecutionProvider, 2 threads, perf_counter_ns around run"
    prompt_tokens: int | None = None
    phase: str = ""
    openings_ms: list[float] = field(default_factory=list)

    @property
    def case(self) -> Case:
        """What was timed."""
        return self.batch_size, self.prompt_tokens, self.phase


@dataclass(frozen=True)
class Energy:
    """Energy of one candidate in one case by one meter, mJ an inference: one input of a batch, or the answer
    to one prompt. Measured, never modelled.

    Attributes:
        meter: its name, see `paring list meters`. Figures of two meters do not add: what they see overlaps.
        mj: with the idle machine's energy subtracted; the median over windows.
        gross_mj: the same with idle included.
        domains: by part of what the meter sees, idle subtracted; some may be parts of others.
        rounds_mj: `mj` of each window, in the order of the rounds that all candidates took in turn; None for
            one that could not be read.
        idle_watts: median power of the idle machine between the rounds, and its smallest and largest.
        window_seconds: median length of a window.
        calls: in all windows.
        covers: what draws the energy, in words.
        method: how it was obtained, in words.
    """

    batch_size: int
    meter: str
    mj: float
    mj_ci95: tuple[float, float]
    gross_mj: float
    domains: dict[str, float]
    rounds_mj: list[float | None]
    idle_watts: float
    idle_watts_range: tuple[float, float]
    window_seconds: float
    calls: int
    covers: str
    method: str
    provenance: str = "measured"
    prompt_tokens: int | None = None

    @property
    def place(self) -> tuple[int, int | None]:
        """Batch size and tokens of a prompt."""
        return self.batch_size, self.prompt_tokens


@dataclass(frozen=True)
class MeterState:
    """A meter that was looked for.

    Attributes:
        name: as in `paring list meters`.
        covers: what it measures, in words.
        why_not: why it measured nothing here; None when it did.
        said: what is doubtful about its figures, and cases that it was refused in.
    """

    name: str
    covers: str
    why_not: str | None
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ModelledEnergy:
    """What a chip's cost model charges for an inference, mJ. Modelled, on no machine; see `ledger`."""

    batch_size: int
    mj: float | None  # None where the model cannot price the graph; `method` says why
    chip: str
    method: str
    provenance: str = "modelled"


@dataclass(frozen=True)
class OperatorTime:
    """Time of one kind of operator in ONNX Runtime's own profile, ms a call of the model."""

    op_type: str
    calls: int
    time_ms: float
    share: float


@dataclass(frozen=True)
class Stage:
    """A step of a transform, and how many tokens a prompt has before and after it."""

    transform: str
    place: str  # "before the model", "after layer 2"
    tokens: str  # what is counted: "prompt" or "image"
    before: int
    after: int


@dataclass(frozen=True)
class Answered:
    """What it took, beside time, to answer prompts of one length.

    Attributes:
        read_tokens: what the model's first layer reads of a prompt, an image's tokens among them.
        macs: multiply-accumulates of each phase, for the whole batch.
        cache_rows: tokens that each layer's key-value cache holds after the prompts, the longest row's.
        cache_bytes: of those tokens, all prompts of the batch together.
        buffer_bytes: of the arrays that hold the cache after the last token, with the room that is left.
        kept_text: what a filter left of the first prompt, where prompts are cut from a text.
    """

    batch_size: int
    prompt_tokens: int
    read_tokens: int
    macs: dict[str, int]
    cache_rows: list[int]
    cache_bytes: int
    buffer_bytes: int
    stages: list[Stage]
    kept_text: str | None = None


@dataclass(frozen=True)
class ExpertShare:
    """A layer that is a mixture of experts, and what each of them gets.

    Attributes:
        layer: its path in the model.
        experts: names.
        tokens: of a sample, that each expert gets.
        alpha: latencies of a token, relative to their sum.
        costs: where alpha comes from: "measured", "given" or "assumed".
        preferred: share of tokens whose largest gate is each expert's, on data; None without data.
    """

    layer: str
    experts: tuple[str, ...]
    tokens: tuple[int, ...]
    alpha: tuple[float, ...]
    costs: str
    preferred: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Agreement:
    """How near the outputs of a candidate are to the baseline's, which should be the same numbers.

    Attributes:
        max_abs: largest difference of any element.
        snr_db: signal-to-noise ratio of all outputs together, dB; None where nothing differs.
        argmax_alike: share of rows of the first output whose largest element is at the same place.
        samples: sets of random inputs.
    """

    max_abs: float
    snr_db: float | None
    argmax_alike: float
    samples: int


@dataclass(frozen=True)
class Candidate:
    """One artifact and all that is known of it."""

    name: str
    path: str
    format: str
    size_bytes: int
    parameters: int | None
    macs: dict[str, int]  # batch size (as text, for JSON) -> multiply-accumulates a call
    macs_unknown: list[str]  # operators with multiplications that the counter does not know
    tokens_per_layer: list[int] | None
    peak_memory_bytes: int | None  # resident growth over an idle process, own process
    load_ms: float | None
    latency: list[Latency]
    operators: dict[str, list[OperatorTime]]  # batch size -> longest first
    source: str | None
    transforms: list[dict[str, Any]]
    recipe: dict[str, Any]
    parity: dict[str, Any] | None
    quality: dict[str, Any] | None
    energy: str = NOT_MEASURED  # or "measured": then by the meters in `energies`
    answered: list[Answered] = field(default_factory=list)  # of a language model
    expert_shares: list[ExpertShare] = field(default_factory=list)
    artifact_digest: str | None = None  # SHA-256, see `candidates.artifact_digest`
    engine: str | None = None  # "onnxruntime 1.32.0"
    agreement: Agreement | None = None  # with the baseline, where both are made of one model in one way
    energies: list[Energy] = field(default_factory=list)  # one for each case and meter
    modelled_energies: list[ModelledEnergy] = field(default_factory=list)  # one for each batch size

    def macs_of(self, case: Case) -> int | None:
        """Multiply-accumulates of what was timed, None where they were not counted."""
        batch_size, prompt_tokens, phase = case
        if prompt_tokens is None:
            return self.macs.get(str(batch_size))
        found = (a for a in self.answered if (a.batch_size, a.prompt_tokens) == case[:2])
        return next((own.macs.get(phase) for own in found), None)


@dataclass(frozen=True)
class Comparison:
    """A candidate against the baseline in one case. Ratios above 1 mean that the candidate wins.

    `p_value` is two-sided, of a difference of 0.5 % or less; the verdict asks for 0.01. None where models
    were opened once.
    """

    baseline: str
    candidate: str
    batch_size: int
    latency_ratio: float  # baseline / candidate: mean over openings of the medians over rounds, geometric
    latency_ratio_ci95: tuple[float, float]
    mac_ratio: float | None  # baseline MACs / candidate MACs: the ideal speed-up
    realised: float | None  # latency_ratio / mac_ratio
    verdict: str  # "faster", "slower", "no difference shown"
    prompt_tokens: int | None = None
    phase: str = ""
    p_value: float | None = None

    @property
    def case(self) -> Case:
        """What was timed."""
        return self.batch_size, self.prompt_tokens, self.phase


@dataclass(frozen=True)
class Profile:
    """One run of `paring profile`."""

    created: str
    machine: Machine
    settings: Settings
    tools: dict[str, str]
    candidates: list[Candidate]  # the first is the baseline
    comparisons: list[Comparison]
    noise: list[str]  # what made this measurement noisy, in words; empty when quiet
    meters: list[MeterState] = field(default_factory=list)  # empty: energy was not asked for
    schema_version: int = SCHEMA_VERSION
