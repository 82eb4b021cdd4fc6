"""Every meter that is found keeps the same promises; zeus has what meters use of it."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import paring_profiles.meters as package
from paring_profiles.energy import zeus_gpus
from paring_profiles.energy.kinds import CounterMeter, PowerMeter
from paring_profiles.energy.meter import Availability, Meter, Refused
from paring_profiles.meters import amd, nvml

FOUND = package.meters()
LIBRARIES = {"zeus", "pynvml", "amdsmi", "torch", "onnxruntime"}


@pytest.fixture(params=sorted(FOUND))
def meter(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"{package.__name__}.{request.param}")


def test_every_file_is_a_meter() -> None:
    assert set(FOUND) == {path.stem for path in Path(package.__file__).parent.glob("[!_]*.py")}
    assert list(FOUND) == sorted(FOUND)


def test_it_says_what_it_measures_and_how_finely(meter: ModuleType) -> None:
    assert meter.__doc__
    assert meter.__doc__.splitlines()[0].endswith(".")
    assert meter.RESOLUTION
    said = meter.probe()
    assert isinstance(said, Availability)
    assert said.covers.strip()
    assert "\n" not in said.covers + (said.sentence() or "")


def test_it_opens_where_it_is_present_and_says_why_not_elsewhere(meter: ModuleType) -> None:
    if meter.probe().why_not is not None:
        with pytest.raises(Refused):
            meter.open_meter()
        return
    opened = meter.open_meter()
    assert isinstance(opened, Meter)
    facts = opened.facts
    assert set(facts.total) <= set(facts.domains)
    assert facts.total
    assert facts.resolution_j > 0
    assert facts.update_period_s > 0
    assert facts.updates_a_window >= 10


def test_no_module_imports_a_library() -> None:
    lines = [f"import {package.__name__}.{name}" for name in FOUND]
    code = "\n".join([*lines, "import sys", "print(*sys.modules)"])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert not LIBRARIES & set(ran.stdout.split())


@pytest.mark.parametrize("vendor", [nvml.VENDOR, amd.VENDOR], ids=["nvml", "amd"])
def test_zeus_has_what_is_used_of_it(vendor: zeus_gpus.Vendor) -> None:
    pytest.importorskip("zeus")
    module = importlib.import_module(vendor.module)
    assert list(inspect.signature(getattr(module, vendor.available)).parameters) == []
    gpus = getattr(module, vendor.gpus)
    assert all(p.default is not p.empty for p in list(inspect.signature(gpus).parameters.values()))
    units = {"get_total_energy_consumption": "mJ", "get_instant_power_usage": "mW"}
    for name in ("get_name", "supports_get_total_energy_consumption", *units):
        method = getattr(gpus, name)
        assert list(inspect.signature(method).parameters) == ["self", "gpu_index"]
        assert units.get(name, "") in (inspect.getdoc(method) or "")
    assert callable(gpus.__len__)


def test_zeus_counts_apples_parts_in_millijoules() -> None:
    pytest.importorskip("zeus")
    from paring_profiles.meters.apple import _FIELDS

    module = importlib.import_module("zeus.device.soc.apple")
    assert list(inspect.signature(module.apple_silicon_is_available).parameters) == []
    assert list(inspect.signature(module.AppleSilicon).parameters) == []
    read = module.AppleSilicon.get_total_energy_consumption
    assert list(inspect.signature(read).parameters) == ["self"]
    assert set(_FIELDS.values()) <= set(module.AppleSiliconMeasurement.__dataclass_fields__)


def _gpus(energy_mj: list[int], power_mw: int | Exception, counts: bool):
    """Real `zeus` GPUs (its abstract classes), of made-up boards."""
    common = importlib.import_module("zeus.device.gpu.common")

    class Board(common.EmptyGPUs):
        def __len__(self) -> int:
            return len(energy_mj)

        def get_name(self, gpu_index: int) -> str:
            return f"board {gpu_index}"

        def supports_get_total_energy_consumption(self, gpu_index: int) -> bool:
            return counts

        def get_total_energy_consumption(self, gpu_index: int) -> int:
            return energy_mj[gpu_index]

        def get_instant_power_usage(self, gpu_index: int) -> int:
            if isinstance(power_mw, Exception):
                raise power_mw
            return power_mw

    return Board()


def _vendor(monkeypatch: pytest.MonkeyPatch, gpus: object) -> zeus_gpus.Vendor:
    pytest.importorskip("zeus")
    module = importlib.import_module(nvml.VENDOR.module)
    monkeypatch.setattr(module, nvml.VENDOR.available, lambda: True)
    monkeypatch.setattr(module, nvml.VENDOR.gpus, lambda: gpus)
    return nvml.VENDOR


def test_gpus_are_counted_in_millijoules(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("zeus")
    energy_mj = [5000, 7000]
    opened = zeus_gpus.open_meter(_vendor(monkeypatch, _gpus(energy_mj, 1, counts=True)))
    assert isinstance(opened, CounterMeter)
    assert "board 0, board 1" in opened.facts.covers
    with opened:
        begin = opened.mark()
        energy_mj[:] = [5300, 7010]
        assert opened.joules(begin, opened.mark()) == {"gpu-0": 0.3, "gpu-1": pytest.approx(0.01)}


@pytest.mark.parametrize(("energy_mj", "counts"), [([0], True), ([9], False)])
def test_a_gpu_without_a_counter_never_measures_zero(
    monkeypatch: pytest.MonkeyPatch, energy_mj: list[int], counts: bool
) -> None:
    pytest.importorskip("zeus")
    opened = zeus_gpus.open_meter(_vendor(monkeypatch, _gpus(energy_mj, 75_000, counts)))
    assert isinstance(opened, PowerMeter)
    assert "sampled and integrated" in opened.facts.method


def test_gpus_that_tell_nothing_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("zeus")
    silent = _vendor(monkeypatch, _gpus([0], RuntimeError("Not Supported"), counts=True))
    with pytest.raises(Refused, match=r"neither energy nor power \(a counter that reads 0; Not Supp"):
        zeus_gpus.open_meter(silent)
    broken = _gpus([9], 1, counts=True)
    monkeypatch.setattr(type(broken), "get_name", lambda *_: 1 / 0)
    with pytest.raises(Refused, match=r"zeus cannot read NVML's GPUs \(division by zero\)"):
        zeus_gpus.open_meter(_vendor(monkeypatch, broken))
    with pytest.raises(Refused, match="shows no GPU: see nvidia-smi"):
        zeus_gpus.open_meter(_vendor(monkeypatch, _gpus([], 1, counts=True)))


def test_without_zeus_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "zeus" else real(name))
    assert nvml.probe().sentence() == "zeus is not installed: pip install 'paring[energy]'"
