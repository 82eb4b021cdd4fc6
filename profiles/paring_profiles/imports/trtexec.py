"""trtexec: the file of `--exportTimes`, one object a query after the warm-up, milliseconds.

https://github.com/NVIDIA/TensorRT, `samples/common/sampleReporting.cpp`, `exportJSONTrace`. `latencyMs` is
the way to the GPU, the computing, and the way back; older versions name the ways `inMs` and `outMs`.
"""

from __future__ import annotations

from pathlib import Path

from paring_runtimes.errors import ArtifactError

from ._row import Imported, finite, median_row, read_json

TITLE = "trtexec"
HELP = "the file of trtexec --exportTimes"
_NAMES = {
    "latencyMs": "latency: to the GPU, computing, and back",
    "computeMs": "computing on the GPU",
    "h2dMs": "to the GPU",
    "d2hMs": "from the GPU",
}
_EXPECTED = "an array of objects with 'latencyMs' and 'computeMs', as trtexec --exportTimes writes it"


def rows(path: Path) -> list[Imported]:
    """The median of each part over all queries.

    Raises:
        ArtifactError: not such a file.
    """
    told = read_json(path, _EXPECTED)
    if not isinstance(told, list) or not told or not all(isinstance(one, dict) for one in told):
        raise ArtifactError(f"{path}: expected {_EXPECTED}")
    missing = [key for key in ("latencyMs", "computeMs") if key not in told[0]]
    if missing:
        raise ArtifactError(f"{path}: {', '.join(missing)} is missing; expected {_EXPECTED}")
    unknown = ["model", "GPU", "batch size", "precision", "number of streams"]
    return [
        median_row(
            what,
            [finite(one.get(key), path, f"query {at}: {key}") for at, one in enumerate(told)],
            "measured by trtexec",
            unknown=unknown,
        )
        for key, what in _NAMES.items()
        if key in told[0]
    ]
