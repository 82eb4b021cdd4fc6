"""What a recovery writes: `weights.safetensors`, `recipe.yaml` and `recovery.json`, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from paring_runtimes.artifact import new_folder, sha256_of
from paring_runtimes.errors import RecoveryError

from ..recipe import Recipe, recipe_yaml
from ..sources._weights import fit, read_weights
from ..transforms._vision_language import find
from ._connector import State, put_in

WEIGHTS, RECIPE, RECORD = "weights.safetensors", "recipe.yaml", "recovery.json"
SCHEMA = 1


@dataclass(frozen=True)
class Recovery:
    """A recovery on disk. `record` is its `recovery.json`."""

    folder: Path
    record: Mapping[str, Any]

    def check(self, recipe: Recipe, source_digest: str) -> None:
        """Whether its weights belong to what the recipe makes.

        Raises:
            RecoveryError: with what differs.
        """
        if structure(recipe) != self.record["structure"]:
            raise RecoveryError(
                f"{self.folder}: the recovery is of other transforms: {json.dumps(self.record['structure'])},"
                f" and the recipe has {json.dumps(structure(recipe))}"
            )
        known = self.record["source"]
        if source_digest != known["digest"]:
            raise RecoveryError(
                f"{self.folder}: the recovery began with {known['spec']}, digest {known['digest'][:12]}, and"
                f" the recipe's model has {source_digest[:12]}: the original must be the same"
            )

    def load_into(self, model: nn.Module) -> nn.Module:
        """The transformed model with the recovered weights. `model` is changed.

        Raises:
            SourceError: names and shapes that differ.
        """
        file = self.folder / WEIGHTS
        state, seeing = read_weights(file, frozenset()), find(model)
        if seeing is None:
            fit(model, state, file)
        else:
            put_in(seeing, state, file)
        return model

    def facts(self) -> dict[str, Any]:
        """What a manifest says of it."""
        kept = ("steps", "seed", "data", "accuracy", "created")
        return {"weights_sha256": self.record["weights_sha256"], **{key: self.record[key] for key in kept}}


def structure(recipe: Recipe) -> dict[str, Any]:
    """What decides on the names and shapes of a transformed model's tensors, as JSON values."""
    steps = [{step.name: asdict(step.config)} for step in recipe.transforms]
    found: dict[str, Any] = json.loads(
        json.dumps({"transforms": steps, "image_size": recipe.export.image_size})
    )
    return found


def read_recovery(folder: Path) -> Recovery:
    """Read a recovery's folder, and check the weights against their SHA-256.

    Raises:
        RecoveryError: it is none, or is damaged.
    """
    file = folder / RECORD
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        schema, digest, _, _ = (record[key] for key in ("schema", "weights_sha256", "structure", "source"))
    except OSError as error:
        raise RecoveryError(f"{folder}: no recovery: {RECORD} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RecoveryError(f"{file}: no record of a recovery ({error})") from None
    if schema != SCHEMA:
        raise RecoveryError(f"{file}: of schema {schema}, and this paring reads {SCHEMA}")
    weights = folder / WEIGHTS
    if not weights.is_file() or sha256_of(weights) != digest:
        raise RecoveryError(f"{weights}: missing, or not the file that was written (SHA-256 {digest})")
    return Recovery(folder, record)


def write_recovery(
    folder: Path, overwrite: bool, weights: State, recipe: Recipe, record: Mapping[str, Any]
) -> Recovery:
    """Write a recovery's folder. `weights` are all of a model's, or what `_connector` says was trained.

    Raises:
        OutputError: something is there.
    """
    from safetensors.torch import save_file

    with new_folder(folder, overwrite, RECORD) as draft:
        state = {name: value.detach().contiguous().clone() for name, value in weights.items()}
        save_file(state, draft / WEIGHTS)
        (draft / RECIPE).write_text(recipe_yaml(recipe), encoding="utf-8")
        whole = {"schema": SCHEMA, "weights_sha256": sha256_of(draft / WEIGHTS), **record}
        whole["structure"] = structure(recipe)
        text = json.dumps(whole, indent=1)
        (draft / RECORD).write_text(text, encoding="utf-8")
    return Recovery(folder, json.loads(text))
