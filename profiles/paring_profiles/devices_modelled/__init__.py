"""Devices whose peak and bandwidth are published, and the bounds that follow from them. Modelled.

One YAML file a device, found by its file name; every constant says where it is from. A bound is no prediction
of speed: what a device really needs is measured, or predicted by a model that was fitted to measurements.
"""

from __future__ import annotations

from .device import Device, device, devices_modelled, read_device
from .roofline import Bound, LayerBound, bounds, relative_energy, roofline

__all__ = [
    "Bound",
    "Device",
    "LayerBound",
    "bounds",
    "device",
    "devices_modelled",
    "read_device",
    "relative_energy",
    "roofline",
]
