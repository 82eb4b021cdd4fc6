"""One model becomes the files of one artifact: export, verify, answer, describe."""

from __future__ import annotations

import copy
import datetime
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

import paring_runtimes
from paring_exporters import exporters, parity
from paring_exporters.request import DEFAULT_OPSET, Exported, Request
from paring_exporters.tensorrt.options import BuildOptions
from paring_exporters.torch_reference import torch_reference
from paring_exporters.tune_options import TuneOptions
from paring_runtimes import Manifest, Session
from paring_runtimes.errors import ParityError

from .data import ImageData, Preprocess
from .mixture_facts import expert_shares
from .parameters import parameter_count
from .quality import correct
from .quantizing import NOTES, answering, quantised, scheme_of
from .recipe import Recipe, dump_recipe
from .robustness import Conditions
from .transforming import described, notes
from .transforms._shift import Patchwise
from .transforms._shift.integer import in_integers
from .transforms.token_map import WithTokenMap, tokens_per_layer, trace
from .versions import tool_versions

if TYPE_CHECKING:
    from .sources import LoadedModel

TRIED = 2  # images on which transforms say whether they fall short
PICTURED = 6  # sample images kept in the artifact, for the report


@dataclass(frozen=True)
class Job:
    """One conversion under way: what every step needs to know."""

    recipe: Recipe
    source: LoadedModel
    model: nn.Module
    digest: str
    data: ImageData | None
    preprocess: Preprocess
    progress: Callable[[str], None]
    recovery: Mapping[str, Any] | None = None  # of the transformed model's weights, where they were trained

    @property
    def data_name(self) -> str:
        """What the quality gate's images are called."""
        return "" if self.recipe.data is None else self.recipe.data.source

    @property
    def conditions(self) -> Conditions | None:
        """What the images go through besides, where the recipe asks for it."""
        if self.data is None or self.recipe.robustness is None:
            return None
        return Conditions.of(self.recipe.robustness, self.data, self.preprocess)

    def notes(self) -> tuple[str, ...]:
        """What the user should read about the source."""
        if self.source.random_weights:
            return (f"{self.source.spec} has random weights: its speed is real, its answers are not",)
        return ()


@dataclass(frozen=True)
class Built:
    """What was built: the manifest, still without digests, and which answers were right.

    `answers` is [N], or empty without data; `under_corruption` [conditions, N], or None.
    """

    manifest: Manifest
    answers: np.ndarray
    under_corruption: np.ndarray | None


def build(job: Job, model: nn.Module, folder: Path, role: str, images: Sequence[torch.Tensor] = ()) -> Built:
    """Write one artifact's files into `folder`. `role` is "baseline", "transformed" or "model".

    `images` are what a precision is fitted to, in batches; a baseline is in fp32.

    Raises:
        ExportError: the model cannot be exported.
        ParityError: the artifact differs from the model; the message names the first node that does.
    """
    job.progress(f"exporting the {role}")
    exported = _export(job, model, folder, role)
    scheme = None if role == "baseline" else scheme_of(job.recipe)
    with paring_runtimes.load(exported.runnable) as session:
        found = _verify(job, model, session, exported, role)
        if scheme is None:
            answers, under_corruption = _answers(job, session, role)
        if exported.twin is not None:
            _keep_reference(job, session, folder)
    if exported.twin is not None:
        exported.twin.unlink()
    if scheme is not None:
        job.progress(f"quantising the {role} to {scheme.precision}")
        told = quantised(
            exported.entry, scheme, [i.numpy() for i in images], _cases(job), job.source.output_names
        )
        exported.facts.update(precision=scheme.precision, quantization=told)
        if scheme.precision in NOTES:
            exported.facts["notes"] = [*exported.facts.get("notes", ()), NOTES[scheme.precision]]
        with answering(exported.entry, scheme.precision) as session:
            answers, under_corruption = _answers(job, session, role)
    _keep_sources(job, folder)
    if role == "transformed" and job.data is not None:
        _keep_samples(job, model, folder)
    example = job.source.example(1, None, torch.Generator().manual_seed(0))
    pixels = example[job.source.input_name]
    graph: dict[str, Any] = {
        "parameters": parameter_count(model),
        "tokens_per_layer": tokens_per_layer(model, pixels),
        "random_weights": job.source.random_weights,
    }
    shares = expert_shares(model, pixels, job.data, job.preprocess)
    if shares:
        graph["expert_shares"] = shares
    steps = job.recipe.transforms if role == "transformed" else ()
    read = [*exported.facts.get("notes", ()), *notes(model, steps, _tried(job, images, pixels))]
    if read:
        exported.facts["notes"] = read
    manifest = Manifest(
        format=exported.format or _exporter(job, role).NAME,
        entry=exported.entry.name,
        inputs=exported.inputs,
        outputs=exported.outputs,
        files={},
        source={
            "spec": job.source.spec,
            "digest": job.digest,
            "weights": job.recipe.weights,
            "preprocess": asdict(job.preprocess),
            **({} if job.recovery is None or role == "baseline" else {"recovery": dict(job.recovery)}),
        },
        recipe=dump_recipe(job.recipe),
        transforms=described(steps),
        graph=graph,
        export=exported.facts,
        parity=found.as_dict(),
        tools=tool_versions(),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
    return Built(manifest, answers, under_corruption)


def _tried(job: Job, images: Sequence[torch.Tensor], example: torch.Tensor) -> torch.Tensor:
    """A few images [B, C, H, W], real ones where there are any."""
    if job.data is not None:
        return torch.from_numpy(job.preprocess.apply(job.data.images[:TRIED]))
    return (images[0] if images else example)[:TRIED]


def _answers(job: Job, session: Session, role: str) -> tuple[np.ndarray, np.ndarray | None]:
    if job.data is None:
        return np.zeros(0, bool), None
    stage = f"answering {len(job.data.images)} images with the {role}"
    job.progress(stage)
    answers, conditions = correct(session, job.data, job.preprocess), job.conditions
    if conditions is None:
        return answers, None

    def progress(condition: str) -> None:
        job.progress(f"{stage}: {condition}")

    return answers, conditions.answers(session, job.data, job.preprocess, progress)


def _exporter(job: Job, role: str) -> ModuleType:
    """That of the recipe's format; baselines that a format of one kind of network refuses become ONNX."""
    found = exporters()[job.recipe.export.format]
    return exporters()["onnx"] if role == "baseline" and hasattr(found, "TAKES") else found


def _export(job: Job, model: nn.Module, folder: Path, role: str) -> Exported:
    wanted, source = job.recipe.export, job.source
    names = tuple(source.output_names)
    if role == "transformed" and wanted.token_map and not hasattr(_exporter(job, role), "TAKES"):
        model, names = WithTokenMap(model), (*names, "token_map")
    batch = 2 if "batch" in wanted.dynamic else 1
    example = source.example(batch, None, torch.Generator().manual_seed(0))
    request = Request(
        example=example[source.input_name],
        input_name=source.input_name,
        output_names=names,
        opset=wanted.opset or DEFAULT_OPSET,
        precision=_of_floats(job),
        dynamic=tuple(wanted.dynamic),
        size_step=_patch_size(model),
        optimizer=wanted.optimizer,
        shift=wanted.shift,
        target=wanted.target,
        threads=wanted.threads,
        tune=TuneOptions(**wanted.tune.model_dump()),
        tensorrt=BuildOptions(**wanted.tensorrt.model_dump()),
    )
    found: Exported = _exporter(job, role).export(model, request, folder)
    return found


def _patch_size(model: nn.Module) -> int:
    """The stride of the first convolution: image sizes are its multiples."""
    first = next((m for m in model.modules() if isinstance(m, (nn.Conv2d, Patchwise))), None)
    return 1 if first is None else int(first.stride[0])


def _verify(job: Job, model: nn.Module, session: Session, exported: Exported, role: str) -> parity.Parity:
    wanted, names = job.recipe.verify, job.source.output_names
    flavour = exported.facts.get("shift", {}).get("flavour", "float")
    plain = model
    if flavour != "float" and flavour != "dequantize":
        model = in_integers(copy.deepcopy(model), by_row=flavour == "integer_rows")

    def artifact(pixels: np.ndarray) -> dict[str, np.ndarray]:
        return session.run({job.source.input_name: pixels}, list(names))

    def unrounded(pixels: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            outputs, _ = trace(plain, torch.from_numpy(pixels))
        values = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
        return {name: value.numpy() for name, value in zip(names, values, strict=True)}

    inputs = _cases(job)
    with torch_reference(model, names, exported, _of_floats(job)) as reference:
        result = parity.compare(
            reference,
            artifact,
            inputs,
            _of_floats(job),
            wanted.atol,
            wanted.rtol,
            lambda name: job.progress(f"verifying the {role}: {name}"),
            None if flavour == "float" else unrounded,
        )
    failure = result.failure()
    if failure is not None:
        bad = next((c for c, r in zip(inputs, result.cases, strict=True) if not r.passed), inputs[0])
        locate = getattr(_exporter(job, role), "locate", None)
        where = "" if locate is None else f"; {locate(exported, bad.pixels, (result.atol, result.rtol))}"
        raise ParityError(f"the exported {role} differs from PyTorch: {failure}{where}")
    return result


def _of_floats(job: Job) -> str:
    """The precision in which the graph is exported and compared with PyTorch; rewriting comes after."""
    exported = scheme_of(job.recipe) is None and job.recipe.export.precision == "fp16"
    return "fp16" if exported else "fp32"


def _cases(job: Job) -> list[parity.Case]:
    wanted, dynamic = job.recipe.verify, job.recipe.export.dynamic
    channels, height, width = job.source.input_shape
    sizes = [(height, width), *(wanted.image_sizes if "image_size" in dynamic else ())]
    batches = wanted.batch_sizes if "batch" in dynamic else (1,)
    return parity.cases(channels, sizes, batches, wanted.seeds)


def _keep_sources(job: Job, folder: Path) -> None:
    """transformers' own files, so that optimum can load the artifact too."""
    if job.source.hf_config is not None:
        job.source.hf_config.save_pretrained(folder)
    for file in job.source.source_files:
        if file.name in ("preprocessor_config.json", "README.md", "LICENSE"):
            shutil.copyfile(file, folder / file.name)


def _keep_reference(job: Job, session: Session, folder: Path) -> None:
    """Inputs, and what the twin answers, so that the artifact can be compared where it runs."""
    pixels = _cases(job)[0].pixels
    found = session.run({job.source.input_name: pixels}, list(job.source.output_names))
    fields: dict[str, Any] = {f"input:{job.source.input_name}": pixels}
    fields.update({f"output:{name}": value for name, value in found.items()})
    np.savez_compressed(folder / "reference.npz", **fields)


def _keep_samples(job: Job, model: nn.Module, folder: Path) -> None:
    """A few images and what became of their patches."""
    assert job.data is not None
    data, preprocess = job.data, job.preprocess
    images = data.images[:PICTURED]
    with torch.inference_mode():
        _, found = trace(model, torch.from_numpy(preprocess.apply(images)))
    if found is None or not found.stage_names:
        return
    patches = found.owner.shape[2]
    _, height, width = job.source.input_shape
    step = _patch_size(model)
    grid = (height // step, width // step)
    if grid[0] * grid[1] != patches:
        return
    names = [data.class_names[label] if data.class_names else str(label) for label in data.labels]
    fields: dict[str, Any] = {
        "images": images,
        "labels": np.array(names[:PICTURED]),
        "token_maps": found.owner.numpy().astype(np.int32),
        "grid": np.array(grid),
        "stage_names": np.array(found.stage_names),
        "fused_token": np.array(found.fused),
    }
    np.savez_compressed(folder / "samples.npz", **fields)
