"""What a recovery of any kind of model has in common: its checkpoints, its loop, and what is told of it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..recipe import Recipe, Recover, dump_recipe
from ..versions import tool_versions
from ._checkpoints import Checkpoints
from ._loop import Batched, Told, Trainer
from ._schedule import Span


@dataclass(frozen=True)
class Call:
    """How `recover` was called, beside the recipe; see there."""

    output: Path
    overwrite: bool
    restart: bool
    accelerator: Any
    progress: Callable[[str], None]
    watch: Callable[[Told], None]

    def trainer(
        self,
        batches: Batched,
        stages: tuple[Span, ...],
        wanted: Recover,
        identity: Mapping[str, Any],
        trained_only: bool = False,
    ) -> Trainer:
        """The loop, where the last checkpoint left it.

        Raises:
            RecoveryError: the checkpoints are of another training.
        """
        folder = self.output.with_name(f"{self.output.name}.checkpoints")
        checkpoints = Checkpoints(folder, identity, wanted.checkpoint_seconds, self.progress)
        if self.restart and self.accelerator.is_main_process:
            checkpoints.remove()
        self.accelerator.wait_for_everyone()
        trainer = Trainer(
            self.accelerator,
            batches,
            checkpoints,
            stages[-1].end,
            wanted.weight_decay,
            wanted.clip,
            self.watch,
            trained_only=trained_only,
        )
        done = trainer.resume()
        if done:
            self.progress(f"going on after step {done} of {trainer.steps}")
        return trainer

    def record(
        self,
        recipe: Recipe,
        trainer: Trainer,
        stages: tuple[Span, ...],
        notes: list[str],
        **more: Any,
    ) -> dict[str, Any]:
        """What `recovery.json` says of the training, with `more`."""
        wanted = recipe.recover or Recover()
        return {
            **more,
            "steps": trainer.steps,
            "seconds": round(trainer.progress.seconds, 3),
            "seed": wanted.seed,
            "stages": [asdict(span) for span in stages],
            "recover": dump_recipe(recipe)["recover"],
            "losses": trainer.progress.losses,
            "notes": notes,
            "device": str(self.accelerator.device),
            "processes": self.accelerator.num_processes,
            "threads": torch.get_num_threads(),
            "tools": tool_versions(),
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        }


def settings(wanted: Recover) -> dict[str, Any]:
    """What of the recipe makes two trainings the same one, by the name under which a user knows it."""
    keys = wanted.model_dump(mode="json", exclude={"checkpoint_seconds", "data"})
    return {f"recover.{key}": value for key, value in keys.items()}
