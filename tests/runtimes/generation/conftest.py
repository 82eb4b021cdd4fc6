"""One tiny language model for all tests of this folder, in each form."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("tokenizers")
sys.path.insert(0, str(Path(__file__).parent))

import tiny_lm

from paring_runtimes import GenerativeSession, load


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact with both graphs: read only."""
    return tiny_lm.save_artifact(tmp_path_factory.mktemp("lm") / "tiny")


@pytest.fixture(scope="session")
def session(artifact: Path) -> Iterator[GenerativeSession]:
    with load(artifact, threads=1) as opened:
        yield opened


@pytest.fixture
def new_artifact(tmp_path: Path) -> Callable[..., Path]:
    """Writes an artifact of one's own: `told` replaces entries of `generation`."""
    return lambda **changes: tiny_lm.save_artifact(tmp_path / "own", **changes)
