"""NeuroBench: the JSON file of `Benchmark.save_benchmark_results`, metrics by their class's name.

https://github.com/NeuroBench/neurobench, `benchmarks/benchmark.py` and `metrics/`. Counts are means a sample;
synaptic operations leave out attention's products, for it knows linear, convolution and recurrent layers.
"""

from __future__ import annotations

from pathlib import Path

from paring_runtimes.errors import ArtifactError

from ._row import Imported, finite, read_json

TITLE = "NeuroBench"
HELP = "the JSON file of NeuroBench's save_benchmark_results"
_EXPECTED = "an object of metrics such as 'Footprint' and 'SynapticOperations', as NeuroBench writes it"
_COUNTED, _MEASURED = "counted by NeuroBench", "computed by NeuroBench over its test set"
# Metric -> quantity, unit, how it is known.
_METRICS = {
    "Footprint": ("memory of parameters and buffers", "bytes", _COUNTED),
    "ParameterCount": ("parameters", "", _COUNTED),
    "ConnectionSparsity": ("connection sparsity", "share", _COUNTED),
    "ActivationSparsity": ("activation sparsity", "share", _MEASURED),
    "MembraneUpdates": ("membrane updates", "a sample", _MEASURED),
    "ClassificationAccuracy": ("accuracy", "share", _MEASURED),
    "MSE": ("mean squared error", "", _MEASURED),
    "R2": ("R2", "", _MEASURED),
    "SMAPE": ("SMAPE", "", _MEASURED),
    "CocoMap": ("COCO mAP", "", _MEASURED),
}
_OPERATIONS = {
    "Effective_MACs": "multiply-accumulates without zeros",
    "Effective_ACs": "accumulates without zeros",
    "Dense": "operations if nothing were zero",
}


def rows(path: Path) -> list[Imported]:
    """Every metric; one that is not known keeps its own name, and its unit is told as unknown.

    Raises:
        ArtifactError: not such a file.
    """
    told = read_json(path, _EXPECTED)
    if not isinstance(told, dict) or not (told.keys() & (_METRICS.keys() | {"SynapticOperations"})):
        raise ArtifactError(f"{path}: expected {_EXPECTED}")
    unknown, found = ["model", "data", "number of samples", "number of steps"], []
    for name, value in told.items():
        if isinstance(value, dict):
            for key, one in value.items():
                quantity = _OPERATIONS.get(key, f"{name}.{key}")
                number = finite(one, path, f"{name}.{key}")
                row = Imported(name, quantity, number, "a sample", "mean", _MEASURED, unknown=unknown)
                found.append(row)
            continue
        quantity, unit, known = _METRICS.get(name, (name, "not told", _MEASURED))
        number = finite(value, path, name)
        found.append(Imported(name, quantity, number, unit, "over the test set", known, unknown=unknown))
    return found
