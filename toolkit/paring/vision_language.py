"""The line of `paring convert` for vision-language models."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import paring_runtimes
from paring_exporters.language import LanguageRequest
from paring_exporters.language.parity import LanguageParity, prompts
from paring_exporters.request import DEFAULT_OPSET
from paring_exporters.vision_language import export, files_of, vision_language_facts
from paring_exporters.vision_language.parity import compare, open_graphs, with_images
from paring_runtimes import Manifest
from paring_runtimes.artifact import new_artifact
from paring_runtimes.errors import ExportError, ParityError, RecipeError
from paring_runtimes.generation.image_facts import TASK
from paring_runtimes.generation.language_model import language_model_of

from .answering import AnswerQuality, Asking, answer_quality, ask
from .converted import Converted, add_quality, finish
from .data import QuestionData
from .gates import gate
from .language.building import LanguageJob, manifest_of
from .opening import open_questions
from .parameters import parameter_count
from .recipe import Recipe
from .recover.folder import Recovery
from .sources import LoadedVisionLanguageModel, digest
from .transforming import refuse_unexportable, transform
from .transforms import discover
from .transforms._vision_language import VisionLanguage, find, open_vision_language, why_not

if TYPE_CHECKING:
    import numpy as np

__all__ = ["convert_vision_language"]


def convert_vision_language(
    recipe: Recipe,
    source: LoadedVisionLanguageModel,
    output: Path,
    *,
    recovery: Recovery | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda stage: None,
) -> Converted:
    """Convert a vision-language model into an artifact at `output`.

    The untransformed model goes to `output`-baseline where the recipe has transforms. With `recovery` the
    transformed one takes what was trained.

    Raises:
        ParingError: see `paring_runtimes.errors` for the kinds; nothing is left behind.
    """
    reasons = why_not(source.model)
    if reasons:
        raise ExportError(f"{source.spec}: " + "; ".join(reasons))
    refuse_unexportable(recipe)
    exam = _exam(recipe, source, progress)
    job = LanguageJob(recipe, source, None, progress)
    marks = digest(source.model)
    if recovery is not None:
        recovery.check(recipe, marks)
    model = open_vision_language(source.model, source.image_size)
    model.text_ids = source.text_ids()
    kept = recipe.export.baseline and bool(recipe.transforms)
    baseline = output.with_name(f"{output.name}-baseline") if kept else None
    with ExitStack() as stack:
        folder = stack.enter_context(new_artifact(output, overwrite))
        beside, before = None, None
        if baseline is not None:
            beside = stack.enter_context(new_artifact(baseline, overwrite))
        elif exam is not None and recipe.transforms:
            beside = Path(stack.enter_context(TemporaryDirectory()))
        if beside is not None:
            plain = finish(beside, _build(job, model, beside, marks, "baseline"), None)
            before = None if exam is None else exam.answers(beside, "baseline")
        changed = find(transform(model, recipe)) if recipe.transforms else model
        if changed is None:
            raise RecipeError("a step takes the language model out of the vision-language model")
        if recovery is not None:
            recovery.load_into(changed)
            job = replace(job, recovery=recovery.facts())
        role = "transformed" if recipe.transforms else "model"
        manifest = finish(folder, _build(job, changed, folder, marks, role), None)
        if exam is not None:
            after = exam.answers(folder, role)
            found = exam.quality(after if before is None else before, after)
            gate(recipe, found, "questions")
            if beside is not None:
                add_quality(beside, plain, found.of_baseline())
            told = found.of_baseline() if before is None else found.as_dict()
            manifest = add_quality(folder, manifest, told)
    return Converted(output, baseline, manifest, (*job.notes(), *_training_notes(job)))


@dataclass(frozen=True)
class _Exam:
    """The questions that artifacts are asked."""

    data: QuestionData
    asking: Asking
    name: str
    progress: Callable[[str], None]

    def answers(self, folder: Path, role: str) -> np.ndarray:
        """[N] bool: which questions the finished artifact answers right."""
        total = len(self.data.questions)
        with paring_runtimes.load(folder, verify=False) as session:
            told = ask(
                session,
                self.data,
                self.asking,
                lambda done: self.progress(f"asking the {role}: {done} of {total} questions"),
            )
        return told.right

    def quality(self, before: np.ndarray, after: np.ndarray) -> AnswerQuality:
        """The comparison of two artifacts' answers."""
        return answer_quality(before, after, self.data, self.name, self.asking)


def _exam(recipe: Recipe, source: LoadedVisionLanguageModel, progress: Callable[[str], None]) -> _Exam | None:
    other = next((rule.metric for rule in recipe.gates if rule.metric != "vqa_accuracy"), None)
    if other is not None:
        raise RecipeError(
            f"{source.spec} is a vision-language model: its gates hold vqa_accuracy, not {other}"
        )
    if recipe.robustness is not None:
        raise RecipeError(f"{source.spec} is a vision-language model: robustness is of labelled images")
    if recipe.data is None:
        return None
    data = open_questions(recipe.data, source.spec, progress)
    return _Exam(data, Asking.of(recipe.data), recipe.data.source, progress)


def _training_notes(job: LanguageJob) -> list[str]:
    known = discover()
    if job.recovery is not None:
        return []
    told = _untrained(job)
    wanting = [
        step.name
        for step in job.recipe.transforms
        if not known[step.name].TRAITS.training_free and not hasattr(known[step.name], "untrained")
    ]
    return [*told, *(f"{name} needs training to be worth its place: see its description" for name in wanting)]


def _untrained(job: LanguageJob) -> list[str]:
    """Of steps that bring weights of their own, those whose weights are random, and what that means."""
    found: list[str] = []
    for step in () if job.recovery is not None else job.recipe.transforms:
        asked: Any = getattr(discover()[step.name], "untrained", None)
        reason = "" if asked is None else asked(step.config)
        found += [f"{step.name}: {reason}"] if reason else []
    return found


def _build(job: LanguageJob, model: VisionLanguage, folder: Path, marks: str, role: str) -> Manifest:
    """Write one artifact's files; the manifest is still without digests."""
    wanted, source = job.recipe.export, job.source
    assert isinstance(source, LoadedVisionLanguageModel)
    job.progress(f"exporting the {role}")
    request = LanguageRequest(wanted.opset or DEFAULT_OPSET, wanted.precision, wanted.in_place)
    exported = export(model, request, folder)
    facts = {**vision_language_facts(model, source.preparation, wanted.precision), **source.token_ids()}
    source.keep(folder)
    graph = {
        "task": TASK,
        "parameters": parameter_count(model),
        "random_weights": source.random_weights or (role == "transformed" and bool(_untrained(job))),
        "tokens_per_layer": model.image_rows(),
        "generation": facts,
    }
    found = _verify(job, model, folder, graph, role)
    return manifest_of(job, exported, graph, found.as_dict(), marks, role)


def _verify(
    job: LanguageJob, model: VisionLanguage, folder: Path, graph: dict[str, object], role: str
) -> LanguageParity:
    wanted = job.recipe.verify
    told = language_model_of(folder, graph, dict.fromkeys(files_of(model), ""))
    texts = prompts(model.decoder.vocabulary, wanted.batch_sizes, wanted.prompt_lengths, wanted.seeds)
    found = compare(
        model,
        open_graphs(folder, told),
        with_images(model, texts),
        wanted.steps,
        job.recipe.export.precision,
        wanted.atol,
        wanted.rtol,
        lambda name: job.progress(f"verifying the {role}: {name}"),
    )
    failure = found.failure()
    if failure is not None:
        raise ParityError(f"the exported {role} differs from PyTorch: {failure}")
    return found
