"""What a load test says, as plain data: written as JSON, read back and by the reports.

Units are in the names. Everything here is measured. `at_s` counts from the begin of the run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from paring_profiles.result import Energy, Machine, MeterState

SCHEMA_VERSION = 1
FILE_NAME = "load.json"


@dataclass(frozen=True)
class LoadSettings:
    """How load is made.

    Attributes:
        scenarios: names, see `scenarios.scenarios`; one run for each artifact and scenario.
        duration_s: a run lasts at least so long; of server also 60 times its bound, so that queues show.
        queries: and has at least so many queries (offline: samples); None for as many as the scenario's
            percentile needs, see `early_stopping`; of server 2,010, ten of which may be over.
        max_seconds: a run ends here, whatever is missing.
        qps: of server: queries that arrive a second, on average.
        find_qps: of server: look for the greatest rate that keeps `latency_bound_ms`.
        latency_bound_ms: of server: what the 99th percentile shall stay within.
        samples_per_query: of multi_stream.
        batch: samples in one call of the engine, at most; those that are waiting are put together. None for
            1, of multi_stream for all that a worker gets of a query.
        threads: intra-op threads of each worker.
        workers: instances of the model, each with an engine and a thread of its own.
        cpus: CPUs that everything runs on; empty for where the system puts it.
        numa: node whose CPUs and memory are used; None for any.
        starts: fresh processes for cold and for warm starts, each; 0 for none.
        seed: of inputs, arrivals and intervals.
        dims: sizes for symbolic dimensions other than the batch.
        values: inputs by name that hold one number everywhere, in place of random ones.
        energy: meters, as in `paring_profiles.result.Settings`.
        energy_csv: an external meter's log, as there.
        energy_csv_offset_s: to add to that log's times.
    """

    scenarios: tuple[str, ...] = ("single_stream",)
    duration_s: float = 10.0
    queries: int | None = None
    max_seconds: float = 600.0
    qps: float | None = None
    find_qps: bool = False
    latency_bound_ms: float | None = None
    samples_per_query: int = 8
    batch: int | None = None
    threads: int = 1
    workers: int = 1
    cpus: tuple[int, ...] = ()
    numa: int | None = None
    starts: int = 5
    seed: int = 0
    dims: dict[str, int] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    energy: str = "auto"
    energy_csv: str | None = None
    energy_csv_offset_s: float = 0.0


@dataclass(frozen=True)
class Percentile:
    """A percentile of latency, ms.

    Attributes:
        rank: 99.0 for the 99th.
        value_ms: by the histogram, within 0.1 %; None where too few queries came to bound it.
        bound_ms: what it stays within with confidence 0.99, see `early_stopping`.
        queries_needed: the fewest that bound it.
    """

    rank: float
    value_ms: float | None
    bound_ms: float | None
    queries_needed: int


@dataclass(frozen=True)
class Point:
    """A query: when it was due and how long it took, ms."""

    at_s: float
    latency_ms: float


@dataclass(frozen=True)
class Latencies:
    """Latencies of queries, ms, from when each was due (of server: when it arrived) to its answer.

    Attributes:
        p50_ci95_ms: of the median, by a block bootstrap.
        waiting_ms: mean time until a worker took a query.
        histogram: all of them, in HdrHistogram's compressed text, ns.
        points: in the order due; thinned evenly where there are more than `POINTS`, with the longest kept.
    """

    queries: int
    percentiles: list[Percentile]
    p50_ci95_ms: tuple[float, float]
    mean_ms: float
    std_ms: float
    min_ms: float
    max_ms: float
    waiting_ms: float
    histogram: str
    points: list[Point]

    def at(self, rank: float) -> Percentile:
        """Return one of the percentiles."""
        return next(one for one in self.percentiles if one.rank == rank)


@dataclass(frozen=True)
class Verdict:
    """Whether a server run kept its bound.

    Attributes:
        bound_ms: what 99 % of queries shall stay within.
        over: queries that did not.
        over_allowed: so many of these queries may be over, at confidence 0.99; -1 where they are too few.
        valid: whether it was kept.
        why_not: the reasons, in words; empty when valid.
    """

    bound_ms: float
    over: int
    over_allowed: int
    valid: bool
    why_not: list[str]


@dataclass(frozen=True)
class Probe:
    """A server run of the search for the greatest rate. `hopeless`: ended early, too many were over."""

    qps: float
    queries: int
    over: int
    over_allowed: int
    p99_ms: float
    passed: bool
    hopeless: bool


@dataclass(frozen=True)
class Search:
    """The greatest rate that keeps the bound: `qps` passed; `failed_qps`, the smallest above, did not."""

    qps: float | None
    failed_qps: float | None
    probes: list[Probe]


@dataclass(frozen=True)
class MemoryPoint:
    """Resident memory of the process, and the share of it that is its own (Linux: PSS), bytes."""

    at_s: float
    rss_bytes: int
    pss_bytes: int | None


@dataclass(frozen=True)
class Memory:
    """Memory over a run.

    Attributes:
        growth_bytes: a query (offline: a sample), of RSS; None where the run was too short to tell.
        growth_ci95_bytes: its 95 % interval.
        grows: whether that excludes zero, and is more than watching takes.
        points: of the whole run.
    """

    growth_bytes: float | None
    growth_ci95_bytes: tuple[float, float] | None
    grows: bool
    method: str
    points: list[MemoryPoint]


@dataclass(frozen=True)
class Placement:
    """Where threads ran and memory lay.

    Attributes:
        cpus: all that the run might use.
        workers: of each worker; empty where the system placed them.
        threads: of the process, after the warm-up.
        astray: how many of those may run elsewhere than on `cpus`.
        memory: where memory comes from, in words.
    """

    cpus: list[int]
    workers: list[list[int]]
    threads: int
    astray: int
    memory: str


@dataclass(frozen=True)
class Start:
    """One fresh process, ms: until all is imported, to open the artifact, to answer once."""

    imports_ms: float
    load_ms: float
    first_ms: float

    @property
    def total_ms(self) -> float:
        """From the process's start to its first answer."""
        return self.imports_ms + self.load_ms + self.first_ms


@dataclass(frozen=True)
class Starts:
    """Cold and warm starts in turns. Cold: the artifact's pages were dropped from the page cache before.

    Attributes:
        cached_share: of the artifact's pages, after they were dropped; 0 when all were.
        not_cold: why there is no cold start; None when there is.
    """

    cold: list[Start]
    warm: list[Start]
    cached_share: float | None
    not_cold: str | None
    method: str


@dataclass(frozen=True)
class LoadRun:
    """One artifact in one scenario.

    Attributes:
        judged: the rank that the scenario is judged by; None for offline.
        throughput_per_s: samples a second, and its 95 % interval over 20 parts of the run; None of too few.
        latency: None for offline, whose queries all come at once.
        calls: of the engine, by the number of samples in them.
        noise: what made it noisy, in words; empty when quiet.
    """

    artifact: str
    scenario: str
    judged: float | None
    engine: str
    queries: int
    samples: int
    seconds: float
    warmup_runs: int
    qps: float | None
    throughput_per_s: float
    throughput_ci95_per_s: tuple[float, float] | None
    latency: Latencies | None
    verdict: Verdict | None
    search: Search | None
    calls: dict[str, int]
    memory: Memory
    placement: Placement
    energies: list[Energy]
    meters: list[MeterState]
    noise: list[str]
    method: str
    provenance: str = "measured"


@dataclass(frozen=True)
class Artifact:
    """What was put under load."""

    name: str
    path: str
    digest: str
    size_bytes: int
    starts: Starts | None


@dataclass(frozen=True)
class LoadResult:
    """One `paring load-test`."""

    created: str
    machine: Machine
    settings: LoadSettings
    tools: dict[str, str]
    artifacts: list[Artifact]
    runs: list[LoadRun]
    noise: list[str] = field(default_factory=list)  # of the machine before the runs
    schema_version: int = SCHEMA_VERSION
