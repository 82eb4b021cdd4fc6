"""What a sweep shall do, and what may not change when it is taken up again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paring.recipe import Recipe, build_recipe, dump_recipe
from paring.sources import answers_prompts
from paring_profiles.sweep import MEASURED_ENERGY, MEASURES, MODELLED_ENERGY, Objective, SweepSettings
from paring_runtimes.engines import engines
from paring_runtimes.errors import InputError, RecipeError
from paring_runtimes.suggest import near_miss

from .fitting import ONNX
from .space import Point, Space

SAMPLERS = ("tpe", "nsga2", "random", "grid")
AUTO, MODELLED = "auto", "modelled"  # beside meters' names
# "energy" is decided when the sweep begins, see `energy.py`: measured where there is a meter, else modelled.
OBJECTIVES = {
    "latency": "latency_relative",
    "p50": "latency_p50_ms",
    "p99": "latency_p99_ms",
    "throughput": "throughput_per_s",
    "accuracy": "drop",
    "size": "size_bytes",
    "memory": "peak_memory_bytes",
    "energy": MODELLED_ENERGY,
}
RUNS_FOR_P99 = 662  # see `paring_profiles.statistics`
BASELINE_ENGINES = ("onnxruntime", "openvino")


@dataclass(frozen=True)
class Plan:
    """A sweep to be run.

    Attributes:
        recipe: what the points change.
        space: the points.
        objectives: names from `OBJECTIVES`, at least one.
        output: the sweep's folder; it is made, or gone on in.
        trials: how many, all runs together; a finite space may have fewer points.
        sampler: one of `SAMPLERS`.
        seed: of the sampler, the inputs and the order of timing.
        batch: inputs a call, of what is timed.
        threads: of the engines.
        min_runs: timed calls of each model, at least; raised where p99 is an objective.
        min_seconds: timed seconds of each model, at least.
        prune_drop: give a trial up where the interval of its first images' drop lies above this share; None
            for never.
        prune_images: how many first images.
        timeout_s: of one trial's own work; waiting for its turn on the machine does not count.
        final: how many trials of the front the final round times together at most; 0 for none.
        allow: risks allowed by name.
        extend: go on although the space changed.
        energy: of that objective: "auto", "modelled", or a meter, as in "rapl", "hwmon:SENSOR" or
            "external:LOG.csv"; see `energy.py`.
    """

    recipe: Recipe
    space: Space
    objectives: tuple[str, ...]
    output: Path
    trials: int = 20
    sampler: str = "tpe"
    seed: int = 0
    batch: int = 1
    threads: int = 1
    min_runs: int = 100
    min_seconds: float = 3.0
    prune_drop: float | None = None
    prune_images: int = 200
    timeout_s: float = 1800.0
    final: int = 12
    allow: tuple[str, ...] = ()
    extend: bool = False
    energy: str = AUTO

    def settings(self) -> SweepSettings:
        """How trials are measured, as the result tells it."""
        runs = max(self.min_runs, RUNS_FOR_P99) if "p99" in self.objectives else self.min_runs
        return SweepSettings(
            batch=self.batch,
            threads=self.threads,
            min_runs=runs,
            min_seconds=self.min_seconds,
            seed=self.seed,
            sampler=self.sampler,
            trials=self.trials,
            prune_drop=self.prune_drop,
            prune_images=self.prune_images,
            timeout_s=self.timeout_s,
        )


def check(plan: Plan) -> list[Objective]:
    """The objectives of a plan whose energy is decided.

    Raises:
        InputError: a name that is none, a number that cannot be.
        RecipeError: an objective that the recipe gives no figure for, or a model that answers prompts.
        SourceError: there is no such model.
    """
    if plan.sampler not in SAMPLERS:
        close, listed = near_miss(plan.sampler, SAMPLERS), ", ".join(SAMPLERS)
        raise InputError(f"sampler {plan.sampler!r}{close}: expected one of {listed}")
    if plan.trials < 1:
        raise InputError(f"trials: expected at least 1, given {plan.trials}")
    if not plan.objectives or len(set(plan.objectives)) < len(plan.objectives):
        raise InputError(f"objectives: expected different ones of {', '.join(OBJECTIVES)}")
    for name in plan.objectives:
        if name not in OBJECTIVES:
            known = ", ".join(OBJECTIVES)
            raise InputError(f"objective {name!r}{near_miss(name, OBJECTIVES)}: expected some of {known}")
    if plan.recipe.model is not None and answers_prompts(plan.recipe.model, frozenset(plan.allow)):
        raise RecipeError(
            f"{plan.recipe.model} answers prompts, and a sweep is of models that take images: make its"
            " variants with `paring convert`, and measure them side by side with `paring profile A B`"
        )
    if "accuracy" in plan.objectives and plan.recipe.data is None:
        raise RecipeError(
            "the objective accuracy needs labelled images: add data to the recipe, as in {source: embedded}"
        )
    if plan.sampler == "grid":
        next(plan.space.grid())
    return [_objective(name, plan) for name in plan.objectives]


def _objective(name: str, plan: Plan) -> Objective:
    metered = name == "energy" and plan.energy != MODELLED
    named = MEASURES[MEASURED_ENERGY if metered else OBJECTIVES[name]]
    return Objective(name, named.measure, named.minimise, named.title, named.unit, named.provenance)


def recipe_of(plan: Plan, point: Point) -> tuple[Recipe, list[str]]:
    """The recipe of one point, and the "KEY=VALUE" texts that make it.

    Kernels that are compiled are split for the threads that they are timed with.

    Raises:
        RecipeError: the recipe does not take the point's values together.
    """
    plain, texts = dump_recipe(plan.recipe), plan.space.overrides(point)
    recipe = build_recipe(plain, "recipe", texts)
    if recipe.export.format != ONNX and recipe.export.threads is None:
        texts = [*texts, f"export.threads={plan.threads}"]
        recipe = build_recipe(plain, "recipe", texts)
    export = recipe.export.model_copy(update={"baseline": False})
    return recipe.model_copy(update={"export": export}), texts


def baseline_recipe(plan: Plan) -> Recipe:
    """The untransformed model in fp32 as ONNX, held to no gate."""
    overrides = ["transforms=[]", "export.precision=fp32", "export.format=onnx", "export.baseline=false"]
    overrides += ["calibration=null", "recover=null", "gates=[]"]
    return build_recipe(dump_recipe(plan.recipe), "recipe", overrides)


def baseline_engine() -> str:
    """What the baseline runs on.

    Raises:
        InputError: nothing here runs ONNX.
    """
    known = engines()
    for name in BASELINE_ENGINES:
        if known[name].why_not() is None:
            return name
    raise InputError("the baseline is ONNX, and no engine for it is here: pip install 'paring[ort]'")


def engine_of(point: Point, recipe: Recipe) -> str:
    """The engine that a point is measured on."""
    chosen = point.get("engine")
    if chosen is not None:
        return str(chosen)
    wanted = recipe.export.format
    fitting = [name for name, engine in engines().items() if wanted in engine.FORMATS]
    usable = [name for name in fitting if engines()[name].why_not() is None]
    return next(iter([name for name in BASELINE_ENGINES if name in usable] or usable or fitting), wanted)


def digest_of(recipe: Recipe) -> str:
    """SHA-256 over what decides an artifact's files: the whole recipe but its gates."""
    body = {key: value for key, value in dump_recipe(recipe).items() if key not in ("gates", "recover")}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def identity(plan: Plan) -> dict[str, Any]:
    """What makes figures of one sweep comparable, as plain values."""
    settings = plan.settings()
    measuring: dict[str, Any] = {
        "batch": settings.batch,
        "threads": settings.threads,
        "min_runs": settings.min_runs,
    }
    if "energy" in plan.objectives:
        measuring["energy"] = plan.energy
    return {
        "recipe": dump_recipe(plan.recipe),
        "objectives": list(plan.objectives),
        "measuring": measuring,
        "space": {**plan.space.written, "engines here": _engines_here(plan.space)},
    }


def _engines_here(space: Space) -> list[str]:
    return [str(name) for one in space.parameters if one.name == "engine" for name in one.choices]


def differences(before: Any, now: Any, key: str = "") -> list[str]:
    """What changed between two identities, a line for each value."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = list(dict.fromkeys([*before, *now]))
        return [
            line
            for name in names
            for line in differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
        ]
    return [] if before == now else [f"{key}: {json.dumps(before)} -> {json.dumps(now)}"]
