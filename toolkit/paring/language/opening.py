"""What every conversion of a language model begins with: gates that fit, and the text they are held on."""

from __future__ import annotations

from collections.abc import Callable

from paring_runtimes.errors import RecipeError

from ..data import TextData, load_data
from ..recipe import Recipe
from ..sources import LoadedLanguageModel
from .building import LanguageJob
from .perplexity import chunks_of


def open_job(recipe: Recipe, source: LoadedLanguageModel, progress: Callable[[str], None]) -> LanguageJob:
    """The job, its text read.

    Raises:
        RecipeError: gates or robustness of labelled images, or data that are no text.
    """
    if any(rule.metric != "perplexity" for rule in recipe.gates):
        raise RecipeError(f"{source.spec} is a language model: its gates hold perplexity, not top1")
    if recipe.robustness is not None:
        raise RecipeError(f"{source.spec} is a language model: robustness is of labelled images")
    chunks = None
    if recipe.data is not None:
        progress(f"reading {recipe.data.source}")
        data = load_data(recipe.data.source, limit=recipe.data.limit)
        if not isinstance(data, TextData):
            raise RecipeError(f"{recipe.data.source}: {source.spec} needs a text, as in text:FILE")
        chunks = chunks_of(data, source, recipe.data.chunk)
    return LanguageJob(recipe, source, chunks, progress)
