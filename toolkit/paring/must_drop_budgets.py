"""MustDrop's budgets from its thresholds, by what they keep on sample images and prompts.

The paper's counts, such as "192 tokens", are averages over layers and data of what its thresholds keep
(https://arxiv.org/abs/2411.10803). A static graph needs one count a stage: here they are chosen as a quantile
over samples, 1 so that none of them loses a token that its thresholds kept. The first stage's threshold, of
windows that look alike, becomes a count of windows in the same way.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from paring_runtimes.errors import ExportError, RecipeError
from paring_runtimes.generation.image_cache import check_prompt
from paring_runtimes.generation.image_input import prepare

from .image_prompts import ImagePrompt, image_facts_of
from .recipe import Recipe
from .sources import LoadedVisionLanguageModel
from .transforming import transform
from .transforms import must_drop, window_merge
from .transforms._encoder import Tokens
from .transforms._must_drop.calibration import average_tokens, budgets, window_budget
from .transforms._must_drop.spatial import similar, window_scores
from .transforms._vision_language import VisionLanguage, open_vision_language, why_not

NAME, WINDOWS = "must_drop", "window_merge"


@dataclass(frozen=True)
class StageBudget:
    """Image tokens that the thresholds leave behind a layer, over the samples, and the budget chosen."""

    layer: int
    least: int
    median: float
    mean: float
    most: int
    budget: int


@dataclass(frozen=True)
class WindowBudget:
    """Windows of the tower that reach the similarity, over the samples, and how many then merge.

    Attributes:
        similarity: mean cosine that a window must reach.
        windows: of the grid.
        counts: of each sample.
        config: window_merge's, with r in it.
    """

    similarity: float
    windows: int
    least: int
    median: float
    mean: float
    most: int
    counts: tuple[int, ...]
    config: window_merge.Config


@dataclass(frozen=True)
class StageBudgets:
    """All stages.

    Attributes:
        windows: of the first stage, where a similarity was given.
        image_tokens: that enter the language model.
        keys: tokens that never go.
        quantile: over the samples, that the budgets are.
        counts: [samples][stages] what the thresholds left.
        average_by_thresholds: image tokens averaged over layers and samples, the paper's measure.
        average_by_budgets: the same of the budgets.
        config: must_drop's, with the budgets in it.
    """

    model: str
    image_tokens: int
    layers: int
    keys: int
    quantile: float
    stages: tuple[StageBudget, ...]
    counts: tuple[tuple[int, ...], ...]
    average_by_thresholds: float
    average_by_budgets: float
    config: must_drop.Config
    windows: WindowBudget | None = None


def must_drop_budgets(
    recipe: Recipe,
    source: LoadedVisionLanguageModel,
    samples: Sequence[ImagePrompt],
    quantile: float = 1.0,
    similarity: float | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> StageBudgets:
    """Run the thresholds of the recipe's must_drop on samples. The model is consumed.

    Args:
        recipe: with one must_drop step, whose `budgets` and `form` are not read; steps before it run first,
            with their own settings unless `similarity` is given.
        source: a vision-language model.
        samples: at least one.
        quantile: of the counts over the samples, 0 to 1; of windows that merge, 1 less this.
        similarity: find window_merge's r too, by how many windows reach it; the paper's is 0.8.
        progress: told which sample is read.

    Raises:
        ExportError: the model is of no known kind.
        RecipeError: there is no such step, no window_merge for `similarity`, or the model has no tokenizer.
        TransformRefused: a step does not fit the model.
        InputError: an image cannot be read, or a prompt has not one place for it.
    """
    reasons = why_not(source.model)
    if reasons:
        raise ExportError(f"{source.spec}: " + "; ".join(reasons))
    thresholds, config = _by_thresholds(recipe)
    model = open_vision_language(source.model, source.image_size)
    model.text_ids = source.text_ids()
    windows = None
    if similarity is not None:
        progress("comparing windows")
        thresholds, windows = _by_similarity(thresholds, model, source, samples, (similarity, quantile))
    transform(model, thresholds)
    counts = []
    for number, (ids, pixels) in enumerate(_inputs(model, source, samples), 1):
        progress(f"reading samples: {number} of {len(samples)}")
        counts.append(stage_counts(model, ids, pixels))
    keys = max(len(config.keys), model.tower.keys())
    chosen = tuple(budgets(torch.tensor(counts), quantile, max(1, keys)))
    depth = len(model.decoder.layers)

    def average(left: Sequence[int]) -> float:
        return average_tokens(model.image_tokens, left, config.layers, depth)

    return StageBudgets(
        model=source.spec,
        image_tokens=model.image_tokens,
        layers=depth,
        keys=keys,
        quantile=quantile,
        stages=tuple(
            _stage(*one) for one in zip(config.layers, zip(*counts, strict=True), chosen, strict=True)
        ),
        counts=tuple(counts),
        average_by_thresholds=statistics.fmean(map(average, counts)),
        average_by_budgets=average(chosen),
        config=replace(config, form="budget", budgets=chosen),
        windows=windows,
    )


def _by_similarity(
    recipe: Recipe,
    model: VisionLanguage,
    source: LoadedVisionLanguageModel,
    samples: Sequence[ImagePrompt],
    wanted: tuple[float, float],
) -> tuple[Recipe, WindowBudget]:
    """Carry out the steps up to window_merge with the r found; the recipe of those that are left."""
    names = [step.name for step in recipe.transforms]
    if names.count(WINDOWS) != 1:
        raise RecipeError(f"transforms: a window similarity needs {WINDOWS} once before {NAME}")
    place, (similarity, quantile) = names.index(WINDOWS), wanted
    step = recipe.transforms[place]
    idle = step.model_copy(update={"config": replace(step.config, r=0)})
    transform(model, recipe.model_copy(update={"transforms": (*recipe.transforms[:place], idle)}))
    (merging,) = (part for part in model.tower.modules() if isinstance(part, window_merge.MergeWindows))
    scores = torch.cat([_scores(model, merging, pixels) for _, pixels in _inputs(model, source, samples)])
    merging.r = window_budget(scores, similarity, 1 - quantile)
    counts = similar(scores, similarity).tolist()
    found = WindowBudget(
        similarity=similarity,
        windows=scores.shape[1],
        least=min(counts),
        median=statistics.median(counts),
        mean=statistics.fmean(counts),
        most=max(counts),
        counts=tuple(counts),
        config=replace(step.config, r=merging.r),
    )
    return recipe.model_copy(update={"transforms": recipe.transforms[place + 1 :]}), found


@torch.inference_mode()
def _scores(model: VisionLanguage, merging: window_merge.MergeWindows, pixels: torch.Tensor) -> torch.Tensor:
    """Each window's mean cosine where `merging` stands: [images, windows]."""
    found: list[torch.Tensor] = []

    def note(module: torch.nn.Module, given: tuple[Tokens]) -> None:
        found.append(window_scores(given[0].x[:, merging.prefix :], merging.grid, merging.window))

    handle = merging.register_forward_pre_hook(note)
    try:
        model.tower(pixels)
    finally:
        handle.remove()
    return torch.cat(found)


@torch.inference_mode()
def stage_counts(model: VisionLanguage, ids: Sequence[int], pixels: torch.Tensor) -> tuple[int, ...]:
    """Image tokens that are left after each stage.

    Args:
        model: with must_drop in either form.
        ids: a prompt with the image's token in it once.
        pixels: [1, 3, H, W], prepared.
    """
    place = list(ids).index(model.image_token)
    features, keys = model.see(pixels, torch.tensor([list(ids[place + 1 :])]))
    embeds = model.embed(torch.tensor([list(ids)]))
    read = model.prefill(embeds[:, :place], features, embeds[:, place + 1 :], keys)
    return tuple(kept.shape[1] - (len(ids) - 1) for kept in read.kept)


def _by_thresholds(recipe: Recipe) -> tuple[Recipe, must_drop.Config]:
    """The recipe up to its must_drop, in the form of thresholds, and that step's config."""
    names = [step.name for step in recipe.transforms]
    if names.count(NAME) != 1:
        raise RecipeError(f"transforms: expected {NAME} once, given {', '.join(names) or 'none'}")
    place = names.index(NAME)
    step = recipe.transforms[place]
    config = replace(step.config, form="threshold", budgets=())
    steps = (*recipe.transforms[:place], step.model_copy(update={"config": config}))
    return recipe.model_copy(update={"transforms": steps}), config


def _inputs(
    model: VisionLanguage, source: LoadedVisionLanguageModel, samples: Sequence[ImagePrompt]
) -> list[tuple[list[int], torch.Tensor]]:
    """Each sample's token ids and pixels, as the runtime makes them."""
    tokenizer = source.load_tokenizer()
    if tokenizer is None:
        raise RecipeError(f"{source.spec} has no tokenizer: no prompt can be read")
    facts = image_facts_of(model, source)
    found = []
    for sample in samples:
        ids = list(tokenizer(sample.prompt).input_ids)
        check_prompt(ids, facts, True, model.decoder.max_positions)
        found.append((ids, torch.from_numpy(prepare(sample.image, facts, 1))))
    return found


def _stage(layer: int, counts: Sequence[int], budget: int) -> StageBudget:
    median, mean = statistics.median(counts), statistics.fmean(counts)
    return StageBudget(layer, min(counts), median, mean, max(counts), budget)
