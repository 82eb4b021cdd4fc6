"""A vision-language model's recovery: its connector learns, then low-rank adapters of its language model too.

Trained in stages, as QueCC is (https://arxiv.org/abs/2411.03312): `connector` trains what stands between the
tower and the language model; `language` goes on with adapters of the language model. The tower rests. The
loss is that of the answers' tokens: the divergence from the model before its transforms, and cross-entropy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paring_runtimes.errors import RecoveryError

from ..answering import Asking
from ..data import QuestionData
from ..image_prompts import image_facts_of
from ..opening import open_questions
from ..recipe import Recipe, Recover
from ..recipe._recover import Stage
from ..sources import LoadedVisionLanguageModel, digest
from ..sources._loaded import seeded
from ..transforming import transform
from ..transforms._vision_language import VisionLanguage, find, open_vision_language, why_not
from ._accuracy import summary
from ._answers import Answering, AnswerLoss, Judged, judged
from ._batches import torch_seed
from ._call import Call, settings
from ._connector import State, adapted, add_adapters, needs_peft, put_in, sharing, taken_out, train_connector
from ._forms import reforming
from ._loop import Trainer
from ._questions import QuestionBatches, Reader, Rows, tokenizer_in
from ._schedule import Span, spans
from ._sets import judge_shared
from .folder import WEIGHTS, Recovery, structure, write_recovery

METRIC = "vqa_accuracy"
USUAL = (Stage(train="connector"), Stage(train="language"))
ELSEWHERE = {"augment", "stages.through", "loss.features", "loss.label_smoothing"}


@dataclass(frozen=True)
class Questions:
    """Both sets.

    Attributes:
        training: all that was read; `chosen` of it is trained on.
        shared: questions of `training` about images that are held out as well.
        reader: what makes ids of them.
    """

    training: QuestionData
    chosen: Rows
    held_out: QuestionData
    asked: Rows
    shared: int


@dataclass(frozen=True)
class Task:
    """One recovery under way. Both models share what is not trained."""

    recipe: Recipe
    wanted: Recover
    original: Answering
    changed: VisionLanguage
    questions: Questions
    call: Call

    def judged(self, model: Answering, name: str) -> Judged:
        """The held-out questions, answered."""
        total = len(self.questions.asked)

        def tell(done: int) -> None:
            self.call.progress(f"asking the {name} model: {done} of {total} held-out questions")

        return judged(model, self.questions.asked, self.call.accelerator.device, tell)


def recover_vision_language(recipe: Recipe, source: LoadedVisionLanguageModel, call: Call) -> Recovery:
    """`paring.recover.recover` of a vision-language model. The source's model is consumed.

    Raises:
        RecoveryError: the data, the checkpoints or the model do not fit.
        ParingError: see `paring_runtimes.errors` for the other kinds.
    """
    wanted = _settled(recipe)
    marks = digest(source.model)
    task = _task(recipe, wanted, source, call)
    before = {
        "original": task.judged(task.original, "original"),
        "transformed": task.judged(Answering(task.changed), "transformed"),
    }
    trainer, stages = _trainer(task, marks)
    state = _trained(task, trainer, stages)
    put_in(task.changed, state, call.output / WEIGHTS)
    after = {**before, "recovered": task.judged(Answering(task.changed), "recovered")}
    record = call.record(
        recipe,
        trainer,
        stages,
        [],
        source={"spec": source.spec, "digest": marks, "weights": recipe.weights},
        accuracy=_accuracy(after),
        data=_data(task),
    )
    if not call.accelerator.is_main_process:
        return Recovery(call.output, record)
    written = write_recovery(call.output, call.overwrite, state, recipe, record)
    trainer.checkpoints.remove()
    return written


def _settled(recipe: Recipe) -> Recover:
    """The recipe's `recover` with its stages, checked."""
    wanted = recipe.recover or Recover()
    given = {f"loss.{key}" for key in wanted.loss.model_fields_set} | wanted.model_fields_set
    given |= {"stages.through" for stage in wanted.stages if stage.through is not None}
    wrong = sorted(given & ELSEWHERE)
    if wrong:
        listed = ", ".join(f"recover.{key}" for key in wrong)
        raise RecoveryError(f"{listed}: of models that classify images; {recipe.model} is another: leave out")
    if not (wanted.loss.logits or wanted.loss.labels):
        raise RecoveryError("recover.loss: logits and labels are both 0: nothing would be learnt")
    names = reforming(recipe.transforms)
    if names:
        raise RecoveryError(f"{', '.join(names)}: recovered in models that classify images only")
    stages = wanted.stages or USUAL
    kinds = [stage.train == "language" for stage in stages]
    if sorted(kinds) != kinds:
        raise RecoveryError("recover.stages: connector must come before language, or its adapters rest again")
    if any(kinds):
        needs_peft()
    return wanted.model_copy(update={"stages": tuple(stages)})


def _task(recipe: Recipe, wanted: Recover, source: LoadedVisionLanguageModel, call: Call) -> Task:
    reasons = why_not(source.model)
    if reasons:
        raise RecoveryError(f"{source.spec}: " + "; ".join(reasons))
    training, held_out, kept, shared = _read(recipe, wanted, call.progress)
    original = open_vision_language(source.model, source.image_size).eval().requires_grad_(False)
    original.text_ids = source.text_ids()
    changed = find(transform(sharing(original), recipe))
    if changed is None or changed.reducing_layers():
        raise RecoveryError(
            "a step drops image tokens within the language model, whose places in the text are then others"
            " than the answers': recover what comes before it, and add that step when converting"
        )
    assert recipe.data is not None
    reader = Reader(
        tokenizer_in(source.tokenizer_files, source.spec),
        Asking.of(recipe.data),
        image_facts_of(original, source),
        source.token_ids()["eos_token_ids"],
        original.decoder.max_positions,
    )
    chosen = reader.rows([training.questions[index] for index in kept])
    asked = reader.rows(held_out.questions)
    if wanted.batch_size > len(chosen) or wanted.batch_size % call.accelerator.num_processes:
        raise RecoveryError(
            f"recover.batch_size: {wanted.batch_size} must be at most the {len(chosen)} training questions"
            f" and a multiple of the {call.accelerator.num_processes} processes"
        )
    train_connector(changed)
    questions = Questions(training, chosen, held_out, asked, shared)
    return Task(recipe, wanted, Answering(original), changed, questions, call)


def _read(
    recipe: Recipe, wanted: Recover, progress: Callable[[str], None]
) -> tuple[QuestionData, QuestionData, np.ndarray, int]:
    """Training and held-out questions, the places of those that are trained on, and how many are in both."""
    if wanted.data is None:
        raise RecoveryError("no training questions: add recover.data, as in {source: 'vqa:train'}, or --data")
    if recipe.data is None:
        raise RecoveryError("no held-out questions: add data, as in {source: 'vqa:test'}, or --held-out")
    own = recipe.data.model_copy(update={"source": wanted.data.source, "limit": wanted.data.limit})
    held_out = open_questions(recipe.data, recipe.model, progress)
    training = open_questions(own, recipe.model, progress)
    images = {one.image for data in (training, held_out) for one in data.questions}
    contents = {image: image.read_bytes() for image in images}
    known = {contents[one.image] for one in held_out.questions}
    seen = np.array([contents[one.image] in known for one in training.questions], np.bool_)
    if seen.any():
        judge_shared(wanted.data, int(seen.sum()), f"{len(seen)} questions' images", recipe.data.source)
    kept = ~seen if wanted.data.held_out == "exclude" else np.ones_like(seen)
    return training, held_out, np.flatnonzero(kept), int(seen.sum())


def _trainer(task: Task, marks: str) -> tuple[Trainer, tuple[Span, ...]]:
    wanted, questions, accelerator = task.wanted, task.questions, task.call.accelerator
    batches = QuestionBatches(
        questions.chosen,
        wanted.batch_size,
        wanted.seed,
        accelerator.process_index,
        accelerator.num_processes,
    )
    stages = spans(task.recipe, wanted, batches.per_epoch)
    assert task.recipe.data is not None
    identity = {
        "model": marks,
        **structure(task.recipe),
        **settings(wanted),
        "data.prompt": task.recipe.data.prompt,
        "training questions": [questions.training.digest, len(questions.chosen)],
    }
    return task.call.trainer(batches, stages, wanted, identity, trained_only=True), stages


def _trained(task: Task, trainer: Trainer, stages: tuple[Span, ...]) -> State:
    """What was trained; the changed model is without adapters then."""
    model = task.changed
    student = Answering(model)
    task.original.to(task.call.accelerator.device)
    loss = AnswerLoss(task.original, student, task.wanted.loss)
    for number, (span, stage) in enumerate(zip(stages, task.wanted.stages, strict=True), 1):
        if trainer.progress.step > span.end:
            continue  # the checkpoint is of a later stage
        what = "connector and adapters" if stage.train == "language" else "the connector"
        task.call.progress(f"training {what}, stage {number} of {len(stages)}")
        if stage.train == "language" and not adapted(model):
            with seeded(torch_seed(task.wanted.seed, number)):
                add_adapters(model, task.wanted.adapters)
        trainer.train(student, loss, span)
    return taken_out(model)


def _accuracy(found: dict[str, Judged]) -> dict[str, Any]:
    right = {name: one.right for name, one in found.items()}
    told = summary(**right, metric=METRIC, what="questions")
    for name, one in found.items():
        told[name]["loss"] = one.loss
    return {"metric": METRIC, **told}


def _data(task: Task) -> dict[str, Any]:
    questions, recipe = task.questions, task.recipe
    assert recipe.data is not None
    assert task.wanted.data is not None

    def told(source: str, data: QuestionData, rows: Sequence[Any] | Rows) -> dict[str, Any]:
        return {"source": source, "questions": len(rows), "digest": data.digest}

    training = told(task.wanted.data.source, questions.training, questions.chosen)
    return {
        "training": {**training, "shared_with_held_out": questions.shared},
        "held_out": told(recipe.data.source, questions.held_out, questions.asked),
    }
