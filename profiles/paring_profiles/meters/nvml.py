"""NVIDIA GPUs: NVML's energy counter of each board, through zeus; its power before Volta.

It sees whole boards with all that runs on them, MIG slices together, and nothing of the host.
"""

from __future__ import annotations

from paring_profiles.energy import zeus_gpus
from paring_profiles.energy.meter import Availability, Meter

RESOLUTION = zeus_gpus.RESOLUTION
GPUS_ALONE = True
VENDOR = zeus_gpus.Vendor(
    module="zeus.device.gpu.nvidia",
    available="nvml_is_available",
    gpus="NVIDIAGPUs",
    driver="NVML",
    tool="nvidia-smi",
    covers="the boards of visible NVIDIA GPUs, not the host; all processes",
)


def probe(_choice: str = "") -> Availability:
    """Tell whether NVML answers, and tells energy or power."""
    return zeus_gpus.probe(VENDOR)


def open_meter(_choice: str = "") -> Meter:
    """Return the meter of all visible GPUs.

    Raises:
        Refused: see `probe`.
    """
    return zeus_gpus.open_meter(VENDOR)
