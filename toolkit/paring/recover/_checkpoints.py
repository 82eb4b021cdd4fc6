"""Checkpoints that a kill at any moment leaves whole: safetensors for the tensors, JSON for the rest.

`step-N.json` is written last and holds the SHA-256 of `step-N.safetensors`: together they are the
checkpoint, and a pair that does not fit is skipped for the one before it. The last two are kept.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from paring_runtimes.artifact import fsync, sha256_of
from paring_runtimes.errors import RecoveryError

KEPT = 2
NAME = re.compile(r"step-(\d+)\.json")
State = dict[str, torch.Tensor]


@dataclass
class Progress:
    """How far a training is: what a checkpoint holds besides tensors.

    Attributes:
        step: steps done, over all stages.
        seconds: spent training, over all runs.
        losses: now and then a step's losses, by name, and its learning rate.
    """

    step: int = 0
    seconds: float = 0.0
    losses: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        folder: where they are.
        identity: what the training is; a checkpoint of another one is refused.
        seconds: between two of them.
        warn: told of a checkpoint that is skipped.
    """

    folder: Path
    identity: Mapping[str, Any]
    seconds: float = 60.0
    warn: Callable[[str], None] = lambda text: None

    def save(self, tensors: State, progress: Progress) -> None:
        """Write one, then remove those before the last two."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"step-{progress.step:09d}.safetensors"
        whole(file, lambda draft: save_file(tensors, draft))
        about = {**asdict(progress), "identity": dict(self.identity), "sha256": sha256_of(file)}
        text = json.dumps(about, indent=1)
        whole(file.with_suffix(".json"), lambda draft: draft.write_text(text, encoding="utf-8"))
        for old in self._newest_first()[KEPT:]:
            old.unlink(missing_ok=True)
            old.with_suffix(".safetensors").unlink(missing_ok=True)

    def latest(self) -> tuple[State, Progress] | None:
        """The newest whole checkpoint; None where there is none.

        Raises:
            RecoveryError: it is of another training.
        """
        for file in self._newest_first():
            try:
                about = json.loads(file.read_text(encoding="utf-8"))
                if sha256_of(file.with_suffix(".safetensors")) != about.pop("sha256"):
                    raise ValueError("its tensors are not those that were written")
                identity = about.pop("identity")
                found = load_file(file.with_suffix(".safetensors")), Progress(**about)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
                self.warn(f"skipped the damaged checkpoint {file}: {error}")
                continue
            self._check(identity)
            return found
        return None

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted((file for file in self.folder.iterdir() if NAME.fullmatch(file.name)), reverse=True)

    def _check(self, identity: Any) -> None:
        own = json.loads(json.dumps(dict(self.identity)))
        other = [key for key in own if not isinstance(identity, dict) or identity.get(key) != own[key]]
        if other:
            raise RecoveryError(
                f"{self.folder}: checkpoints of another training: other {', '.join(other)}; go on with the"
                " same settings, or begin again with --restart"
            )


def whole(file: Path, write: Callable[[Path], Any]) -> None:
    """Write `file` by way of a temporary one, so that it is there whole or not at all."""
    draft = file.with_name(f".{file.name}.tmp")
    write(draft)
    fsync(draft)
    draft.replace(file)
    fsync(file.parent)
