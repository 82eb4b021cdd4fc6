"""What a simulation's report says, as sentences and tables, the same for HTML and Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from paring_profiles.neuromorphic.chip import Chip, Constant, Limit
from paring_profiles.neuromorphic.pricing import PARTS, Latency, Range
from paring_profiles.neuromorphic.simulate import TIMED, Point, Simulation
from paring_profiles.report import quantities
from paring_profiles.report.tables import ABSENT, Table

METHOD = (
    "The network is placed on the chip's cores under their limits and its weights, biases and thresholds are"
    " rounded to the chip's bits; the accuracy is that of the rounded network. A run counts every synaptic"
    " operation (an event at a connection), every neuron that a step looks at or passes over, and every"
    " message between cores; where the input of weights is real-valued, its multiply-accumulates. The counts"
    " are multiplied with the chip's published constants. A step lasts as long as its slowest core, and a"
    f" barrier; latencies are of {TIMED} images at most. Ranges take all constants at their low or all at"
    " their high end. Nothing was measured on a chip; congestion, reading in and out, and the loading of"
    " weights are not modelled. Membranes are whole numbers that do not saturate; how wide they get is told."
)
NOT_MODELLED = "not modelled"
NEAR = 0.01  # of accuracy: the fewest steps that lose no more to the best are told first


@dataclass(frozen=True)
class Told:
    """A simulation, and what a reader should know of it.

    Attributes:
        simulation: itself.
        artifact: path as the user gave it.
        data: spec of the images.
        source_accuracy: of the network before conversion, where it is recorded.
        created: ISO 8601, UTC.
        tools: versions by name.
    """

    simulation: Simulation
    artifact: str
    data: str
    source_accuracy: float | None
    created: str
    tools: dict[str, str]


def chosen(found: Simulation) -> Point:
    """The point that the headline speaks of."""
    scored = [point for point in found.points if point.accuracy is not None]
    if not scored:
        return found.points[-1]
    best = max(point.accuracy or 0.0 for point in scored)
    return next(point for point in scored if (point.accuracy or 0.0) >= best - NEAR)


def headline(told: Told) -> str:
    """What the chip would do, in a sentence."""
    found, point = told.simulation, chosen(told.simulation)
    score = "" if point.accuracy is None else f"{percent(point.accuracy)} at "
    spent = joules(point.energy.total, at_least=bool(point.energy.missing))
    cost = f"energy {NOT_MODELLED}" if point.energy.total is None else f"{spent} an image"
    return f"{found.chip.title}, modelled: {score}{point.steps} steps, {cost}"


def sentences(told: Told) -> list[str]:
    """What to know before believing the headline."""
    found, point = told.simulation, chosen(told.simulation)
    lines = [rival_sentence(point)]
    if point.accuracy is not None and point.unrounded is not None:
        source = (
            "" if told.source_accuracy is None else f", {percent(told.source_accuracy)} before conversion"
        )
        bits = found.chip.limits.weight_bits.value
        lines.append(
            f"Weights of {bits} bits: {percent(point.accuracy)} of {found.samples:,} images, against"
            f" {percent(point.unrounded)} with real-valued weights{source}."
        )
    cores, limit = len(found.placed.cores), found.chip.limits.cores.value
    shared = ", blocks of several layers sharing some" if found.placed.shared else ""
    idle = percent(point.load.idle_cores)
    lines.append(f"Takes {cores:,} of {limit:,} cores{shared}; in a step {idle} of them idle on average.")
    lines += _missing(point)
    return [*lines, *_saturation(found)]


def _saturation(found: Simulation) -> list[str]:
    """Whether membranes would have outgrown the chip's."""
    held = found.chip.limits.state_bits.value
    layers = found.placed.network.layers.items()
    seen = {name: found.seen_bits.get(name, 0) for name, _ in layers}
    over = [f"{layer.label} {seen[name]}" for name, layer in layers if seen[name] > held]
    if over:
        return [f"Membranes outgrew the chip's {held} bits, which is not simulated: {', '.join(over)} bits."]
    wide = [seen[name] for name, _ in layers if found.rounding.layers[name].needs_bits > held]
    if wide:
        told = f"{max(wide)} bits were the most seen in {min(TIMED, found.samples)} images"
        return [f"Membranes of {held} bits could saturate if all senders spiked at once; {told}."]
    return []


def rival_sentence(point: Point) -> str:
    """Whether spikes pay, on one process."""
    rival = point.rival
    low, high = (quantities.plain(end) for end in (rival.ratio.low, rival.ratio.high))
    rate, even = percent(rival.rate), rival.break_even.value
    verdict = "costs more than" if rival.ratio.value > 1 else "costs less than"
    limit = (
        f"it would break even at {percent(even)}"
        if even > 0
        else "no rate is low enough to break even, updates alone cost more"
    )
    undecided = "; the constants' range leaves it open" if rival.ratio.low < 1 < rival.ratio.high else ""
    times = f"{quantities.plain(rival.ratio.value)} times its energy ({low} to {high}{undecided})"
    return (
        f"On one 45 nm process the spiking network {verdict} the same network at int8:"
        f" {times} at {point.steps} steps, where events cross {rate} of the connections a step; {limit}."
    )


def _missing(point: Point) -> list[str]:
    lines = []
    if point.energy.missing:
        lines.append(f"Energy without a published constant, left out: {', '.join(point.energy.missing)}.")
    if point.latency.missing:
        lines.append(f"Time without a published constant, left out: {', '.join(point.latency.missing)}.")
    return lines


def point_table(found: Simulation) -> Table:
    """One row for each T."""
    header = (
        "Steps", "Accuracy (95 %)", "Before rounding", "Spikes", "SynOps", "MACs", "Energy (range)",
        "Latency (range)",
    )  # fmt: skip
    rows = []
    for point in found.points:
        scored = point.accuracy is not None and point.accuracy_ci95 is not None
        accuracy = ABSENT
        if scored:
            assert point.accuracy is not None
            assert point.accuracy_ci95 is not None
            low, high = point.accuracy_ci95
            between = f"{quantities.fixed(100 * low, 1)} to {quantities.fixed(100 * high, 1)}"
            accuracy = f"{percent(point.accuracy)} ({between})"
        rows.append(
            (
                str(point.steps),
                accuracy,
                ABSENT if point.unrounded is None else percent(point.unrounded),
                quantities.with_prefix(sum(point.load.spikes.values())),
                quantities.with_prefix(point.load.total_synops),
                quantities.with_prefix(point.load.total_macs),
                joules(point.energy.total, bool(point.energy.missing), ranged=True),
                seconds(point.latency, ranged=True),
            )
        )
    return Table(header, tuple(rows))


def rival_table(found: Simulation) -> Table:
    """The spiking network beside the dense one, one row for each T."""
    header = (
        "Steps", "Dense MACs", "SynOps + MACs", "Dense", "Spiking", "Ratio (range)", "Event rate",
        "Break-even (range)", "As often printed",
    )  # fmt: skip
    rows = []
    for point in found.points:
        rival = point.rival
        even = rival.break_even
        between = f"{percent(max(0.0, even.low))} to {percent(max(0.0, even.high))}"
        did = " + ".join(
            quantities.with_prefix(count) for count in (point.load.total_synops, point.load.total_macs)
        )
        rows.append(
            (
                str(point.steps),
                quantities.with_prefix(rival.dense_macs),
                did,
                joules(rival.dense),
                joules(rival.spiking),
                f"{quantities.plain(rival.ratio.value)} ({_between(rival.ratio)})",
                percent(rival.rate),
                f"{percent(max(0.0, even.value))} ({between})",
                f"{quantities.plain(rival.printed_ratio)}",
            )
        )
    return Table(header, tuple(rows))


def part_table(found: Simulation) -> Table:
    """Energy by part, a column for each T."""
    header = ("Part", *(f"T = {point.steps}" for point in found.points))
    rows = []
    for part in PARTS:
        cells = [point.energy.parts.get(part) for point in found.points]
        if any(cell is not None for cell in cells):
            rows.append((part, *(joules(cell, ranged=True) for cell in cells)))
    return Table(header, tuple(rows))


def layer_table(found: Simulation) -> Table:
    """One row for each layer."""
    header = (
        "Layer", "Shape", "Neurons", "Fan-in", "Connections", "Cores", "Held", "Spikes a step",
        "Rounding error", "State bits seen / of one step",
    )  # fmt: skip
    placed, last = found.placed, chosen(found)
    rows = []
    for name, layer in placed.network.layers.items():
        rounding = found.rounding.layers[name]
        rate = last.load.spikes.get(name)
        told = ABSENT if rate is None else percent(rate / (layer.size * last.steps))
        rows.append(
            (
                layer.label,
                "×".join(str(n) for n in layer.shape),
                f"{layer.size:,}",
                f"{placed.fan_in[name]:,}",
                quantities.with_prefix(placed.connections[name]),
                str(len(set(placed.core_of[name].tolist()))),
                f"{placed.copies[name]}×",
                told,
                percent(rounding.error),
                f"{found.seen_bits.get(name, 0) or ABSENT} / {rounding.needs_bits}",
            )
        )
    return Table(header, tuple(rows))


def constant_table(chip: Chip) -> Table:
    """Every figure of a chip with its source."""
    header = ("Figure", "Value", "Range", "Basis", "Source", "Checked against", "Note")
    rows = []
    for name, figure in chip.figures().items():
        value, between = ABSENT, ABSENT
        if isinstance(figure, Constant):
            value = f"{figure.value:g}"
            between = f"{figure.low:g} to {figure.high:g}" if figure.low < figure.high else ABSENT
        elif isinstance(figure, Limit):
            value = f"{figure.value:,}"
        else:
            value = f"{chip.mesh.columns} by {chip.mesh.rows}, {chip.mesh.cores_per_router} cores each"
        source = f"{figure.source}, {figure.where}"
        rows.append((name, value, between, figure.basis, source, figure.checked, figure.note or ABSENT))
    return Table(header, tuple(rows))


def source_rows(chip: Chip) -> list[tuple[str, str]]:
    """The sources in full."""
    return [
        (name, f"{source.title}, {source.year}{f'. {source.link}' if source.link else ''}")
        for name, source in chip.sources.items()
    ]


def settings_rows(told: Told) -> list[tuple[str, str]]:
    """What was asked."""
    found = told.simulation
    coding = found.coding
    how = coding.name if coding.name == "constant" else f"{coding.name}, scale {coding.scale:g}"
    return [
        ("Artifact", told.artifact),
        ("Chip", f"{found.chip.title} ({found.chip.name}), {found.chip.process}"),
        ("Images", f"{found.samples:,} of {told.data}"),
        ("Steps", ", ".join(str(point.steps) for point in found.points)),
        ("Coding", how + (f", seed {coding.seed}" if coding.name == "rate" else "")),
        ("Versions", ", ".join(f"{name} {version}" for name, version in sorted(told.tools.items()))),
        ("Simulated", told.created),
    ]


def percent(share: float) -> str:
    """A share of 1 with three digits at most."""
    value = 100 * share
    if value == 0:
        return "0 %"
    return f"{quantities.fixed(value, min(2, max(0, quantities.decimals(value, 3))))} %"


def joules(found: Range | None, at_least: bool = False, ranged: bool = False) -> str:
    """An energy given in nJ."""
    if found is None:
        return NOT_MODELLED
    scale, unit = next(
        (scale, unit)
        for scale, unit in ((1e9, "J"), (1e6, "mJ"), (1e3, "µJ"), (1.0, "nJ"), (1e-3, "pJ"))
        if abs(found.value) >= scale or unit == "pJ"
    )
    told = f"{quantities.plain(found.value / scale)} {unit}"
    if ranged and found.low < found.high:
        told += f" ({quantities.plain(found.low / scale)} to {quantities.plain(found.high / scale)})"
    return f"at least {told}" if at_least else told


def seconds(found: Latency, ranged: bool = False) -> str:
    """A time given in microseconds."""
    if found.total is None:
        return NOT_MODELLED
    scale, unit = (1e3, "ms") if found.total.value >= 1e3 else (1.0, "µs")
    told = f"{quantities.plain(found.total.value / scale)} {unit}"
    if ranged and found.total.low < found.total.high:
        low, high = (quantities.plain(end / scale) for end in (found.total.low, found.total.high))
        told += f" ({low} to {high})"
    return f"at least {told}" if found.missing else told


def _between(found: Range) -> str:
    return f"{quantities.plain(found.low)} to {quantities.plain(found.high)}"
