"""NIR: runs a spiking network event by event, without PyTorch. Needs numba and h5py.

Through `paring_runtimes.load` such a network answers as the network it was converted from: [B, ...] in, coded
into T steps as the file's metadata says (`steps`, `coding`, `scale`, `seed`), the mean of each output over
the steps out. For steps, events, state and counts open it with `paring_runtimes.spiking.open_spiking`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paring_runtimes.engines import Options
from paring_runtimes.errors import EngineError, InputError, MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paring_runtimes.spiking.session import SpikingSession

NAME = "nir"
FORMATS = {"nir": ".nir"}

_NEEDED = ("numba", "h5py")


def why_not() -> str | None:
    """Return None when numba and h5py are here, otherwise the command that installs them."""
    try:
        _check_installed()
    except MissingExtraError as error:
        return str(error)
    return None


def open_session(path: Path, options: Options) -> NirSession:
    """Open a NIR file.

    Raises:
        MissingExtraError: numba or h5py is not installed.
        InputError: a provider other than the CPU.
        EngineError: the file is damaged or holds what cannot be run.
    """
    _check_installed()
    for name in options.providers or ():
        if name.lower() not in ("cpu", "cpuexecutionprovider"):
            raise InputError(f"providers: no {name!r} in engine nir; available: cpu")
    if options.provider_options:
        raise InputError("provider_options: engine nir has none")
    if options.profile_to is not None:
        raise InputError("profile_to: engine nir writes no profile of its own")
    from paring_runtimes.spiking.session import open_spiking

    return NirSession(open_spiking(path, threads=options.threads))


class NirSession:
    """A spiking network as one call. Fulfils `paring_runtimes.engines.NativeSession`.

    Attributes:
        spiking: the session behind it.
    """

    def __init__(self, spiking: SpikingSession) -> None:
        from importlib import metadata

        self.spiking = spiking
        self.version = f"{NAME} (numba {metadata.version('numba')})"
        self.providers: tuple[str, ...] = ("cpu",)
        self.inputs, self.outputs = spiking.inputs, spiking.outputs

    def run(self, names: list[str], feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Compute the outputs `names`; safe from several threads at once, which wait for each other."""
        from paring_runtimes.spiking.encoders import encode

        spiking = self.spiking
        if spiking.steps is None:
            raise EngineError(
                f"{spiking.path}: its metadata does not say how many steps to run; open it with "
                "paring_runtimes.spiking.open_spiking and give them"
            )
        told = spiking.told
        coded = {
            name: encode(array, told.coding, spiking.steps, told.scale, told.seed)
            for name, array in feeds.items()
        }
        result = spiking.run(coded, spiking.steps, count=False)
        return [result.outputs[name].mean(0) for name in names]

    def bind(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]
    ) -> Callable[[], None]:
        """Return a call that computes `outputs` from `inputs` in place."""

        def execute() -> None:
            for array, value in zip(outputs.values(), self.run(list(outputs), inputs), strict=True):
                array[...] = value

        return execute

    def end_profiling(self) -> Path:
        """Refuse: there is no profiler.

        Raises:
            EngineError: always.
        """
        raise EngineError(f"{self.spiking.path}: opened without a profile; engine nir has none")


def _check_installed() -> None:
    for name in _NEEDED:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError("running a spiking network", "spikes")
