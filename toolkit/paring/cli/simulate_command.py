"""`paring simulate`: a spiking network on a neuromorphic chip, modelled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paring_runtimes.errors import InputError

from ..api import extras
from ..versions import versions_of
from .output import Json, console, print_json, stages, table

if TYPE_CHECKING:
    import numpy as np

    from paring_profiles.neuromorphic.chip import Chip
    from paring_profiles.neuromorphic.simulate import Coding
    from paring_profiles.report.simulation_tables import Told
    from paring_runtimes.manifest import Manifest
    from paring_runtimes.nir import Graph

TOOLS = ("paring", "numpy", "numba", "h5py")


@dataclass(frozen=True)
class _Asked:
    """Which images; `mean` and `std` as the artifact says where they are None."""

    data: str
    limit: int | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(simulate)


def simulate(
    artifact: Annotated[Path, typer.Argument(help="artifact folder of the format nir, or a NIR file")],
    chip: Annotated[str, typer.Option(help="a chip of `paring list chips`, or a .yaml file of one's own")],
    data: Annotated[str, typer.Option(help="labelled images: embedded, npz:FILE, idx:FOLDER, folder:DIR")],
    steps: Annotated[str, typer.Option(help="time steps, each simulated: 4,8,16,32")] = "4,8,16,32",
    limit: Annotated[int | None, typer.Option(min=1, help="so many images, evenly spaced")] = None,
    coding: Annotated[
        str | None, typer.Option(help="constant, rate or latency; what the graph says when left out")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="of pixels from 0 to 1, subtracted: 0.5 or one a channel, 0.5,0.5,0.5")
    ] = None,
    std: Annotated[str | None, typer.Option(help="that pixels are then divided by")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="threads of the simulation")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="folder for the report: HTML, Markdown, JSON")
    ] = None,
    json: Json = False,
) -> None:
    """Place a spiking network on a chip, round it to its bits, count what it does, price it. Modelled."""
    from paring_profiles.report import simulation as report
    from paring_profiles.report import simulation_tables as tables

    with extras("simulating a spiking network"), stages(json) as progress:
        asked = _Asked(data, limit, _decimals("mean", mean), _decimals("std", std))
        told = _simulated(artifact, _chip(chip), asked, _numbers(steps), coding, threads, progress)
        paths = None if output is None else report.write(told, output)
    if json:
        print_json(report.as_dict(told))
        return
    console.print(tables.headline(told), soft_wrap=True, highlight=False)
    for line in tables.sentences(told):
        console.print(f"- {line}", soft_wrap=True, highlight=False)
    for title, found in (
        ("by number of steps, modelled", tables.point_table(told.simulation)),
        ("against the dense network at int8, 45 nm, modelled", tables.rival_table(told.simulation)),
        ("layers", tables.layer_table(told.simulation)),
    ):
        table(title, found.header, found.rows)
    if paths is not None:
        console.print(f"written   {paths.html}", soft_wrap=True)


def _simulated(
    artifact: Path,
    chip: Chip,
    asked: _Asked,
    steps: list[int],
    coding: str | None,
    threads: int | None,
    progress: Any,
) -> Told:
    from paring_profiles.neuromorphic.simulate import simulate as run
    from paring_profiles.report.simulation_tables import Told

    file, manifest = _graph_file(artifact)
    images, labels = _images(asked, file, manifest)
    found = run(file, chip, images, labels, steps, _coding(file, coding), threads, progress)
    quality = (manifest.quality or {}) if manifest is not None else {}
    return Told(
        simulation=found,
        artifact=str(artifact),
        data=asked.data,
        source_accuracy=quality.get("before") if quality.get("metric") == "top-1 accuracy" else None,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        tools=versions_of(TOOLS),
    )


def _decimals(name: str, told: str | None) -> tuple[float, ...] | None:
    if told is None:
        return None
    try:
        return tuple(float(part) for part in told.split(","))
    except ValueError:
        raise InputError(f"--{name} {told}: expected numbers with commas, such as 0.286") from None


def _numbers(steps: str) -> list[int]:
    try:
        return [int(part) for part in steps.split(",")]
    except ValueError:
        raise InputError(f"--steps {steps}: expected whole numbers with commas, such as 4,8,16,32") from None


def _chip(name: str) -> Chip:
    from paring_profiles.neuromorphic.chip import chip, read_chip

    return read_chip(Path(name)) if name.endswith((".yaml", ".yml")) else chip(name)


def _graph_file(artifact: Path) -> tuple[Path, Manifest | None]:
    """The graph of an artifact, or the file itself.

    Raises:
        InputError: an artifact of another format.
    """
    from paring_runtimes import read_manifest

    if artifact.is_file():
        return artifact, None
    manifest = read_manifest(artifact)
    if manifest.format != "nir":
        raise InputError(
            f"{artifact}: its format is {manifest.format}; a chip runs spiking networks, which"
            " `paring convert -t spike_convert -s export.format=nir` makes"
        )
    return artifact / manifest.entry, manifest


def _images(asked: _Asked, file: Path, manifest: Manifest | None) -> tuple[np.ndarray, np.ndarray]:
    """Images as the graph takes them, and labels."""
    import numpy as np

    from paring_runtimes.nir.nodes import Input

    from ..data import ImageData, Preprocess, load_data

    graph = _read(file)
    inputs = [node for node in graph.nodes.values() if isinstance(node, Input)]
    if len(inputs) != 1:
        raise InputError(f"{file}: {len(inputs)} inputs; images can be given to one")
    shape = inputs[0].shape
    known = manifest.source.get("preprocess") if manifest is not None else None
    if known:
        preprocess = Preprocess.recorded(known)
    else:  # a graph of somebody else's: pixels from 0 to 1
        preprocess = Preprocess(channels=shape[0] if len(shape) == 3 and shape[0] in (1, 3) else 1)
    preprocess = preprocess.overridden(mean=asked.mean, std=asked.std)
    found = load_data(asked.data, limit=asked.limit, size=preprocess.size)
    if not isinstance(found, ImageData):
        raise InputError(f"--data {asked.data}: expected labelled images")
    pixels = preprocess.apply(found.images)
    if pixels[0].size != int(np.prod(shape)):
        raise InputError(
            f"{file}: takes {list(shape)}, the images of {asked.data} are {list(pixels.shape[1:])}"
        )
    return pixels.reshape(len(pixels), *shape), found.labels


def _read(file: Path) -> Graph:
    from paring_runtimes.nir import NirRefused, read

    try:
        return read(file)
    except NirRefused as error:
        raise InputError(str(error)) from None


def _coding(file: Path, wanted: str | None) -> Coding:
    """How images become spikes: as the graph's metadata say, unless told otherwise."""
    import numpy as np

    from paring_profiles.neuromorphic.simulate import Coding
    from paring_runtimes.spiking.encoders import CODINGS

    held = _read(file).metadata
    name = wanted or str(held.get("coding", "constant"))
    if name not in CODINGS:
        raise InputError(f"coding {name!r}; expected one of {', '.join(CODINGS)}")
    scale, seed = (
        np.asarray(held.get(key, default)).item() for key, default in (("scale", 1.0), ("seed", 0))
    )
    return Coding(name, float(scale), int(seed))
