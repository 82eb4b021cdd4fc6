"""What every test needs: no network, few threads, a GPU only where there is one, one small artifact."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Before torch is imported, and for what tests start: the models are tiny, and `-n 2` runs two processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What tests profile is nothing for the user's own store.
os.environ["PARING_STORE"] = str(Path(tempfile.mkdtemp(prefix="paring-store-")) / "history.sqlite")

FACTORIES = '''
from torch import nn


def convnet():
    """[B, 1, 28, 28] -> [B, 10]"""
    layers = [nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)]
    return sized(nn.Sequential(*layers), (1, 28, 28))


def vit():
    """[B, 1, 28, 28] -> [B, 10]"""
    from timm.models.vision_transformer import VisionTransformer

    vit = VisionTransformer(
        img_size=28, patch_size=7, in_chans=1, num_classes=10, embed_dim=48, depth=2, num_heads=3
    )
    return sized(vit, (1, 28, 28))


def sized(model, shape):
    model.input_shape = shape
    return model


class KeepsBrightPatches(nn.Module):
    """Drops patches by a threshold: how many is known only from the values."""

    input_shape = (1, 28, 28)

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Conv2d(1, 8, 7, 7), nn.Linear(8, 10)

    def forward(self, pixels):
        tokens = self.embed(pixels).flatten(2).transpose(1, 2)
        kept = tokens[tokens.mean(-1) > 0]
        if kept.shape[0] == 0:
            kept = tokens[:, 0]
        return self.head(kept).mean(0, keepdim=True).expand(pixels.shape[0], -1)
'''


@pytest.fixture(scope="session")
def factories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python file that builds small models: `convnet`, `vit`, `KeepsBrightPatches`."""
    file = tmp_path_factory.mktemp("factories") / "factories.py"
    file.write_text(FACTORIES, encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def convnet_artifact(factories: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of `convnet`, untransformed. Copy it before changing it."""
    import paring

    folder = tmp_path_factory.mktemp("artifacts") / "convnet"
    paring.convert(f"py:{factories}:convnet", folder, verify={"batch_sizes": [1, 2], "seeds": [0]})
    return folder


@pytest.fixture
def cpu_time_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only meter: a package that draws 5 W, and 20 W more for each core that this process keeps busy."""
    import paring_profiles.meters
    from paring_profiles import latency
    from paring_profiles.energy import windows
    from paring_profiles.energy.counter import Counter
    from paring_profiles.energy.kinds import CounterMeter
    from paring_profiles.energy.meter import Facts

    monkeypatch.setattr(windows, "SHORTEST_S", 0.06)
    monkeypatch.setattr(latency, "_LINGER_MAX_SECONDS", 0.02)
    begin_s, used_s = time.perf_counter(), time.process_time()

    def read() -> dict[str, float]:
        idle_j = 5.0 * (time.perf_counter() - begin_s)
        return {"package-0": int(1e6 * (idle_j + 20.0 * (time.process_time() - used_s)))}

    how = Counter(1e-6, 262143328850, 2000.0, 1e-3)
    facts = Facts("package-0", ("package-0",), ("package-0",), 2.0**-14, 1e-3, 50, "a counter of CPU time")
    module = SimpleNamespace(open_meter=lambda _choice: CounterMeter(facts, {"package-0": how}, read))
    monkeypatch.setattr(paring_profiles.meters, "modules", lambda: {"rapl": module})


def pytest_collection_finish() -> None:
    """Take what the imports made, which stays, out of the garbage collector's rounds.

    An export makes so many objects that the rounds over all of them are a seventh of its time.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip GPU checks where no GPU is, with that as the reason."""
    wanted = [item for item in items if item.get_closest_marker("gpu")]
    if not wanted:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanted:
            item.add_marker(pytest.mark.skip(reason="no CUDA GPU on this machine: not run"))
