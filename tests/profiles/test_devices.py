from __future__ import annotations

import ctypes
import importlib.util
import sys

from paring_profiles.devices import cuda, devices


def test_every_file_is_a_device_with_a_reason_or_none():
    found = devices()
    assert list(found) == ["cpu", "cuda"]
    assert found["cpu"] is None
    assert all(reason is None or (reason and "\n" not in reason) for reason in found.values())


def test_a_missing_engine_is_told_with_its_mend(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else real(name)
    )
    assert devices()["cpu"].endswith("pip install 'paring[ort]'")


class _Driver:
    def __init__(self, status: int, count: int) -> None:
        self._status, self._count = status, count

    def cuInit(self, _flags: int) -> int:
        return self._status

    def cuDeviceGetCount(self, pointer) -> int:
        pointer._obj.value = self._count
        return 0


def test_what_keeps_a_gpu_away(monkeypatch):
    def no_driver(_name):
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", no_driver)
    assert "no NVIDIA driver" in cuda.why_not()
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: _Driver(100, 0))
    assert "finds no GPU (status 100)" in cuda.why_not()
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: _Driver(0, 1))
    engine = type(sys)("onnxruntime")
    engine.__spec__ = importlib.util.find_spec("json")
    engine.get_available_providers = lambda: ["CPUExecutionProvider"]
    monkeypatch.setitem(sys.modules, "onnxruntime", engine)
    assert "onnxruntime-gpu is missing" in cuda.why_not()
    engine.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert cuda.why_not() is None


def test_importing_the_package_loads_no_framework():
    import subprocess

    code = (
        "import sys, paring_profiles, paring_profiles.devices\n"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'cpuinfo') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
