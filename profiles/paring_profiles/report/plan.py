"""The plan as one HTML file that loads nothing, the same in Markdown, and everything as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paring_profiles.planner import Answer, Budget, Fit
from paring_profiles.planner import Table as Scores
from paring_profiles.planner.table import published_exponents
from paring_profiles.report import ReportPaths, html, plan_plots, write_whole
from paring_profiles.report.marks import table_lines, text
from paring_profiles.report.plan_plots import sizes
from paring_profiles.report.tables import ABSENT, Table
from paring_runtimes.errors import MissingExtraError

METHOD = (
    "Error = A / (N^alpha V^beta) + D, with N the language model's parameters in billions and V its visual"
    " tokens, by least squares with D of at least 0: a free D runs far below, since the points barely tell A"
    " and D apart. Intervals are a bootstrap's over the residuals."
)
MODELLED_COST = (
    "A prompt costs 2 N (Q + V) operations, modelled; the vision encoder and a compressor's own pass over the"
    " question are not in it."
)
MEASURED_COST = "What a prompt costs is its time to the first token, measured; operations are not counted."


@dataclass(frozen=True)
class Plan:
    """A question and its answer."""

    scores: Scores
    fit: Fit
    answer: Answer
    text_tokens: int
    budget: Budget | None  # of operations; None when the budget was a latency
    others: Sequence[Answer] = ()  # at other budgets


def headline(plan: Plan) -> str:
    """The answer in a sentence."""
    answer = plan.answer
    low, high = answer.error_ci95
    name = f"{answer.name}, " if answer.name else ""
    on = f" on {plan.scores.device}" if plan.scores.device and answer.flops is None else ""
    return (
        f"{name}{sizes(answer.parameters)} parameters with {answer.tokens} visual tokens: predicted error"
        f" {answer.error:.3f} ({low:.3f} to {high:.3f}), {cost(answer)}{on}"
    )


def cost(answer: Answer) -> str:
    """What a prompt takes, and how that is known."""
    if answer.flops is not None:
        return f"{answer.flops:.3g} FLOPs a prompt (modelled)"
    return f"{answer.latency_ms:.4g} ms to the first token (measured)"


def sentences(plan: Plan) -> list[str]:
    """How sure it is, and how far from what was measured."""
    answer = plan.answer
    low, high = answer.tokens_ci95
    told = [
        f"{answer.support:.0%} of the laws that fit choose {answer.tokens} visual tokens; 95 % choose"
        f" {low} to {high}. Against each law's own best it loses at most {answer.loss_ci95:.1g} of error"
        " (97.5 %)."
    ]
    for name, factor in answer.outside.items():
        first, last = plan.fit.parameters if name == "parameters" else plan.fit.tokens
        told.append(
            f"Extrapolated: its {name} lie {factor:.2g} times outside of the fitted range ({first:.3g} to"
            f" {last:.3g})."
        )
    if not answer.sure:
        told.append("Neighbouring counts of tokens are as good, as far as these scores can tell.")
    return told


def fit_table(fit: Fit) -> Table:
    """Each constant with its interval, beside the published ones."""
    alpha, beta = published_exponents("reasoning")
    known = {"alpha": alpha, "beta": beta}
    rows = []
    for name in ("a", "alpha", "beta", "d"):
        low, high = fit.interval(name)
        given = known.get(name)
        inside = ABSENT if given is None else "inside" if low <= given <= high else "outside"
        shown = ABSENT if given is None else f"{given:g}"
        rows.append((name, f"{getattr(fit.law, name):.4f}", f"{low:.4f} to {high:.4f}", shown, inside))
    return Table(("Constant", "Fitted", "95 % interval", "Published", "Published value"), tuple(rows))


def others_table(plan: Plan) -> Table:
    """What other budgets buy."""
    rows = [
        (
            cost(one),
            f"{one.name}, {sizes(one.parameters)}" if one.name else sizes(one.parameters),
            str(one.tokens),
            f"{one.error:.3f} ({one.error_ci95[0]:.3f} to {one.error_ci95[1]:.3f})",
            "extrapolated" if one.outside else "inside",
        )
        for one in plan.others
    ]
    header = ("Cost", "Parameters", "Visual tokens", "Predicted error (95 %)", "Range of the scores")
    return Table(header, tuple(rows))


def method(plan: Plan) -> str:
    """How error and cost are known."""
    return f"{METHOD} {MEASURED_COST if plan.budget is None else MODELLED_COST}"


def write(plan: Plan, folder: Path) -> ReportPaths:
    """Writes `plan.html`, `plan.md` and `plan.json` into `folder`, made when missing.

    Raises:
        MissingExtraError: the `report` extra is not installed.
    """
    page, words = _page(plan), _markdown(plan)
    folder.mkdir(parents=True, exist_ok=True)
    paths = ReportPaths(folder / "plan.html", folder / "plan.json", folder / "plan.md")
    write_whole(paths.json, json.dumps(as_dict(plan), indent=1) + "\n")
    write_whole(paths.markdown, words)
    write_whole(paths.html, page)
    return paths


def as_dict(plan: Plan) -> dict[str, Any]:
    """The answer and the fit as plain data."""
    fit = plan.fit
    return {
        "provenance": "modelled",
        "answer": dataclasses.asdict(plan.answer),
        "others": [dataclasses.asdict(one) for one in plan.others],
        "cost": {
            "provenance": "measured" if plan.budget is None else "modelled",
            "device": plan.scores.device if plan.budget is None else "",
        },
        "text_tokens": plan.text_tokens,
        "budget": None if plan.budget is None else dataclasses.asdict(plan.budget),
        "law": dataclasses.asdict(fit.law),
        "ci95": {name: fit.interval(name) for name in ("a", "alpha", "beta", "d")},
        "sum_of_squares": fit.sum_of_squares,
        "scores": dataclasses.asdict(plan.scores),
    }


def _page(plan: Plan) -> str:
    try:
        plots = [plan_plots.law(plan.fit, plan.scores)]
        if plan.budget is not None:
            plots.append(plan_plots.budgets(plan.fit, plan.budget, plan.answer))
        return html.page(
            "plan.html.j2",
            {
                "headline": html.unbroken(headline(plan)),
                "lines": [html.unbroken(line) for line in (*sentences(plan), f"Scores: {plan.scores.name}.")],
                "plots": plots,
                "method": method(plan),
                "others": others_table(plan),
                "fit": fit_table(plan.fit),
            },
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError("writing a report", "report") from error


def _markdown(plan: Plan) -> str:
    parts = [f"# {text(headline(plan))}", "", *(f"- {text(line)}" for line in sentences(plan))]
    parts += [f"- Scores: {text(plan.scores.name)}.", "", method(plan), "", *table_lines(fit_table(plan.fit))]
    if plan.others:
        parts += ["", "## Other budgets", "", *table_lines(others_table(plan))]
    return "\n".join(parts) + "\n"
