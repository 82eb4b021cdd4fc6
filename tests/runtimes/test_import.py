"""What the package is called from outside, and what importing it may load."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import paring_runtimes
from paring_runtimes import errors

_LOADED = """
import json, sys
before = set(sys.modules)
import paring_runtimes
from paring_runtimes.engines import engines
engines()
import paring_runtimes.generation.open
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_the_public_names() -> None:
    assert set(paring_runtimes.__all__) == {
        "ArtifactError", "BoundRun", "EncodedImage", "EngineError", "Generation", "GenerativeSession",
        "InputError", "IntegrityError", "Manifest", "MissingExtraError", "ParingError", "Scores", "Session",
        "TensorSpec", "load", "read_manifest",
    }  # fmt: skip
    for name in paring_runtimes.__all__:
        assert callable(getattr(paring_runtimes, name))
    assert issubclass(errors.IntegrityError, paring_runtimes.ArtifactError)


def test_importing_loads_numpy_and_nothing_else_of_others() -> None:
    search = os.pathsep.join(path for path in sys.path if path)
    ran = subprocess.run(
        [sys.executable, "-c", _LOADED],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": search},
    )
    roots = {name.partition(".")[0] for name in json.loads(ran.stdout)}
    assert roots - set(sys.stdlib_module_names) == {"paring_runtimes", "numpy"}
