"""paring_profiles: measure artifacts side by side, and say what the figures are worth.

::

    from paring_profiles import Settings, profile, write

    found = profile(["vit/", "vit-pruned/"], Settings(batch_sizes=(1, 8), threads=2))
    print(found.comparisons[0].latency_ratio, found.comparisons[0].latency_ratio_ci95)
    write(found, "profile.json")
"""

from __future__ import annotations

from paring_profiles.compare import SideBySide, compare
from paring_profiles.macs import MacCount, count
from paring_profiles.measure import profile
from paring_profiles.remote.measure import profile_remote
from paring_profiles.result import Candidate, Comparison, Latency, Machine, Profile, Settings
from paring_profiles.store import read, write

__all__ = [
    "Candidate",
    "Comparison",
    "Latency",
    "MacCount",
    "Machine",
    "Profile",
    "Settings",
    "SideBySide",
    "compare",
    "count",
    "profile",
    "profile_remote",
    "read",
    "write",
]
