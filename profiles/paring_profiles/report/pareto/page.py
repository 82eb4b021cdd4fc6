"""What the report of many variants says, as plain data: `report.json`, see `schema` for its JSON Schema.

Figures are in the reader's unit, which their axis names. Measured and modelled ones are axes apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Axis:
    """One measure that variants have.

    Attributes:
        name: key of `Variant.figures`: "latency_relative", "energy_modelled_uj".
        title: in words; a modelled one says so.
        unit: of the figures.
        digits: decimals shown.
        minimise: whether less is better.
        provenance: "measured" or "modelled".
        objective: whether the front is of it.
    """

    name: str
    title: str
    unit: str
    digits: int
    minimise: bool
    provenance: str
    objective: bool


@dataclass(frozen=True)
class Figure:
    """One figure of one variant with the ends of its 95 % interval (the value itself where it is exact)."""

    value: float
    low: float
    high: float
    provenance: str
    method: str
    round: str = ""


@dataclass(frozen=True)
class Gain:
    """The speed-up over the baseline that was realised, its interval, and what the operations promise.

    `ideal` is the ratio of multiply-accumulates, `share` the quotient of both; None: not counted.
    """

    realised: float
    low: float
    high: float
    ideal: float | None
    share: float | None


@dataclass(frozen=True)
class Metered:
    """Energy of an inference that a meter measured, mJ, idle subtracted, and its parts where it has them."""

    meter: str
    mj: float
    low: float
    high: float
    domains: dict[str, float]
    method: str


@dataclass(frozen=True)
class Variant:
    """One variant, or a baseline.

    Attributes:
        key: unique in the report; its section is `#variant-KEY`.
        name: its point in words.
        group: what it can be compared within: a kind of device, or a machine and a case.
        baseline: whether others are told against it.
        state: "complete", "refused", "gate", "pruned", "failed" or "running".
        reason: why it is not complete.
        place: on the front: "on", "maybe" or "dominated"; None: not judged.
        probability: share of resamples in which nothing dominates it.
        dominated_by: keys of variants that dominate it most often.
        params: what tells it from the others.
        transforms: names.
        engine: with its version where that is known.
        precision: of the weights; "" where it is not known.
        recipe: as YAML.
        artifact: where it lies, as the source tells it.
        figures: by axis.
        quality: in sentences, with intervals.
        gain: None where there is nothing to compare with.
        tokens_per_layer: None where it has none.
        metered: energy by meter; empty: not measured.
        modelled_uj: the ledger's energy of a call by part, uJ; empty: not modelled.
        modelled_method: how, or why not.
        noise: what disturbed the measurement.
        facts: pairs of what else is known.
    """

    key: str
    name: str
    group: str
    baseline: bool
    state: str
    reason: str
    place: str | None
    probability: float | None
    dominated_by: list[str]
    params: dict[str, Any]
    transforms: list[str]
    engine: str
    precision: str
    recipe: str
    artifact: str | None
    figures: dict[str, Figure]
    quality: list[str] = field(default_factory=list)
    gain: Gain | None = None
    tokens_per_layer: list[int] | None = None
    metered: list[Metered] = field(default_factory=list)
    modelled_uj: dict[str, float] = field(default_factory=dict)
    modelled_method: str = ""
    noise: list[str] = field(default_factory=list)
    facts: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class Constant:
    """A number that modelled figures rest on, as its source prints it: without a range."""

    name: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class ModelledNumber:
    """A modelled figure of this report: whose, what, and by which model."""

    variant: str
    quantity: str
    value: float
    unit: str
    method: str


@dataclass(frozen=True)
class Advice:
    """The recommendation under constraints: keys of variants, and the words."""

    goal: str
    constraints: list[str]
    confidence: str
    variant: str | None
    runner_up: str | None
    nearest: str | None
    sentences: list[str]


@dataclass(frozen=True)
class Theirs:
    """One figure of another tool, not measured by paring: it has no axis and no place on the front.

    Attributes:
        tool, file: who wrote it, and the name of the file.
        name: what it is of: a target, a workload, a model.
        quantity: what it is: "latency", "peak RAM", ...
        value, unit: as the tool means them, times in ms.
        statistic: "median of 120 runs", "mean", ...
        low, high: the median's 95 % interval; None where the tool keeps only a summary.
        device: what it ran on; "" where the file does not tell.
        provenance: "measured by ...", "counted by ...", or what the tool leaves open.
        context: what the file tells besides.
        unknown: what it does not tell, and a comparison would need.
    """

    tool: str
    file: str
    name: str
    quantity: str
    value: float
    unit: str
    statistic: str
    low: float | None
    high: float | None
    device: str
    provenance: str
    context: dict[str, str]
    unknown: list[str]


@dataclass(frozen=True)
class Report:
    """The whole report.

    Attributes:
        title: its first sentence.
        kicker: what it is of: "sweep of ...", "store ...".
        created: UTC, ISO 8601, of what is reported.
        sentences: what a reader should know first.
        groups: in the order shown; variants of two groups are never compared.
        axes: every measure that some variant has.
        variants: baselines first, then by their place.
        constants: of the models that were used.
        modelled: every modelled figure in the report.
        energy_not_measured: why no meter's figure is here; "" where there is one.
        advice: None where no constraint was given.
        notes: what was left out, and other remarks.
        machine: pairs a group.
        settings: pairs.
        tools: versions.
        imported: figures of other tools, shown in a table of their own.
    """

    title: str
    kicker: str
    created: str
    sentences: list[str]
    groups: list[str]
    axes: list[Axis]
    variants: list[Variant]
    constants: list[Constant]
    modelled: list[ModelledNumber]
    energy_not_measured: str
    advice: Advice | None
    notes: list[str]
    machine: dict[str, list[list[str]]]
    settings: list[list[str]]
    tools: dict[str, str]
    imported: list[Theirs] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION

    def axis(self, name: str) -> Axis:
        """The axis of that name."""
        return next(one for one in self.axes if one.name == name)

    @property
    def objectives(self) -> list[Axis]:
        """The axes that the front is of."""
        return [one for one in self.axes if one.objective]
