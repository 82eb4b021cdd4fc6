"""What paring raises.

::

    ParingError
     ├── ArtifactError          a folder is no artifact, or its manifest is wrong
     │    ├── IntegrityError    a file's SHA-256 differs from its manifest
     │    └── OutputError       an artifact cannot go where it shall
     ├── InputError             an input to `Session.run` has the wrong name, dtype or shape
     ├── EngineError            an engine refused the model
     ├── MissingExtraError      a part of paring is not installed; the message names the command
     ├── RecipeError            a recipe file or override is wrong
     ├── SourceError            a model or its weights cannot be loaded
     ├── TransformRefused       a transform does not fit the model
     ├── StoreError             the store of profiles cannot be used
     ├── RecoveryError          a recovery cannot start, go on or be used
     ├── ExportError            a model cannot be exported
     ├── ParityError            an artifact does not compute what its source computes
     └── GateError              a quality gate failed
"""

from __future__ import annotations


class ParingError(Exception):
    """Root of every error that paring raises on purpose. `exit_code` is the command's exit status."""

    exit_code = 1


class ArtifactError(ParingError):
    """A folder is no artifact, or its manifest is wrong."""

    exit_code = 5


class IntegrityError(ArtifactError):
    """A file's SHA-256 differs from its manifest."""


class OutputError(ArtifactError):
    """An artifact cannot go where it shall: something is there, or no folder can be made."""

    exit_code = 2


class InputError(ParingError, ValueError):
    """An input to `Session.run` has the wrong name, dtype or shape."""

    exit_code = 2


class EngineError(ParingError):
    """An engine refused the model."""

    exit_code = 5


class MissingExtraError(ParingError, ImportError):
    """A part of paring is not installed. The message is one line that names the command."""

    exit_code = 3

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'paring[{extra}]'")


class RecipeError(ParingError, ValueError):
    """A recipe file or override is wrong: the message names file, line and key."""

    exit_code = 2


class SourceError(ParingError, ValueError):
    """A model or its weights cannot be loaded."""

    exit_code = 2


class TransformRefused(ParingError, ValueError):
    """A transform does not fit the model: the message lists every reason."""

    exit_code = 4


class StoreError(ParingError):
    """The store of profiles cannot be used: not there, locked, read-only, damaged, or of a newer schema."""

    exit_code = 2


class RecoveryError(ParingError, ValueError):
    """A recovery cannot start, go on or be used: data, checkpoints, folder or learning rate do not fit."""

    exit_code = 2


class ExportError(ParingError):
    """A model cannot be exported."""

    exit_code = 4


class ParityError(ParingError):
    """An artifact does not compute what its source computes."""

    exit_code = 6


class GateError(ParingError):
    """A quality gate failed."""

    exit_code = 7
