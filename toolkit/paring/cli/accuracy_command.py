"""`paring accuracy`: finished artifacts of vision-language models, asked the same questions."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import paring_runtimes
from paring_runtimes.errors import InputError

from ..api import extras
from .output import Json, console, print_json, stages, table
from .quality_table import JUDGED, by_type, with_interval

if TYPE_CHECKING:
    from ..answering import Asking, Replies
    from ..data import QuestionData
    from ..recipe import Data


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(accuracy)


def accuracy(
    artifacts: Annotated[
        list[Path],
        typer.Argument(help="artifact folders of vision-language models; the first is the baseline"),
    ],
    data: Annotated[
        str, typer.Option(help="questions on images: vqa:DIR, with questions.jsonl or as easy-VQA's folders")
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="so many questions, evenly spaced")] = None,
    judge: Annotated[
        str | None, typer.Option(help="generate (what it says) or choice (the likeliest of all answers)")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="a text with {question} and the image's token; \\n is a new line")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="intra-op threads")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="write each question's answers as JSON lines")
    ] = None,
    json: Json = False,
) -> None:
    """Put questions on images to artifacts: accuracy by type of question, differences from the first."""
    with extras("answering questions"):
        wanted = _wanted(data, limit, judge, prompt)
        with stages(json) as progress:
            asking, questions, replies = _ask_all(artifacts, wanted, threads, progress)
        found = _compared(artifacts, replies, questions, data, asking)
    if output is not None:
        _write(output, artifacts, questions, replies)
    if json:
        print_json({"judge": asking.judge, "prompt": asking.prompt, "artifacts": found})
        return
    _show(found)


def _wanted(data: str, limit: int | None, judge: str | None, prompt: str | None) -> Data:
    """The options, checked as a recipe's are."""
    from ..recipe import build_recipe

    told = {"source": data, "limit": limit, "judge": judge, "prompt": prompt and prompt.replace("\\n", "\n")}
    recipe = build_recipe({"data": {k: v for k, v in told.items() if v is not None}}, "command line")
    assert recipe.data is not None
    return recipe.data


def _ask_all(
    artifacts: list[Path], wanted: Data, threads: int | None, progress: Callable[[str], None]
) -> tuple[Asking, QuestionData, list[Replies]]:
    from ..answering import Asking, ask
    from ..opening import open_questions

    asking, questions = Asking.of(wanted), open_questions(wanted, "an artifact", progress)
    total, replies = len(questions.questions), []
    for path in artifacts:

        def tell(done: int, name: Path = path) -> None:
            progress(f"asking {name}: {done} of {total} questions")

        with paring_runtimes.load(path, threads=threads) as session:
            replies.append(ask(session, questions, asking, tell))
    return asking, questions, replies


def _compared(
    artifacts: list[Path], replies: list[Replies], questions: QuestionData, data: str, asking: Asking
) -> list[dict[str, Any]]:
    """The figures of each: the first alone, the others against it."""
    from ..answering import alone, answer_quality

    first = replies[0].right
    figures = [alone(first, questions, data, asking)]
    figures += [answer_quality(first, one.right, questions, data, asking).as_dict() for one in replies[1:]]
    return [{"artifact": str(path), **one} for path, one in zip(artifacts, figures, strict=True)]


def _write(output: Path, artifacts: list[Path], questions: QuestionData, replies: list[Replies]) -> None:
    lines = []
    for index, one in enumerate(questions.questions):
        given = {str(path): told.texts[index] for path, told in zip(artifacts, replies, strict=True)}
        row = {"image": str(one.image), "question": one.question, "type": one.type, "answer": one.answer}
        lines.append(json_module.dumps({**row, "given": given}, ensure_ascii=False))
    try:
        output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror})") from error


def _show(found: list[dict[str, Any]]) -> None:
    first = found[0]
    title = (
        f"{first['metric']} ({JUDGED[first['judge']]}): {first['samples']} questions on"
        f" {first['images']} images, with 95 % intervals"
    )
    columns, rows = ["type", "questions"], []
    for one in found:
        name = Path(one["artifact"]).name
        columns += [name] if one is first else [name, f"drop from {Path(first['artifact']).name}"]
    for index, (kind, figures) in enumerate(by_type(first)):
        cells = [kind, str(figures["samples"])]
        for one in found:
            own = by_type(one)[index][1]
            cells.append(with_interval(own, "after"))
            cells += [] if one is first else [with_interval(own, "drop")]
        rows.append(cells)
    table(title, columns, rows)
    console.print(f"prompt    {first['prompt']!r}", soft_wrap=True, highlight=False)
