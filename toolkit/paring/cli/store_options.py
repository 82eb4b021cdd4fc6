"""What the commands that use the store of profiles share: options, and what their values mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from paring_profiles.history import Selection

Store = Annotated[
    Path | None,
    typer.Option(help="the store's file; default: the environment's PARING_STORE, or the user's data folder"),
]
Machine = Annotated[
    str | None,
    typer.Option(help="only of this machine: the beginning of its fingerprint, or `this`"),
]
OneCase = Annotated[
    list[str] | None,
    typer.Option("--case", help="only this: batch=1, tokens=128 or phase=decode; repeatable"),
]
Label = Annotated[list[str] | None, typer.Option(help="KEY=VALUE; repeatable")]
_CASE_KEYS = {"batch": "batch_size", "tokens": "prompt_tokens", "phase": "phase"}


def place(store: Path | None) -> Path:
    """The store that is meant."""
    from paring_profiles.history import default_place

    return store or default_place()


def labels(items: Sequence[str] | None) -> dict[str, str]:
    """Labels, from `KEY=VALUE`."""
    found = {}
    for item in items or ():
        key, equals, value = item.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{item}: KEY=VALUE is needed, for example branch=main")
        found[key] = value
    return found


def selection(
    artifacts: Sequence[str],
    machine: str | None,
    case: Sequence[str] | None,
    label: Sequence[str] | None,
    **more: Any,
) -> Selection:
    """What the options select.

    Args:
        artifacts: names, or paths of artifacts, of which only one can be meant.
        machine: see `Machine`.
        case: see `OneCase`.
        label: see `Label`.
        more: other fields of `Selection`.
    """
    from paring_profiles.history import Selection

    paths = [item for item in artifacts if Path(item).exists()]
    if paths and len(artifacts) > 1:
        raise typer.BadParameter(f"{paths[0]} is a path; give that alone, or names")
    return Selection(
        names=[] if paths else artifacts,
        artifact=_digest(Path(paths[0])) if paths else None,
        machine=_fingerprint() if machine == "this" else machine,
        case=_case(case),
        labels=labels(label),
        **more,
    )


def _case(items: Sequence[str] | None) -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    for item in items or ():
        key, _, value = item.partition("=")
        if key not in _CASE_KEYS or not (value.isdigit() or (key == "phase" and value)):
            raise typer.BadParameter(f"--case {item}: batch=N, tokens=N or phase=NAME is needed")
        found[_CASE_KEYS[key]] = value.replace(" ", "_") if key == "phase" else int(value)
    return found


def _digest(path: Path) -> str:
    from paring_profiles.candidates import artifact_digest
    from paring_runtimes import read_manifest

    return artifact_digest(path, read_manifest(path) if path.is_dir() else None)


def _fingerprint() -> str:
    from paring_profiles.history.fingerprint import host
    from paring_profiles.machine import describe

    return host(describe()).fingerprint
