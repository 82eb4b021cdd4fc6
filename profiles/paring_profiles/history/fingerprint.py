"""What tells one machine from another, and one state of its software from the next."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from paring_profiles.compare import COST_SETTINGS
from paring_profiles.result import Machine, Profile

_GIB = 1 << 30
_DIGITS = 12


@dataclass(frozen=True)
class Host:
    """The parts of a machine that stay: its hardware and its kind of system.

    Two machines of one type are the same one here, as those of a cloud are. Kernel, Python and load are
    none of it: they change on a machine, and belong to the environment or to the noise. Memory counts in
    whole GiB, for a kernel keeps a little of it back, each version another little. What cannot be read of a
    machine (one that is measured from another) is None, and so are the `gpus` of one without.
    """

    cpu: str
    cores_physical: int | None
    cores_logical: int | None
    memory_gib: int | None
    system: str
    virtualised: bool | None
    gpus: str | None = None

    @property
    def fingerprint(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of all parts; of the GPUs where there are some."""
        parts = asdict(self)
        if self.gpus is None:  # as before GPUs were told
            del parts["gpus"]
        return hashlib.sha256(as_json(parts).encode()).hexdigest()[:_DIGITS]


def host(machine: Machine) -> Host:
    """Return what stays of a machine as a profile tells it."""
    return Host(
        cpu=machine.cpu,
        cores_physical=machine.cores_physical,
        cores_logical=machine.cores_logical,
        memory_gib=None if machine.memory_bytes is None else round(machine.memory_bytes / _GIB),
        system=machine.system.partition("-")[0],
        virtualised=machine.virtualised,
        gpus=", ".join(machine.gpus) or None,
    )


def settings(profile: Profile) -> dict[str, Any]:
    """Return the settings that change what a call costs; how long was measured is none of them."""
    told = asdict(profile.settings)
    return {key: told[key] for key in COST_SETTINGS}


def environment(profile: Profile) -> dict[str, Any]:
    """Return the versions of tools, Python and system that a profile was made with."""
    return {**profile.tools, "python": profile.machine.python, "system": profile.machine.system}


def as_json(value: Any) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
