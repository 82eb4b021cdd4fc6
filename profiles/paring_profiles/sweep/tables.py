"""A sweep as Markdown and CSV, and the rows that the terminal shows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

from paring_profiles.records import write_whole
from paring_profiles.sweep.choose import interval
from paring_profiles.sweep.names import MEASURES, Named
from paring_profiles.sweep.result import IMPOSSIBLE, STATES, Sweep, Trial

MARKDOWN, CSV = "sweep.md", "sweep.csv"


def shown_measures(sweep: Sweep) -> list[Named]:
    """The objectives' measures, and beside them those that a reader looks for."""
    names = [one.measure for one in sweep.objectives]
    for name in ("latency_relative", "latency_p50_ms", "drop", "size_bytes"):
        if name not in names and any(name in trial.measures for trial in sweep.trials):
            names.append(name)
    return [MEASURES[name] for name in names]


def columns(sweep: Sweep) -> list[str]:
    """Heads of a table of trials. What is modelled says so."""
    heads = [
        f"{one.title}, {one.shown_as}"
        if one.provenance in one.title
        else f"{one.title}, {one.shown_as}, {one.provenance}"
        for one in shown_measures(sweep)
    ]
    return ["trial", "variant", "on front", *heads, "round"]


def row(sweep: Sweep, trial: Trial) -> list[str]:
    """One trial."""
    standing = next((one for one in sweep.front if one.trial == trial.number), None)
    place = "-" if standing is None else f"{standing.place} ({standing.probability:.0%})"
    cells = []
    for named in shown_measures(sweep):
        found = trial.measure(named.measure)
        text = "-" if found is None else interval(found, named)
        cells.append(text.removesuffix(" modelled").removesuffix(f" {named.shown_as}"))
    return [str(trial.number), variant(trial), place, *cells, "final" if trial.final else "own"]


def variant(trial: Trial) -> str:
    """A trial's point in a few words."""
    words = [f"{name}={value}" for name, value in trial.params.items()]
    if "engine" not in trial.params:
        words.append(f"on {trial.engine}")
    return " ".join(words)


def counts(sweep: Sweep) -> str:
    """How many trials ended how, in a sentence."""
    found = Counter(trial.state for trial in sweep.trials)
    never = found.pop(IMPOSSIBLE, 0)
    listed = ", ".join(f"{found[state]} {state}" for state in STATES if found[state])
    beside = f", and {never} point{'s' * (never > 1)} that cannot be" if never else ""
    places = Counter(one.place for one in sweep.front)
    ahead = ", ".join(f"{places[place]} {place}" for place in ("on", "maybe", "dominated") if places[place])
    again = f", taken up again ({sweep.resumed} x)" if sweep.resumed else ""
    return (
        f"{found.total()} trials: {listed or 'none'}{beside}; on the front: {ahead or 'none'};"
        f" {sweep.seconds:.0f} s{again}"
    )


def markdown(sweep: Sweep) -> str:
    """The front, all trials, and what the words mean."""
    objectives = ", ".join(f"{one.title} ({one.provenance})" for one in sweep.objectives)
    lines = [
        f"# Sweep of {sweep.recipe.get('model')}",
        "",
        f"Objectives: {objectives}.",
        "",
        counts(sweep) + ".",
    ]
    lines += ["", "## The front", ""]
    ahead = [sweep.trial(one.trial) for one in sweep.front if one.place != "dominated"]
    lines += _table(columns(sweep), [row(sweep, trial) for trial in ahead])
    lines += [
        "",
        "on: on the front in at least 97.5 % of resamples; maybe: the 95 % intervals do not decide.",
    ]
    lines += ["", "## All trials", ""]
    rows = [[*row(sweep, trial), trial.state, trial.reason or "-"] for trial in sweep.trials]
    lines += _table([*columns(sweep), "state", "reason"], rows)
    notes = [*sweep.left_out, *sweep.notes]
    lines += ["", *(f"- {sentence}" for sentence in notes)] if notes else []
    return "\n".join(lines) + "\n"


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(heads), line(["---"] * len(heads)), *map(line, rows)]


def to_csv(sweep: Sweep) -> str:
    """A row a trial; of every measure value, low and high in its own unit, which its name holds."""
    names = [name for name in MEASURES if any(name in trial.measures for trial in sweep.trials)]
    params = list(dict.fromkeys(name for trial in sweep.trials for name in trial.params))
    ends = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    heads = ["trial", "state", "place", "probability", "engine", "device", "round", "artifact", "reason"]
    writer.writerow([*heads, *params, *ends])
    standings = {one.trial: one for one in sweep.front}
    for trial in sweep.trials:
        standing = standings.get(trial.number)
        place = ("", "") if standing is None else (standing.place, standing.probability)
        figures = [trial.measure(name) for name in names]
        writer.writerow(
            [
                *(trial.number, trial.state, *place, trial.engine, trial.device),
                *("final" if trial.final else "trial", trial.artifact or "", trial.reason),
                *(trial.params.get(name, "") for name in params),
                *(v for one in figures for v in ((one.value, one.low, one.high) if one else ("", "", ""))),
            ]
        )
    return file.getvalue()


def write_tables(sweep: Sweep, folder: Path) -> tuple[Path, Path]:
    """Write `sweep.md` and `sweep.csv`; return their paths."""
    return write_whole(folder / MARKDOWN, markdown(sweep)), write_whole(folder / CSV, to_csv(sweep))
