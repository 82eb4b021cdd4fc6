"""AMD GPUs: AMD SMI's energy accumulator of each, through zeus; its power where that is not right.

zeus compares accumulator and power when it opens them, and trusts the first only where they agree.
"""

from __future__ import annotations

from paring_profiles.energy import zeus_gpus
from paring_profiles.energy.meter import Availability, Meter

RESOLUTION = zeus_gpus.RESOLUTION
GPUS_ALONE = True
VENDOR = zeus_gpus.Vendor(
    module="zeus.device.gpu.amd",
    available="amdsmi_is_available",
    gpus="AMDGPUs",
    driver="AMD SMI",
    tool="amd-smi",
    covers="visible AMD GPUs, not the host; all processes",
)


def probe(_choice: str = "") -> Availability:
    """Tell whether AMD SMI answers, and tells energy or power."""
    return zeus_gpus.probe(VENDOR)


def open_meter(_choice: str = "") -> Meter:
    """Return the meter of all visible GPUs.

    Raises:
        Refused: see `probe`.
    """
    return zeus_gpus.open_meter(VENDOR)
