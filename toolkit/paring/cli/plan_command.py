"""`paring plan`: how large a language model and how many visual tokens a budget buys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..api import extras
from .output import Json, console, print_json, table

if TYPE_CHECKING:
    from paring_profiles.planner import Table
    from paring_profiles.report.plan import Plan

TEXT_TOKENS = 50


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(plan)


def plan(
    budget_flops: Annotated[
        float | None, typer.Option(help="operations a prompt may cost, 2 N (Q + V): 1e12")
    ] = None,
    budget_latency: Annotated[
        float | None,
        typer.Option(help="ms to the first token, measured: give --profile, or a latency_ms column"),
    ] = None,
    text_tokens: Annotated[
        int | None,
        typer.Option(min=0, help="Q, tokens of text beside the image; default: 50, or those of the profiles"),
    ] = None,
    task: Annotated[str, typer.Option(help="reasoning, or ocr: questions about fine detail")] = "reasoning",
    scores: Annotated[
        Path | None,
        typer.Option(
            help="a CSV of parameters, tokens, score[, latency_ms]; with --profile, of artifact, score[,"
            " parameters][, tokens]; default: published scores, or the profiles' own"
        ),
    ] = None,
    profile: Annotated[
        list[Path] | None,
        typer.Option(help="a folder or profile.json of `paring profile -o`: measured models; repeatable"),
    ] = None,
    size: Annotated[list[float] | None, typer.Option(help="a model there is, parameters; repeatable")] = None,
    tokens: Annotated[list[int] | None, typer.Option(help="visual tokens there can be; repeatable")] = None,
    seed: Annotated[int, typer.Option(help="of the bootstrap")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="write HTML, Markdown and JSON into this folder")
    ] = None,
    json: Json = False,
) -> None:
    """Fit the error's scaling law; choose a model size and a count of visual tokens for a budget."""
    if (budget_flops is None) == (budget_latency is None):
        raise typer.BadParameter("give one of --budget-flops and --budget-latency")
    if profile and budget_flops is not None:
        raise typer.BadParameter("--profile holds measured times, and no operations: give --budget-latency")
    if budget_latency is not None and (size or tokens):
        raise typer.BadParameter(
            "--size and --tokens are for --budget-flops: a latency chooses what was timed"
        )
    with extras("planning"):
        from paring_profiles.report import plan as report

        _check_task(task, scores, profile)
        known, length = _scores(scores, profile, text_tokens)
        found = _plan(known, length, budget_flops, budget_latency, size, tokens, seed)
        written = None if output is None else report.write(found, output)
    if json:
        print_json(report.as_dict(found))
        return
    console.print(report.headline(found), soft_wrap=True, highlight=False)
    for line in report.sentences(found):
        console.print(line, soft_wrap=True, highlight=False)
    others, constants = report.others_table(found), report.fit_table(found.fit)
    table("what other budgets buy", others.header, others.rows)
    table(f"the law, fitted to {known.name}", constants.header, constants.rows)
    if written is not None:
        console.print(f"report    {written.html}", soft_wrap=True, highlight=False)


def _scores(scores: Path | None, profile: list[Path] | None, text_tokens: int | None) -> tuple[Table, int]:
    """What is known, and how many tokens of text are beside an image."""
    from paring_profiles.planner import published, read_profiles, read_table

    if profile:
        return read_profiles(profile, scores, text_tokens)
    length = TEXT_TOKENS if text_tokens is None else text_tokens
    return published() if scores is None else read_table(scores), length


def _plan(
    known: Table,
    text_tokens: int,
    flops: float | None,
    latency_ms: float | None,
    sizes: list[float] | None,
    tokens: list[int] | None,
    seed: int,
) -> Plan:
    """The law, the choice, and the choices at other budgets."""
    from paring_profiles.planner import (
        Budget,
        choose,
        choose_by_latency,
        fit,
        frontier,
        frontier_by_latency,
    )
    from paring_profiles.planner.choose import TOKENS
    from paring_profiles.report.plan import Plan

    law = fit(known, seed)
    if flops is None:
        answer = choose_by_latency(law, known, latency_ms or 0.0)
        return Plan(known, law, answer, text_tokens, None, frontier_by_latency(law, known))
    counts = tuple(sorted(set(tokens or TOKENS)))
    budget = Budget(flops, text_tokens, tuple(sizes) if sizes else None, counts)
    return Plan(known, law, choose(law, budget), text_tokens, budget, frontier(law, budget))


def _check_task(task: str, scores: Path | None, profile: list[Path] | None) -> None:
    """The published scores are of reasoning; of reading small text only the exponents are known."""
    from paring_profiles.planner.table import TASKS, published_exponents
    from paring_runtimes.errors import InputError

    if task not in TASKS:
        raise typer.BadParameter(f"--task {task!r}; one of {', '.join(TASKS)}")
    if task == "ocr" and scores is None and not profile:
        alpha, beta = published_exponents("ocr")
        raise InputError(
            f"no scores of tasks that need fine detail are published, only exponents (alpha {alpha}, beta"
            f" {beta}: visual tokens matter more than size, so keep them all); give your own with --scores"
        )
