"""`paring recover`: original -> transformed -> trained against the original -> a folder of weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from paring_runtimes.artifact import check_target
from paring_runtimes.errors import RecoveryError

from ..data import Preprocess
from ..data._images import evenly
from ..opening import calibration_batches, open_source, preprocessing
from ..recipe import Recipe, Recover
from ..sources import LoadedLanguageModel, LoadedModel, LoadedVisionLanguageModel, digest
from ..sources._loaded import seeded
from ..transforming import apply_step
from ..transforms._opening import canonical
from ._accuracy import answers, summary
from ._batches import Batches, torch_seed
from ._call import Call, settings
from ._devices import accelerator_for, repeatable
from ._features import BlockOutputs
from ._forms import auxiliary_losses, frozen, trainable
from ._loop import Told, Trainer
from ._loss import Distillation, logits
from ._schedule import Span, spans
from ._sets import Sets, read_sets
from ._start import Start, started
from .folder import RECORD, Recovery, structure, write_recovery
from .vision_language import recover_vision_language

CALIBRATION_IMAGES = 256  # where the recipe names none
NO_BLOCKS = "features: no encoder blocks are known in this model, so that this part of the loss is left out"


@dataclass(frozen=True)
class Task:
    """One recovery under way: what every step needs to know. `source` is left as it was."""

    recipe: Recipe
    wanted: Recover
    source: nn.Module
    original: nn.Module
    preprocess: Preprocess
    sets: Sets
    call: Call
    calibration: Sequence[torch.Tensor] = ()  # batches of images that the transforms are fitted to
    start: Start | None = None

    @property
    def begun(self) -> int:
        """How many of the transforms are recovered before."""
        return 0 if self.start is None else self.start.transforms

    def right(self, model: nn.Module, name: str) -> np.ndarray:
        """Which held-out images `model` gets right, [N] bool."""
        self.call.progress(
            f"answering {len(self.sets.held_out.images)} held-out images with the {name} model"
        )
        return answers(model, self.sets.held_out, self.preprocess, self.call.accelerator.device)

    def first(self) -> nn.Module:
        """The model that the training begins with: the source, or what an earlier recovery made of it."""
        model = self.applied(copy.deepcopy(self.source), 0, self.begun)
        return model if self.start is None else self.start.recovery.load_into(model)

    def applied(self, model: nn.Module, first: int, last: int) -> nn.Module:
        """`model`, consumed, after the transforms number `first` to `last` (exclusive)."""
        with seeded(torch_seed(self.wanted.seed, last)):
            for step in self.recipe.transforms[first:last]:
                model = apply_step(model, step, self.recipe, self.calibration)
        return model


def recover(
    recipe: Recipe,
    output: Path,
    *,
    allow: frozenset[str] = frozenset(),
    overwrite: bool = False,
    device: str = "auto",
    restart: bool = False,
    recovered: Path | None = None,
    progress: Callable[[str], None] = lambda stage: None,
    watch: Callable[[Told], None] = lambda told: None,
) -> Recovery:
    """Train the recipe's transformed model against the original, and write it to `output`.

    Of a model that classifies images all of it is trained; of a vision-language model what stands between its
    tower and its language model, then low-rank adapters of the language model too.

    Until it is done, checkpoints are in `output`.checkpoints: the same call goes on from the last one,
    to the same weights, bit for bit, on the same machine, device and number of threads.

    Args:
        recipe: with `transforms`, `recover.data` and `data`.
        output: the folder to write.
        allow: risks the user has allowed by name: "pickle", "remote-code".
        overwrite: replace a recovery that is there.
        device: "cpu", "cuda", or "auto": a GPU where there is one. Several: under `accelerate launch`.
        restart: throw away checkpoints.
        recovered: the folder of a recovery of the recipe's first transforms. Its weights take the place of
            the stages that train no others; the "transformed" accuracy is of them with the rest untrained.
        progress: told each stage, in words.
        watch: told of each training step.

    Raises:
        RecoveryError: the data, the checkpoints, the model or what was recovered before do not fit.
        ParingError: see `paring_runtimes.errors` for the other kinds.
    """
    check_target(output, overwrite, RECORD)
    if not recipe.transforms:
        raise RecoveryError(
            "no transforms: there is nothing to recover from; add a step, as in -t token_prune"
        )
    accelerator = accelerator_for(device)
    call = Call(output, overwrite, restart, accelerator, progress, watch)
    source = open_source(recipe, allow, progress)
    if isinstance(source, LoadedVisionLanguageModel):
        if recovered is not None:
            raise RecoveryError(f"recovered: {recipe.model} is a vision-language model; leave it out")
        with repeatable(accelerator.device):
            return recover_vision_language(recipe, source, call)
    if isinstance(source, LoadedLanguageModel) or source.model is None:
        raise RecoveryError(
            f"{recipe.model}: recovery trains models that answer images with logits, and LLaVA-type models"
        )
    task = _task(recipe, source, call, recovered)
    model = task.applied(task.first(), task.begun, len(recipe.transforms))
    with repeatable(accelerator.device):
        original = task.right(task.original, "original")
        transformed = task.right(model, "transformed")
        trainer, stages = _trainer(task)
        model, notes = _trained(task, trainer, stages, model)
        accuracy = summary(original, transformed, task.right(model, "recovered"))
    record = _record(task, source, trainer, stages, accuracy, notes)
    if not accelerator.is_main_process:
        return Recovery(output, record)
    written = write_recovery(output, overwrite, model.cpu().state_dict(), recipe, record)
    trainer.checkpoints.remove()
    return written


def _task(recipe: Recipe, source: LoadedModel, call: Call, recovered: Path | None) -> Task:
    wanted, preprocess, model = recipe.recover or Recover(), preprocessing(recipe, source), source.model
    assert model is not None
    if any(stage.train is not None for stage in wanted.stages):
        raise RecoveryError(
            f"recover.stages: train is of vision-language models; leave it out: all of {recipe.model} is"
            " trained"
        )
    start = None if recovered is None else started(recovered, recipe, digest(model))
    sets, accelerator = read_sets(recipe, preprocess, call.progress), call.accelerator
    if wanted.batch_size > len(sets.chosen) or wanted.batch_size % accelerator.num_processes:
        raise RecoveryError(
            f"recover.batch_size: {wanted.batch_size} must be at most the {len(sets.chosen)} training images"
            f" and a multiple of the {accelerator.num_processes} processes"
        )
    original = canonical(copy.deepcopy(model)).eval().requires_grad_(False)
    pixels = torch.from_numpy(preprocess.apply(sets.held_out.images[:1]))
    with torch.inference_mode():
        classes = logits(original(pixels)).shape[-1]
    most = int(max(sets.training.labels.max(), sets.held_out.labels.max()))
    if most >= classes:
        raise RecoveryError(f"the data have label {most}, and {recipe.model} only {classes} classes, from 0")
    few = sets.training.images[sets.chosen[evenly(len(sets.chosen), CALIBRATION_IMAGES)]]
    calibration = calibration_batches(recipe, preprocess, call.progress, few)
    return Task(recipe, wanted, model, original, preprocess, sets, call, calibration, start)


def _trainer(task: Task) -> tuple[Trainer, tuple[Span, ...]]:
    wanted, sets, accelerator = task.wanted, task.sets, task.call.accelerator
    batches = Batches(
        sets.training.images[sets.chosen],
        sets.training.labels[sets.chosen],
        task.preprocess.apply,
        wanted.batch_size,
        wanted.augment,
        wanted.seed,
        accelerator.process_index,
        accelerator.num_processes,
    )
    stages = spans(task.recipe, wanted, batches.per_epoch, task.begun)
    identity = {
        "model": digest(task.source),
        **structure(task.recipe),
        **settings(wanted),
        "training images": [sets.training.digest, len(sets.chosen)],
        **({} if task.start is None else {"recovered": task.start.recovery.record["weights_sha256"]}),
    }
    return task.call.trainer(batches, stages, wanted, identity), stages


def _trained(
    task: Task, trainer: Trainer, stages: tuple[Span, ...], transformed: nn.Module
) -> tuple[nn.Module, list[str]]:
    """The model after all stages, and notes. `transformed`, with all transforms untrained, is consumed."""
    alone = len(stages) == 1
    model = transformed.cpu() if alone else task.first()
    done, notes = (stages[0].applied if alone else task.begun), list[str]()
    for number, span in enumerate(stages, 1):
        model, done = task.applied(model, done, span.applied), span.applied
        if trainer.progress.step > span.end:
            continue  # the checkpoint is of a later stage
        task.call.progress(f"training, stage {number} of {len(stages)}" if len(stages) > 1 else "training")
        steps = task.recipe.transforms[:done]
        model, original = trainable(model, steps), task.original.to(task.call.accelerator.device)
        with ExitStack() as stack:
            features = None
            if task.wanted.loss.features:
                theirs = stack.enter_context(BlockOutputs(original))
                own = stack.enter_context(BlockOutputs(model))
                features = (theirs, own) if theirs.known and own.known else None
                notes += [] if features else [NO_BLOCKS]
            auxiliary = auxiliary_losses(steps)
            loss = Distillation(original, model, task.wanted.loss, features, auxiliary)
            trainer.train(model, loss, span)
        model = frozen(model.cpu(), steps)
    return model, list(dict.fromkeys(notes))


def _record(
    task: Task,
    source: LoadedModel,
    trainer: Trainer,
    stages: tuple[Span, ...],
    accuracy: dict[str, Any],
    notes: list[str],
) -> dict[str, Any]:
    sets, recipe = task.sets, task.recipe
    assert recipe.data is not None
    assert task.wanted.data is not None
    training = {
        "source": task.wanted.data.source,
        "images": len(sets.chosen),
        "digest": sets.training.digest,
        "shared_with_held_out": sets.shared,
    }
    held_out = {
        "source": recipe.data.source,
        "images": len(sets.held_out.images),
        "digest": sets.held_out.digest,
    }
    return task.call.record(
        recipe,
        trainer,
        stages,
        notes,
        source={"spec": source.spec, "digest": digest(task.source), "weights": recipe.weights},
        accuracy=accuracy,
        recovered=None if task.start is None else task.start.recovery.facts(),
        data={"training": training, "held_out": held_out},
    )
