"""`paring run`: run an artifact once, without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from zipfile import BadZipFile

import numpy as np
import typer

import paring_runtimes
from paring_runtimes import Session, read_manifest
from paring_runtimes.errors import InputError
from paring_runtimes.generation.language_model import TASKS

from ..api import extras
from .output import Json, console, print_json, table

TOP = 5


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(run)


def run(
    artifact: Annotated[Path, typer.Argument(help="artifact folder or ONNX file")],
    image: Annotated[
        list[Path] | None, typer.Option(help="image files; prepared as the artifact's recipe says")
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", help="an .npz of named inputs, or an .npy for a single input"),
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="random inputs")] = False,
    batch: Annotated[int, typer.Option(min=1, help="batch size of random inputs")] = 1,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="write outputs as .npz")] = None,
    threads: Annotated[int | None, typer.Option(help="intra-op threads")] = None,
    json: Json = False,
) -> None:
    """Run an artifact on images, arrays or random inputs and print what comes out."""
    _refuse_language(artifact)
    if sum((image is not None, inputs is not None, random)) != 1:
        raise InputError("run: exactly one of --image, --inputs and --random is needed")
    with paring_runtimes.load(artifact, threads=threads) as session:
        if image is not None:
            with extras("reading images"):
                feeds = _images(session, image)
        elif inputs is not None:
            feeds = _arrays(session, inputs)
        else:
            feeds = _random(session, batch)
        found = session.run(feeds)
    if output is not None:
        _save(output, found)
    summary = [_summary(name, value) for name, value in found.items()]
    if json:
        print_json({"artifact": str(artifact), "outputs": summary})
        return
    rows = [[s["name"], s["dtype"], str(s["shape"]), s["first"]] for s in summary]
    table("outputs", ("name", "dtype", "shape", "of the first item"), rows)
    if output is not None:
        console.print(f"written   {output}", soft_wrap=True)


def _refuse_language(artifact: Path) -> None:
    task = read_manifest(artifact).graph.get("task") if artifact.is_dir() else None
    if task in TASKS:
        raise InputError(f"{artifact}: the artifact of a language model; `paring generate` runs it")


def _images(session: Session, paths: list[Path]) -> dict[str, np.ndarray]:
    from PIL import Image

    from ..data import Preprocess

    known = session.manifest.source.get("preprocess") if session.manifest else None
    if not known:
        raise InputError(f"run --image: how to prepare images for {session.inputs[0].name} is not recorded")
    preprocess = Preprocess.recorded(known)
    spec = session.inputs[0]
    mode = "L" if preprocess.channels == 1 else "RGB"
    arrays = []
    for path in paths:
        try:
            picture = np.asarray(Image.open(path).convert(mode))
        except OSError as error:
            raise InputError(f"{path}: not an image that can be read ({error})") from None
        arrays.append(preprocess.apply(picture[None] if mode == "RGB" else picture[None, ..., None]))
    return {spec.name: np.concatenate(arrays)}


def _arrays(session: Session, path: Path) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {session.inputs[0].name: loaded}
        return {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError, BadZipFile):  # NumPy takes whatever it does not know for a pickle
        raise InputError(
            f"{path}: no whole .npy or .npz file of numbers (pickled objects are refused); write it by"
            " numpy.save or numpy.savez"
        ) from None


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    try:
        with path.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def _random(session: Session, batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    feeds = {}
    for spec in session.inputs:
        open_dims = [size for size in spec.shape[1:] if not isinstance(size, int)]
        if open_dims:
            raise InputError(f"run --random: {spec.name} has open sizes {open_dims}; use --inputs")
        first = spec.shape[0] if isinstance(spec.shape[0], int) else batch
        shape = (first, *spec.shape[1:])
        feeds[spec.name] = rng.standard_normal(shape).astype(spec.dtype)  # type: ignore[arg-type]
    return feeds


def _summary(name: str, value: np.ndarray) -> dict[str, Any]:
    if not value.size:
        empty = {"name": name, "dtype": str(value.dtype), "shape": list(value.shape)}
        return {**empty, "first": "no values", "top": []}
    flat = value.reshape(len(value), -1)[0] if value.ndim else value.reshape(1)
    best = np.argsort(-flat, kind="stable")[: TOP if value.ndim == 2 else 0]
    first = ", ".join(f"{index}: {flat[index]:.4f}" for index in best)
    return {
        "name": name,
        "dtype": str(value.dtype),
        "shape": list(value.shape),
        "first": first or f"mean {flat.mean():.4g}, range {flat.min():.4g} to {flat.max():.4g}",
        "top": [{"index": int(index), "value": float(flat[index])} for index in best],
    }
