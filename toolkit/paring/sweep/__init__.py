"""Sweeps: many variants of one recipe, each converted, verified and measured; what is best is a front.

::

    from paring.recipe import load_recipe
    from paring.sweep import Plan, load_space, run

    recipe = load_recipe("recipe.yaml")
    run(Plan(recipe, load_space("space.yaml", recipe), ("latency", "accuracy"), Path("OUT")))

Importing this loads neither PyTorch nor Optuna. What comes out is `paring_profiles.sweep`'s to read.
"""

from __future__ import annotations

from .plan import OBJECTIVES, SAMPLERS, Plan
from .run import run
from .space import Space, load_space, parse_space, space_schema

__all__ = ["OBJECTIVES", "SAMPLERS", "Plan", "Space", "load_space", "parse_space", "run", "space_schema"]
