"""`paring recover`: train a transformed model against its original until its accuracy is back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..api import extras
from .output import Json, console, errors, print_json, stages
from .recipe_options import Allow, Model, RecipeFile, Set, Weights, read

if TYPE_CHECKING:
    from ..recover import Recovery
    from ..recover._loop import Told

LINE_SECONDS = 10  # between lines where there is no terminal


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(recover)


def recover(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="the folder to write; checkpoints go to OUTPUT.checkpoints")
    ],
    model: Model = None,
    recipe: RecipeFile = None,
    transform: Annotated[
        list[str] | None,
        typer.Option("--transform", "-t", metavar="NAME", help="a transform with its defaults; repeatable"),
    ] = None,
    set_: Set = None,
    weights: Weights = None,
    data: Annotated[
        str | None,
        typer.Option(help="labelled images to train on: folder:DIR, idx:FOLDER,train, npz:FILE, vqa:DIR"),
    ] = None,
    held_out: Annotated[
        str | None, typer.Option(help="other ones, to measure on: folder:DIR, embedded, vqa:DIR, ...")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="passes over the training images a stage")] = None,
    steps: Annotated[int | None, typer.Option(help="batches a stage, in place of epochs")] = None,
    lr: Annotated[float | None, typer.Option(help="the largest learning rate")] = None,
    batch_size: Annotated[int | None, typer.Option(help="images or questions a step, of all devices")] = None,
    seed: Annotated[int | None, typer.Option(help="of batch order, augmentation and dropout")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU where there is one")] = "auto",
    restart: Annotated[bool, typer.Option("--restart", help="throw away checkpoints")] = False,
    recovered: Annotated[
        Path | None,
        typer.Option(help="a recovery of the first transforms, a folder: its stages are not trained again"),
    ] = None,
    allow: Allow = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a recovery that is there")] = False,
    json: Json = False,
) -> None:
    """Distil the original model into its transformed self; `convert --recovered` goes on from there.

    The same command goes on from the last checkpoint. Several devices: accelerate launch -m paring recover.
    """
    flags: dict[str, Any] = {
        "model": model,
        "weights": weights,
        "transforms": transform,
        "data.source": held_out,
        "recover.data.source": data,
        "recover.epochs": epochs,
        "recover.steps": steps,
        "recover.learning_rate": lr,
        "recover.batch_size": batch_size,
        "recover.seed": seed,
    }
    with extras("recovering a model"):
        whole = read(recipe, set_, flags)
        with stages(json) as progress, watching(json) as watch:
            from ..recover import recover as run

            done = run(
                whole,
                output,
                allow=frozenset(allow or ()),
                overwrite=overwrite,
                device=device,
                restart=restart,
                recovered=recovered,
                progress=progress,
                watch=watch,
            )
    if json:
        print_json(done)
        return
    show(done)


@contextmanager
def watching(quiet: bool) -> Iterator[Callable[[Told], None]]:
    """A bar of the training steps on standard error; where that is no terminal, a line now and then."""
    if quiet or not errors.is_terminal:
        last = [-float(LINE_SECONDS)]

        def say(told: Told) -> None:
            if quiet or (time.monotonic() - last[0] < LINE_SECONDS and told.step < told.steps):
                return
            last[0] = time.monotonic()
            line = f"step {told.step}/{told.steps}  {_state(told)}  {duration(told.left_s)} left"
            errors.print(line, highlight=False, soft_wrap=True)

        yield say
        return
    columns = (
        TextColumn("step"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(), TextColumn("{task.fields[left]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("", total=None, left="", visible=False)

        def draw(told: Told) -> None:
            left = f"{duration(told.left_s)} left"
            bar.update(
                task, total=told.steps, completed=told.step, description=_state(told), left=left, visible=True
            )

        yield draw


def _state(told: Told) -> str:
    return f"loss {told.loss:.4f}  rate {told.rate:.2g}"


def duration(seconds: float) -> str:
    """Seconds as "1 h 02 min", "3 min 05 s" or "42 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def show(done: Recovery) -> None:
    """The result in a few lines."""
    record, accuracy = done.record, done.record["accuracy"]
    console.print(f"recovery  {done.folder}", soft_wrap=True, highlight=False)
    metric = accuracy.get("metric", "top1")
    what = "images" if metric == "top1" else "questions"
    title = {"top1": "top-1", "vqa_accuracy": "accuracy"}[metric]
    models = ("original", "transformed", "recovered")
    shown = (f"{name} {_share(accuracy[name], metric)}" for name in models)
    console.print(f"{title:10}{', '.join(shown)}", soft_wrap=True, highlight=False)
    console.print(
        f"          got back {_share(accuracy['gain'], metric)}, still lost"
        f" {_share(accuracy['drop'], metric)} (95 % intervals, {accuracy[what]} held-out {what})",
        soft_wrap=True,
        highlight=False,
    )
    if "loss" in accuracy["recovered"]:
        losses = ", ".join(f"{name} {accuracy[name]['loss']:.4f}" for name in models)
        console.print(f"loss      {losses} nats a token of the answers", soft_wrap=True, highlight=False)
    console.print(
        f"training  {record['steps']} steps on {record['data']['training'][what]} {what},"
        f" {duration(record['seconds'])} on {record['device']}",
        soft_wrap=True,
        highlight=False,
    )
    for note in record["notes"]:
        console.print(f"note      {note}", soft_wrap=True)
    console.print(
        f"next      paring convert --recovered {done.folder} -o OUT", soft_wrap=True, highlight=False
    )


def _share(found: dict[str, Any], metric: str) -> str:
    low, high = found["ci95"]
    return f"{found[metric]:.4f} ({low:.4f} to {high:.4f})"
