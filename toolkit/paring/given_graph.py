"""`paring convert -m onnx:FILE`: a graph from elsewhere becomes an artifact, compared with the given file."""

from __future__ import annotations

import datetime
from pathlib import Path
from types import ModuleType

import paring_runtimes
from paring_exporters import exporters
from paring_exporters.given import parity
from paring_exporters.given.feeds import random_feeds, read_feeds
from paring_exporters.given.graph import Feeds, GivenGraph, GraphRequest
from paring_exporters.given.weighing import count_parameters
from paring_exporters.tensorrt.options import BuildOptions
from paring_runtimes import Manifest
from paring_runtimes.artifact import new_artifact, sha256_of
from paring_runtimes.errors import ExportError, ParityError, RecipeError

from .converted import Converted, finish
from .opening import Progress
from .recipe import Recipe, dump_recipe
from .sources import LoadedGraph
from .versions import tool_versions


def convert_graph(
    recipe: Recipe, source: LoadedGraph, output: Path, *, overwrite: bool, progress: Progress
) -> Converted:
    """Export the graph, compare the artifact with the file on several inputs, write it.

    Raises:
        RecipeError: the recipe asks for what needs a PyTorch model or labelled images.
        ExportError: the format does not take the graph, or the file does not run.
        ParityError: the artifact differs from the file.
    """
    _check(recipe)
    exporter = _exporter(recipe)
    feeds = _feeds(recipe, source.graph)
    progress(f"running {source.spec}")
    expected = parity.references(source.graph, feeds)
    with new_artifact(output, overwrite) as folder:
        progress("exporting the graph")
        request = GraphRequest(
            source.graph,
            feeds,
            recipe.export.optimizer,
            recipe.export.target,
            recipe.export.threads,
            BuildOptions(**recipe.export.tensorrt.model_dump()),
        )
        exported = exporter.export_graph(request, folder)
        with paring_runtimes.load(exported.runnable) as session:
            found = parity.compare(
                expected,
                session,
                feeds,
                recipe.verify.atol,
                recipe.verify.rtol,
                lambda name: progress(f"verifying: {name}"),
            )
        if exported.twin is not None:
            exported.twin.unlink()
        failure = found.failure()
        if failure is not None:
            raise ParityError(f"the artifact differs from {source.graph.file}: {failure}")
        manifest = Manifest(
            format=exported.format or exporter.NAME,
            entry=exported.entry.name,
            inputs=exported.inputs,
            outputs=exported.outputs,
            files={},
            source={"spec": source.spec, "digest": sha256_of(source.graph.file), "weights": None},
            recipe=dump_recipe(recipe),
            transforms=[],
            graph={"parameters": count_parameters(source.graph.model.graph), "random_weights": False},
            export=exported.facts,
            parity=found.as_dict(),
            tools=tool_versions(),
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        )
        manifest = finish(folder, manifest, None)
    return Converted(
        output, None, manifest, (*exported.facts.get("notes", ()), *_guessed(recipe, source.graph))
    )


def _guessed(recipe: Recipe, graph: GivenGraph) -> tuple[str, ...]:
    """A note on what random inputs do not reach."""
    whole = [spec.name for spec in graph.inputs if not spec.dtype.startswith("float")]
    if not whole or recipe.verify.inputs:
        return ()
    return (
        f"{', '.join(whole)}: compared at zeros and ones alone; a branch that other numbers decide is not"
        " compared: give real inputs, verify.inputs=[FILE.npz]",
    )


def _check(recipe: Recipe) -> None:
    """Refuse what a finished graph cannot have."""
    if recipe.transforms:
        names = ", ".join(step.name for step in recipe.transforms)
        raise RecipeError(
            f"transforms: {names}: no transform reaches into {recipe.model}, a finished graph; give the"
            " PyTorch model (timm:, hf: or py:)"
        )
    wanted = {key: getattr(recipe, key) for key in ("data", "calibration", "robustness", "recover", "gates")}
    for key, value in wanted.items():
        if value:
            raise RecipeError(
                f"{key}: {recipe.model} is a finished graph, and not measured on data; leave it out"
            )
    if recipe.export.precision != "fp32":
        raise RecipeError(
            f"export.precision {recipe.export.precision}: {recipe.model} stays in its own; leave it out"
        )
    if recipe.export.opset is not None:
        raise RecipeError(f"export.opset: {recipe.model} keeps its own; leave it out")
    if recipe.verify.inputs and recipe.verify.sizes:
        raise RecipeError("verify: inputs have sizes of their own; leave sizes out")


def _exporter(recipe: Recipe) -> ModuleType:
    known = exporters()
    found = known[recipe.export.format]
    if not hasattr(found, "export_graph"):
        able = ", ".join(name for name, module in known.items() if hasattr(module, "export_graph"))
        raise ExportError(
            f"export.format {recipe.export.format}: it is made of a PyTorch model, and {recipe.model} is a"
            f" graph; of graphs: {able}"
        )
    return found


def _feeds(recipe: Recipe, graph: GivenGraph) -> tuple[Feeds, ...]:
    wanted = recipe.verify
    if wanted.inputs:
        return tuple(read_feeds(Path(file), graph) for file in wanted.inputs)
    return tuple(random_feeds(graph, wanted.batch_sizes, wanted.sizes, wanted.seeds))
