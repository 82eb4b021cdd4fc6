"""What an artifact's folder tells beside a sweep's figures: tokens, operations, modelled energy by part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paring_profiles.report import details
from paring_runtimes.errors import MissingExtraError, ParingError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Seen:
    """What was seen.

    Attributes:
        recipe: of the manifest.
        transforms: of the manifest.
        tokens_per_layer: None where the manifest tells none.
        quality: of the manifest.
        parity: in a sentence.
        macs: multiply-accumulates a call; None: not counted, and `missing` says why.
        parts_uj: the ledger's energy of a call by part, uJ.
        method: of that energy, or why there is none.
        missing: what could not be seen, in sentences.
    """

    recipe: dict[str, Any] = field(default_factory=dict)
    transforms: list[dict[str, Any]] = field(default_factory=list)
    tokens_per_layer: list[int] | None = None
    quality: dict[str, Any] | None = None
    parity: str = ""
    macs: int | None = None
    parts_uj: dict[str, float] = field(default_factory=dict)
    method: str = ""
    missing: list[str] = field(default_factory=list)


class Looker:
    """Looks into the artifacts of one sweep, each once.

    Args:
        folder: the sweep's; nothing outside of it is opened.
        batch: inputs a call.
        graphs: whether graphs are read, for operations and modelled energy, or manifests only.
    """

    def __init__(self, folder: Path, batch: int, graphs: bool = True) -> None:
        self.folder, self.batch, self.graphs = folder.resolve(), batch, graphs
        self._seen: dict[str, Seen] = {}

    def path(self, artifact: str | None) -> Path | None:
        """The artifact's folder, or None: none, elsewhere, or gone."""
        if artifact is None or "://" in artifact:
            return None
        path = (self.folder / artifact).resolve()
        inside = path.is_relative_to(self.folder) and path.is_dir()
        return path if inside else None

    def look(self, artifact: str | None) -> Seen:
        """What is seen of an artifact; nothing is raised, `missing` says what went wrong."""
        if artifact is None:
            return Seen()
        if artifact not in self._seen:
            path = self.path(artifact)
            gone = Seen(missing=[f"the artifact {artifact} is not in the sweep's folder: not looked into"])
            self._seen[artifact] = gone if path is None else self._look(path)
        return self._seen[artifact]

    def _look(self, path: Path) -> Seen:
        from paring_runtimes import read_manifest

        try:
            manifest = read_manifest(path)
        except ParingError as error:
            return Seen(missing=[str(error)])
        counted: dict[str, Any] = {"method": "not modelled: graphs were not read"}
        if self.graphs and manifest.format != "onnx":
            counted = {"method": f"not modelled: the ledger reads ONNX, not {manifest.format}"}
        elif self.graphs:
            counted = _count(path / manifest.entry, self.batch)
        return Seen(
            recipe=dict(manifest.recipe),
            transforms=list(manifest.transforms),
            tokens_per_layer=manifest.graph.get("tokens_per_layer"),
            quality=manifest.quality,
            parity=details.parity_sentence(manifest.parity) if manifest.parity else "Not checked.",
            **counted,
        )


def _count(model: Path, batch: int) -> dict[str, Any]:
    """Operations and modelled energy of an ONNX file, or why there are none."""
    from paring_profiles import inputs, macs
    from paring_profiles.ledger import ledger
    from paring_profiles.onnx_graph import input_specs, open_graph

    try:
        shapes = inputs.concrete_shapes(input_specs(open_graph(model)), batch, {}, model)
        counted, found = macs.count(model, shapes), ledger(model, shapes)
    except MissingExtraError:
        raise
    except (ParingError, LookupError, ValueError, OSError) as error:
        said = f"operations are not counted: {error}"
        return {"method": f"not modelled: {error}", "missing": [said]}
    left_out = f", without {', '.join(found.unpriced)}" if found.unpriced else ""
    unknown = [f"operations leave out {', '.join(counted.unknown)}"] if counted.unknown else []
    return {
        "macs": None if counted.unknown else counted.total,
        "parts_uj": {part: value for part, value in found.energy_uj().items() if value},
        "method": f"ledger, {found.chip}, batch {batch}, accounting {found.accounting}{left_out}",
        "missing": unknown,
    }
