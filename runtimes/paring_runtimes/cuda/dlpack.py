"""DLPack without a library: takes arrays of others without a copy, and hands ours to others.

The layout is DLPack's 1.0 for unversioned capsules ("dltensor"), https://dmlc.github.io/dlpack/latest/c_api.html.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from paring_runtimes.errors import InputError

CPU, CUDA, PINNED, MANAGED = 1, 2, 3, 13
_KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}
_NAMES = {code: kind for kind, code in _KINDS.items()}
_NAME, _USED = b"dltensor", b"used_dltensor"


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter)]

_python = ctypes.pythonapi
_new = _python.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_pointer = _python.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_rename = _python.PyCapsule_SetName
_rename.restype, _rename.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]
_valid = _python.PyCapsule_IsValid
_valid.restype, _valid.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]
# A destructor gets the dying capsule as a plain address: as an object it would be counted anew.
_Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_raw_valid = ctypes.PyDLL(None).PyCapsule_IsValid
_raw_valid.restype, _raw_valid.argtypes = ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]
_raw_pointer = ctypes.PyDLL(None).PyCapsule_GetPointer
_raw_pointer.restype, _raw_pointer.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]
_given: dict[int, tuple[Any, ...]] = {}  # what a capsule that is still out needs, by its tensor's address


@dataclass
class Taken:
    """Another library's array, where it lies. Keep it as long as its memory is used.

    Attributes:
        device: DLPack's kind of device and its number, (2, 0) for the first GPU.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    device: tuple[int, int]
    nbytes: int
    _managed: Any = None

    def __del__(self) -> None:
        managed, self._managed = self._managed, None
        if managed is not None and managed.contents.deleter:
            managed.contents.deleter(managed)


def take(name: str, array: Any, stream: int | None = None) -> Taken:
    """Take an array through `__dlpack__`; nothing is copied.

    Args:
        name: what the array is called in an error.
        array: anything with `__dlpack__` and `__dlpack_device__`: PyTorch's, CuPy's, JAX's, ours.
        stream: the handle of the stream that will read it; None where it lies on the host.

    Raises:
        InputError: no such array, one that is not C-contiguous, or of a type that numpy has not.
    """
    if not hasattr(array, "__dlpack__") or not hasattr(array, "__dlpack_device__"):
        raise InputError(f"input {name!r}: expected an array with __dlpack__, given {type(array).__name__}")
    kind, number = (int(one) for one in array.__dlpack_device__())
    capsule = array.__dlpack__() if kind in (CPU, PINNED) else array.__dlpack__(stream=stream)
    managed = ctypes.cast(_pointer(capsule, _NAME), ctypes.POINTER(_Managed))
    _rename(capsule, _USED)
    tensor = managed.contents.tensor
    taken = Taken(0, tuple(tensor.shape[: tensor.ndim]), np.dtype(bool), (kind, number), 0, managed)
    if tensor.code not in _NAMES or tensor.lanes != 1:
        raise InputError(f"input {name!r}: an element type that numpy has not (DLPack code {tensor.code})")
    taken.dtype = np.dtype(f"{_NAMES[tensor.code]}{tensor.bits // 8}")
    if tensor.strides and tuple(tensor.strides[: tensor.ndim]) != _strides(taken.shape) and taken.shape:
        raise InputError(f"input {name!r}: not C-contiguous; make it so first (.contiguous())")
    taken.address = (tensor.data or 0) + tensor.byte_offset
    taken.nbytes = math.prod(taken.shape) * taken.dtype.itemsize
    return taken


def give(
    address: int, shape: tuple[int, ...], dtype: np.dtype[Any], device: tuple[int, int], keep: Any
) -> Any:
    """Return a capsule of C-contiguous memory. `keep` lives until whoever takes the array lets go of it."""
    sizes = (ctypes.c_int64 * max(len(shape), 1))(*shape)
    managed = _Managed()
    managed.tensor = _Tensor(
        address, *device, len(shape), _KINDS[dtype.kind], dtype.itemsize * 8, 1, sizes, None, 0
    )
    managed.deleter = _on_release
    key = ctypes.addressof(managed)
    _given[key] = (managed, sizes, keep)
    return _new(key, _NAME, ctypes.cast(_on_end, ctypes.c_void_p))


def _let_go(managed: Any) -> None:
    _given.pop(ctypes.addressof(managed.contents), None)


def _untaken(capsule: int) -> None:
    """Let go of what nobody took."""
    if _raw_valid(capsule, _NAME):
        _given.pop(_raw_pointer(capsule, _NAME), None)


_on_release, _on_end = _Deleter(_let_go), _Destructor(_untaken)


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """In elements, of a C-contiguous array. Sizes of 1 may have any stride; callers who mind are few."""
    found, step = [], 1
    for size in reversed(shape):
        found.append(step)
        step *= size
    return tuple(reversed(found))
