"""What is served: a table of addresses and what makes each page. No URL becomes a path of the disk."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paring_profiles.history import Row, Selection, query, stored_profile
from paring_profiles.imports import read_results
from paring_profiles.report import html, markdown, pareto
from paring_profiles.store import to_json
from paring_profiles.sweep import read_sweep
from paring_profiles.sweep.result import FILE_NAME
from paring_runtimes.errors import InputError, ParingError

HTML, TEXT, CSV, JSON = (
    f"{kind}; charset=utf-8" for kind in ("text/html", "text/plain", "text/csv", "application/json")
)
# Pages that paring's commands write into a folder, and what a list calls them.
WRITTEN = {
    "index.html": "report of variants",
    "report.html": "profile",
    "needle.html": "needle in a haystack",
    "simulation.html": "simulation",
    "plan.html": "plan",
}
_LISTED = 200  # stored profiles on the first page
_STORED = re.compile(r"/profile/(\d{1,18})/(report\.md|profile\.json)?")


@dataclass(frozen=True)
class Answer:
    """A body and its content type."""

    body: bytes
    kind: str


class Site:
    """Reports of sweeps, written report folders, and a store.

    Args:
        folders: of sweeps, or ones that a command wrote its report into.
        store: its file, or None.
        imported: files of `paring import -o`, shown in the reports of sweeps and of the store.

    Raises:
        InputError: a folder that is neither.
        ArtifactError: an imported file that is none.
    """

    def __init__(self, folders: Sequence[Path], store: Path | None, imported: Sequence[Path] = ()) -> None:
        self.store = store
        self.imported = [read_results(path) for path in imported]
        self.folders = [folder.resolve() for folder in folders]
        for folder in self.folders:
            if not (folder / FILE_NAME).is_file() and not _pages(folder):
                raise InputError(
                    f"{folder}: neither a sweep's folder nor one with a report of paring in it"
                    f" ({', '.join(WRITTEN)})"
                )
        self._lock = threading.Lock()
        self._made: dict[int, tuple[int, dict[str, Answer]]] = {}  # sweeps by place: time of the file, pages

    def get(self, path: str) -> Answer | None:
        """What lies at a URL's path; None for nothing.

        Raises:
            ParingError: it cannot be read or rendered.
        """
        if path == "/":
            return Answer(self._first().encode(), HTML)
        if self.store is not None and path == "/store/":
            stored = pareto.from_store(self.store, Selection(limit=_LISTED))
            found = pareto.with_imported(stored, self.imported)
            return Answer(pareto.render(found).encode(), HTML)
        one = _STORED.fullmatch(path)
        if one is not None and self.store is not None:
            return self._profile(self.store, int(one[1]), one[2])
        for place, folder in enumerate(self.folders):
            if (folder / FILE_NAME).is_file():
                name = path.removeprefix(f"/sweep/{place}/")
                if name != path:
                    return self._sweep(place, folder).get(name)
            else:
                name = path.removeprefix(f"/folder/{place}/")
                if name in _pages(folder):
                    return Answer((folder / name).read_bytes(), HTML)
        return None

    def _sweep(self, place: int, folder: Path) -> dict[str, Answer]:
        """A sweep's pages, made anew when its file has changed."""
        with self._lock:
            changed = (folder / FILE_NAME).stat().st_mtime_ns
            known = self._made.get(place)
            if known is None or known[0] != changed:
                found = pareto.with_imported(pareto.from_sweep(read_sweep(folder), folder), self.imported)
                made = {
                    "": Answer(pareto.render(found, pareto.pictures_of(found, folder)).encode(), HTML),
                    pareto.MARKDOWN: Answer(pareto.markdown(found).encode(), TEXT),
                    pareto.CSV: Answer(pareto.to_csv(found).encode(), CSV),
                    pareto.JSON: Answer(pareto.to_json(found).encode(), JSON),
                }
                if found.imported:
                    made[pareto.IMPORTED_CSV] = Answer(pareto.imported_csv(found).encode(), CSV)
                known = self._made[place] = (changed, made)
            return known[1]

    def _profile(self, store: Path, number: int, what: str | None) -> Answer | None:
        try:
            found = stored_profile(store, number)
        except InputError:
            return None
        makers: dict[str | None, Callable[[], Answer]] = {
            None: lambda: Answer(html.render(found).encode(), HTML),
            "report.md": lambda: Answer(markdown.render(found).encode(), TEXT),
            "profile.json": lambda: Answer(to_json(found).encode(), JSON),
        }
        return makers[what]()

    def _first(self) -> str:
        """The list of everything."""
        folders = []
        for place, folder in enumerate(self.folders):
            if (folder / FILE_NAME).is_file():
                links = [("report", f"/sweep/{place}/")]
                names = [pareto.MARKDOWN, pareto.CSV, pareto.JSON]
                names += [pareto.IMPORTED_CSV] if self.imported else []
                links += [(name, f"/sweep/{place}/{name}") for name in names]
                folders.append(("sweep", str(folder), links))
            else:
                pages = [(WRITTEN[name], f"/folder/{place}/{name}") for name in _pages(folder)]
                folders.append(("folder", str(folder), pages))
        rows, wrong = self._stored()
        runs: dict[int, list[Row]] = {}
        for row in rows:
            runs.setdefault(row.profile, []).append(row)
        context = {"folders": folders, "store": self.store, "runs": runs, "wrong": wrong}
        return html.page("served.html.j2", context)

    def _stored(self) -> tuple[list[Row], str]:
        if self.store is None:
            return [], ""
        try:
            return query(self.store, Selection(limit=_LISTED)), ""
        except ParingError as error:
            return [], str(error)


def _pages(folder: Path) -> list[str]:
    """Names of the pages in a folder that a command wrote; no link to another place is one."""
    return [name for name in WRITTEN if (folder / name).is_file() and not (folder / name).is_symlink()]
