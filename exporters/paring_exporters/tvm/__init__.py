"""Kernels for TVM 0.27: each is a function of TIR, written for the features that its target has."""

from paring_runtimes.errors import MissingExtraError

try:
    import tvm  # noqa: F401
except ImportError as error:
    raise MissingExtraError("compiling with TVM", "tvm") from error
