"""Alpha by measurement: what is timed, and that a recipe takes it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from paring.cli import app
from paring.cli.mixture_costs_command import recipe_lines
from paring.mixture_costs import mixture_costs
from paring.recipe import build_recipe, parse_recipe
from paring.sources import load_model
from paring.transforming import transform
from paring.transforms import _mixture
from paring_profiles.result import Settings
from paring_runtimes.errors import RecipeError

pytest.importorskip("cpuinfo")
BRIEF = Settings(min_runs=8, min_seconds=0.0, max_seconds=3.0)


def test_every_shape_is_timed_and_the_recipe_takes_it_back() -> None:
    step = {"primitive_mixture": {"layers": ["*.mlp.fc1", "*.0.attention.query"]}}
    recipe = build_recipe({"model": "embedded", "transforms": [step]})
    found = mixture_costs(recipe, load_model("embedded"), BRIEF)
    assert {(one.shape, one.layers, one.tokens) for one in found.shapes} == {
        ("96x384", 8, 101),
        ("96x96", 1, 101),
    }
    for one in found.shapes:
        assert sum(one.alpha) == pytest.approx(1)
        assert all(timed.p50_ms > 0 and len(timed.samples_ms) >= 1 for timed in one.latency)
    assert found.provenance == "measured"
    assert "onnxruntime" in found.measured_on
    again = parse_recipe("\n".join(["model: embedded", *recipe_lines(found)]), "printed")
    model = transform(load_model("embedded").model, again.model_copy(update={"transforms": (
        again.transforms[0].model_copy(update={"config": found.config}),
    )}))  # fmt: skip
    plans = [layer.plan for layer in _mixture.mixtures(model).values()]
    assert {plan.costs for plan in plans} == {"measured"}
    by_shape = {one.shape: one.alpha for one in found.shapes}
    for plan in plans:
        assert plan.alpha == pytest.approx(by_shape[plan.shape], abs=1e-3)
        assert plan.shares[0] * plan.alpha[0] == pytest.approx(plan.shares[1] * plan.alpha[1])


def test_a_recipe_without_a_mixture_is_refused() -> None:
    recipe = build_recipe({"model": "embedded", "transforms": ["token_prune"]})
    with pytest.raises(RecipeError, match="expected primitive_mixture once, given token_prune"):
        mixture_costs(recipe, load_model("embedded"), BRIEF)


def test_the_command_prints_json() -> None:
    options = ["--min-runs", "6", "--max-seconds", "1", "--json", "--set"]
    done = CliRunner().invoke(
        app(), ["mixture-costs", "-m", "embedded", *options, "primitive_mixture.layers=['*.0.mlp.fc1']"]
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert list(told["config"]["latency_ms"]) == ["96x384"]
