"""`paring convert`: a model becomes an artifact that provably computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..api import extras
from .output import Json, console, print_json, stages
from .quality_table import show_answers, show_robustness
from .recipe_options import Allow, Model, RecipeFile, Set, Weights, read

MOST_KEPT = 6  # nodes named on the screen


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(convert)


def convert(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="the artifact's folder; needed but for --dry-run")
    ] = None,
    model: Model = None,
    recipe: RecipeFile = None,
    transform: Annotated[
        list[str] | None,
        typer.Option(
            "--transform",
            "-t",
            metavar="NAME",
            help="a transform with its defaults; `paring list transforms` tells them; repeatable",
        ),
    ] = None,
    set_: Set = None,
    weights: Weights = None,
    recovered: Annotated[
        Path | None, typer.Option(help="a folder of `paring recover`: its recipe and its weights")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="measure quality on labelled images (folder:DIR, embedded, ...), text:FILE or vqa:DIR"
        ),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="gate: the accuracy that may be lost, 0 to 1")
    ] = None,
    max_increase: Annotated[
        float | None, typer.Option(help="gate: the relative increase of perplexity that is allowed")
    ] = None,
    corruption: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="measure accuracy under this corruption too (gaussian_noise, gaussian_blur, defocus_blur,"
            " contrast, jpeg_compression, or all); repeatable",
        ),
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="pixels a side")] = None,
    opset: Annotated[int | None, typer.Option(help="ONNX opset")] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, bf16, int8, int8_static, fp8 or int4")
    ] = None,
    atol: Annotated[float | None, typer.Option(help="in place of the precision's own")] = None,
    rtol: Annotated[float | None, typer.Option(help="in place of the precision's own")] = None,
    allow: Allow = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an artifact that is there")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the whole recipe and stop")] = False,
    json: Json = False,
) -> None:
    """Transform a model, export it, prove that the export computes the same, and gate its quality."""
    if output is None and not dry_run:
        raise typer.BadParameter("the artifact's folder is missing", param_hint="'--output' / '-o'")
    flags: dict[str, Any] = {
        "model": model,
        "weights": weights,
        "transforms": transform,
        "export.image_size": image_size,
        "export.opset": opset,
        "export.precision": precision,
        "verify.atol": atol,
        "verify.rtol": rtol,
        "data.source": data,
        "robustness.corruptions": _corruptions(corruption),
    }
    with extras("converting a model"):
        file = recipe if recovered is None or recipe else recovered / "recipe.yaml"
        told = None if max_drop is None else read(file, set_, flags).data
        flags["gates"] = _gates(max_drop, max_increase, "" if told is None else told.source)
        whole = read(file, set_, flags)
        if dry_run or output is None:
            from ..recipe import dump_recipe

            print_json(dump_recipe(whole))
            return
        with stages(json) as progress:
            from ..pipeline import convert as run

            done = run(
                whole,
                output,
                recovered=recovered,
                allow=frozenset(allow or ()),
                overwrite=overwrite,
                progress=progress,
            )
    if json:
        print_json(done)
        return
    show(done)


def _corruptions(names: list[str] | None) -> list[str] | None:
    from ..corruptions import CORRUPTIONS

    return list(CORRUPTIONS) if names == ["all"] else names or None


def _gates(max_drop: float | None, max_increase: float | None, data: str) -> list[dict[str, Any]] | None:
    gates: list[dict[str, Any]] = []
    if max_drop is not None:
        metric = "vqa_accuracy" if data.startswith("vqa:") else "top1"
        gates.append({"metric": metric, "max_drop": max_drop})
    if max_increase is not None:
        gates.append({"metric": "perplexity", "max_increase": max_increase})
    return gates or None


def show(done: Any) -> None:
    """The result in a few lines."""
    manifest = done.manifest
    parity, quality = manifest.parity, manifest.quality
    console.print(f"artifact  {done.artifact}", soft_wrap=True, highlight=False)
    if done.baseline is not None:
        console.print(f"baseline  {done.baseline}", soft_wrap=True, highlight=False)
    tokens = manifest.graph.get("tokens_per_layer")
    if tokens:
        console.print(f"tokens    {' '.join(str(count) for count in tokens)} (after each block)")
    console.print(
        f"parity    max abs {parity['max_abs']:.2g}, cosine {parity['min_cosine']:.8f}, top-1"
        f" agreement {parity['top1_agreement']:.1%}, {parity['ties']} ties in {parity['samples']} samples"
        f" ({_limits(parity)})"
    )
    _show_precision(manifest.export.get("quantization"))
    chosen = parity.get("filter")
    if chosen is not None:
        console.print(
            f"filter    {chosen['k']} tokens stay; other tokens than PyTorch's in {chosen['ties']} of"
            f" {chosen['samples']} prompts (widest gap {chosen['margin']:.2g} of the largest score)"
        )
    if quality is None:
        console.print("quality   not measured: no data was given")
    elif quality["metric"] == "perplexity":
        low, high = quality["increase_ci95"]
        console.print(
            f"quality   perplexity {quality['before']:.3f} -> {quality['after']:.3f}, increase"
            f" {quality['increase']:.2%} (95 % interval {low:.2%} to {high:.2%}) on {quality['samples']}"
            f" chunks of {quality['chunk_tokens']} tokens"
        )
    elif "types" in quality:
        show_answers(quality)
    else:
        low, high = quality["drop_ci95"]
        console.print(
            f"quality   top-1 {quality['before']:.4f} -> {quality['after']:.4f}, drop {quality['drop']:.4f}"
            f" (95 % interval {low:.4f} to {high:.4f}) on {quality['samples']} images"
        )
        show_robustness(quality.get("robustness"))
    for note in done.notes:
        console.print(f"note      {note}", soft_wrap=True)


def _show_precision(told: Mapping[str, Any] | None) -> None:
    """What quantising cost, against the same graph in fp32."""
    if told is None:
        return
    before, after = (size / 1e6 for size in told["weights_bytes"])
    ratio, nodes = told["snr_db"], ", ".join(f"{count} {kind}" for kind, count in told["nodes"].items())
    console.print(
        f"precision {told['precision']}: {nodes}; weights {before:,.2f} -> {after:,.2f} MB; on"
        f" {told['samples']} {told['compared_on']} against its own fp32 graph: signal-to-noise ratio"
        f" {ratio['median']:.1f} dB in the middle, {ratio['least']:.1f} at least, top-1 agreement"
        f" {told['top1_agreement']:.1%}",
        soft_wrap=True,
    )
    for one in told.get("kept", ())[:MOST_KEPT]:
        console.print(f"in fp32   {one['node']} ({one['operator']}): {one['why']}", soft_wrap=True)
    more = len(told.get("kept", ())) - MOST_KEPT
    if more > 0:
        console.print(f"in fp32   and {more} more, in the manifest")


def _limits(parity: Mapping[str, Any]) -> str:
    """What the comparison was held to."""
    least = parity.get("min_snr_db")
    if least is not None:
        return f"each sample's signal-to-noise ratio at least {least:g} dB"
    return f"atol {parity['atol']:g} + rtol {parity['rtol']:g}"
