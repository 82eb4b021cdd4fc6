"""A sweep's trials and front as tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .output import console, table

if TYPE_CHECKING:
    from paring_profiles.sweep import Sweep, Trial


def show_front(sweep: Sweep) -> None:
    """The front, the likeliest first; then how the other trials ended."""
    from paring_profiles.sweep.tables import counts

    ahead = [one for one in sweep.front if one.place != "dominated"]
    show_trials(sweep, [sweep.trial(one.trial) for one in ahead], "the front")
    console.print(counts(sweep), highlight=False, soft_wrap=True)
    for sentence in (*sweep.left_out, *sweep.notes):
        console.print(f"note      {sentence}", highlight=False, soft_wrap=True)


def show_trials(sweep: Sweep, trials: Sequence[Trial], title: str) -> None:
    """A row a trial."""
    from paring_profiles.sweep.tables import columns, row

    table(
        f"{title} ({len(trials)} of {len(sweep.trials)} trials)",
        columns(sweep),
        [row(sweep, t) for t in trials],
    )
