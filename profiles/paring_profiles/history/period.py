"""Since when: "7d", "2026-01-31", "2026-01-31T12:00" or the number of a stored profile."""

from __future__ import annotations

import re
import sqlite3
import time
from datetime import datetime, timezone

from paring_runtimes.errors import InputError

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def since_seconds(connection: sqlite3.Connection, told: str) -> int:
    """Return the first second of a period, since 1970, UTC.

    Args:
        connection: the store that a profile's number is looked up in.
        told: an age (minutes, hours, days or weeks: "30m", "12h", "7d", "2w"), a day or a time (UTC where it
            names no zone), or a profile's number.

    Raises:
        InputError: none of those, or no profile of that number.
    """
    if age := re.fullmatch(r"(\d{1,6})([mhdw])", told):
        return int(time.time()) - int(age[1]) * _SECONDS[age[2]]
    if re.fullmatch(r"\d{1,18}", told):
        found = connection.execute("SELECT created_s FROM profiles WHERE id = ?", (int(told),)).fetchone()
        if found is None:
            raise InputError(f"since: no stored profile has the number {told}; see `paring history`")
        return int(found[0])
    try:
        when = datetime.fromisoformat(told)
    except ValueError as error:
        raise InputError(
            f"since: expected an age (12h, 7d, 2w), a day (2026-01-31), a time or a profile's number,"
            f" given {told!r}"
        ) from error
    return int((when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp())
