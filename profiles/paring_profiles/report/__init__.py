"""Reports: one HTML file that loads nothing, the same in Markdown, and the profile as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paring_profiles import store
from paring_profiles.report import html, markdown
from paring_profiles.report.headline import headline
from paring_profiles.result import Profile
from paring_profiles.whole import write_whole

__all__ = ["ReportPaths", "headline", "write", "write_whole"]


@dataclass(frozen=True)
class ReportPaths:
    """Where a report was written."""

    html: Path
    json: Path
    markdown: Path


def write(profile: Profile, folder: Path, *, curve: dict[str, Any] | None = None) -> ReportPaths:
    """Writes `report.html`, `report.md` and `profile.json` into `folder`, made when missing.

    Each file appears whole or not at all, and none is written before all could be rendered.

    Args:
        profile: what was measured; candidates whose folder holds `samples.npz` get pictures.
        folder: where to.
        curve: points of an accuracy/latency curve: `{"metric", "points": [{"label", "transform",
            "keep_ratio", "accuracy", "accuracy_ci95", "latency_ratio", "latency_ratio_ci95"}]}`.

    Raises:
        MissingExtraError: the `report` extra is not installed.
        ArtifactError: a candidate's `samples.npz` is damaged.
    """
    page, text = html.render(profile, curve), markdown.render(profile, curve)
    folder.mkdir(parents=True, exist_ok=True)
    paths = ReportPaths(folder / "report.html", folder / "profile.json", folder / "report.md")
    store.write(profile, paths.json)
    write_whole(paths.markdown, text)
    write_whole(paths.html, page)
    return paths
