"""The keys of `recover`: how a transformed model is trained against the original."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from ._parts import NotNegative, Part, Positive
from ._yaml import Document, Path

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Above0 = Annotated[float, Field(gt=0)]


class TrainingData(Part):
    """Labelled images, or questions on images, to train on: other ones than those of `data`."""

    source: str = Field(description="as data.source")
    limit: Positive | None = Field(default=None, description="use so many images, evenly spaced")
    held_out: Literal["refuse", "exclude", "keep"] = Field(
        default="refuse",
        description="images that are in `data` as well: refuse them, train without them, or keep them (the"
        " accuracy is then no held-out one)",
    )


class Loss(Part):
    """What is minimised: a weighted sum."""

    logits: Weight = Field(
        default=1.0, description="of the Kullback-Leibler divergence from the original's answers"
    )
    labels: Weight = Field(default=0.5, description="of the cross-entropy with the labels")
    features: Weight = Field(
        default=1.0,
        description="of the squared error of every block's output, relative to the original's mean square;"
        " of the class token alone where the token counts differ",
    )
    temperature: Above0 = Field(default=2.0, description="both models' logits are divided by it")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="share of each label spread over all classes"
    )


class Stage(Part):
    """One stage of the training. What is null is that of `recover`."""

    through: str | None = Field(
        default=None, description="the last transform that is applied from here on; null is the last of all"
    )
    epochs: Above0 | None = Field(default=None, description="passes over the training images")
    steps: Positive | None = Field(default=None, description="batches; in place of epochs")
    learning_rate: Above0 | None = Field(default=None, description="the largest of this stage")
    train: Literal["connector", "language"] | None = Field(
        default=None,
        description="of a vision-language model: connector, what stands between tower and language model, is"
        " trained alone (null is that too); language trains low-rank adapters of the language model besides",
    )


class Adapters(Part):
    """Low-rank adapters of a vision-language model's language model, arXiv 2106.09685."""

    rank: Positive = Field(default=8, description="of what each linear layer is changed by")
    scale: Above0 = Field(default=2.0, description="of that change; peft's lora_alpha over rank")


class Recover(Part):
    """How accuracy is got back. Each stage warms up linearly, then decays as a cosine."""

    data: TrainingData | None = None
    epochs: Above0 | None = Field(
        default=None, description="passes over the training images a stage; 1 where steps are not given"
    )
    steps: Positive | None = Field(default=None, description="batches a stage; in place of epochs")
    learning_rate: Above0 = Field(default=5e-4, description="the largest of AdamW")
    stages: tuple[Stage, ...] = Field(
        default=(),
        description="in order; ShiftAddViT's are {through: additive_attention}, then {}; none is one stage"
        " with all transforms, and of a vision-language model {train: connector}, then {train: language}",
    )
    adapters: Adapters = Adapters()
    batch_size: Positive = Field(default=64, description="images a step, over all devices")
    warmup: Share = Field(default=0.05, description="share of a stage's steps")
    final_rate: Share = Field(default=0.01, description="share of the learning rate left at a stage's end")
    weight_decay: Weight = Field(default=0.05, description="of matrices; never of biases and norms")
    clip: Above0 = Field(default=1.0, description="largest norm of the gradient")
    augment: tuple[Literal["shift", "flip"], ...] = Field(
        default=("shift",),
        description="shift by up to 1/14 of the side; flip half of the images left to right; [] is neither",
    )
    loss: Loss = Loss()
    seed: NotNegative = Field(default=0, description="of batch order, augmentation and dropout")
    checkpoint_seconds: Weight = Field(
        default=60.0, description="between checkpoints; 0 writes one after every step"
    )


def reached(stages: Sequence[Stage], transforms: Sequence[str]) -> list[int]:
    """How many of the recipe's transforms, by name, are in the model in each stage.

    Raises:
        ValueError: a stage names no transform of the recipe, goes back, or the last leaves some out.
    """
    counts = []
    for stage in stages:
        name = stage.through
        places = [index for index, known in enumerate(transforms, 1) if known == name]
        if name is not None and not places:
            listed = ", ".join(transforms) or "none"
            raise ValueError(f"{name!r} is no transform of the recipe; it has {listed}")
        counts.append(places[-1] if places else len(transforms))
        if sorted(counts) != counts:
            raise ValueError(f"{name!r} was applied in an earlier stage; stages go on through the recipe")
    if counts and counts[-1] != len(transforms):
        raise ValueError(f"the last stage leaves out {', '.join(transforms[counts[-1] :])}")
    return counts


def check_recover(recover: Recover | None, transforms: Sequence[str], document: Document) -> None:
    """Report what the types of `recover` do not say."""
    if recover is None:
        return
    parts: list[tuple[Path, Recover | Stage]] = [(("recover",), recover)]
    parts += [(("recover", "stages", index), stage) for index, stage in enumerate(recover.stages)]
    for path, part in parts:
        if part.epochs is not None and part.steps is not None:
            document.report((*path, "epochs"), "epochs and steps are two ways to say one thing: give one")
    try:
        reached(recover.stages, transforms)
    except ValueError as error:
        document.report(("recover", "stages"), str(error))
