"""`paring plan`: how large a language model and how many visual tokens a budget buys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..api import extras
from .output import Json, console, print_json, table


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(plan)


def plan(
    budget_flops: Annotated[
        float | None, typer.Option(help="operations a prompt may cost, 2 N (Q + V): 1e12")
    ] = None,
    budget_latency: Annotated[
        float | None, typer.Option(help="ms to the first token; the scores need a latency_ms column")
    ] = None,
    text_tokens: Annotated[int, typer.Option(min=0, help="Q, tokens of text beside the image")] = 50,
    task: Annotated[str, typer.Option(help="reasoning, or ocr: questions about fine detail")] = "reasoning",
    scores: Annotated[
        Path | None,
        typer.Option(help="a CSV of parameters, tokens, score[, latency_ms]; default: published scores"),
    ] = None,
    size: Annotated[list[float] | None, typer.Option(help="a model there is, parameters; repeatable")] = None,
    tokens: Annotated[list[int] | None, typer.Option(help="visual tokens there can be; repeatable")] = None,
    seed: Annotated[int, typer.Option(help="of the bootstrap")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="write HTML, Markdown and JSON into this folder")
    ] = None,
    json: Json = False,
) -> None:
    """Fit the error's scaling law and choose a model size and a count of visual tokens. Modelled."""
    if (budget_flops is None) == (budget_latency is None):
        raise typer.BadParameter("give one of --budget-flops and --budget-latency")
    with extras("planning"):
        from paring_profiles.planner import Budget, choose, fit, published, read_table
        from paring_profiles.planner.choose import TOKENS, choose_by_latency
        from paring_profiles.report import plan as report

        known = published() if scores is None else read_table(scores)
        _check_task(task, scores)
        law, budget = fit(known, seed), None
        if budget_flops is not None:
            sizes = tuple(size) if size else None
            budget = Budget(budget_flops, text_tokens, sizes, tuple(sorted(set(tokens or TOKENS))))
            answer = choose(law, budget)
        else:
            answer = choose_by_latency(law, known, budget_latency or 0.0, text_tokens)
        found = report.Plan(known, law, answer, text_tokens, budget)
        written = None if output is None else report.write(found, output)
    if json:
        print_json(report.as_dict(found))
        return
    console.print(report.headline(found), soft_wrap=True, highlight=False)
    for line in report.sentences(found):
        console.print(line, soft_wrap=True, highlight=False)
    constants = report.fit_table(law)
    table(f"the law, fitted to {known.name}", constants.header, constants.rows)
    if written is not None:
        console.print(f"report    {written.html}", soft_wrap=True, highlight=False)


def _check_task(task: str, scores: Path | None) -> None:
    """The published scores are of reasoning; of reading small text only the exponents are known."""
    from paring_profiles.planner.table import TASKS, published_exponents
    from paring_runtimes.errors import InputError

    if task not in TASKS:
        raise typer.BadParameter(f"--task {task!r}; one of {', '.join(TASKS)}")
    if task == "ocr" and scores is None:
        alpha, beta = published_exponents("ocr")
        raise InputError(
            f"no scores of tasks that need fine detail are published, only exponents (alpha {alpha}, beta"
            f" {beta}: visual tokens matter more than size, so keep them all); give your own with --scores"
        )
