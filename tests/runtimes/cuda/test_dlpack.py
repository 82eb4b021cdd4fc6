"""DLPack in plain Python, against numpy's and PyTorch's own."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from paring_runtimes.cuda import dlpack
from paring_runtimes.errors import InputError


class Ours:
    """An array of numpy's, handed out by our capsules."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return (dlpack.CPU, 0)

    def __dlpack__(self, **asked: Any) -> Any:
        array = self.array
        return dlpack.give(array.ctypes.data, array.shape, array.dtype, (dlpack.CPU, 0), array)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "int8", "uint8", "bool", "float64"])
@pytest.mark.parametrize("shape", [(3, 4), (), (1, 5, 1), (0, 2)])
def test_numpy_reads_ours_in_place(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    seen = np.from_dlpack(Ours(array))
    assert seen.dtype == array.dtype
    assert seen.shape == shape
    assert np.shares_memory(seen, array) or not array.size
    np.testing.assert_array_equal(seen, array)


def test_what_is_lent_is_let_go() -> None:
    torch = pytest.importorskip("torch")
    gc.collect()
    before = len(dlpack._given)
    array = np.arange(6, dtype=np.float32)
    seen = [np.from_dlpack(Ours(array)), torch.from_dlpack(Ours(array))]
    never_taken = Ours(array).__dlpack__()
    assert len(dlpack._given) == before + 3
    array[0] = 7
    assert [float(one[0]) for one in seen] == [7, 7]
    del seen, never_taken
    gc.collect()
    assert len(dlpack._given) == before


def test_others_are_taken_in_place() -> None:
    torch = pytest.importorskip("torch")
    array = np.arange(12, dtype=np.int32).reshape(3, 4)
    taken = dlpack.take("x", array)
    assert (taken.address, taken.shape, taken.dtype, taken.nbytes) == (
        array.ctypes.data,
        (3, 4),
        array.dtype,
        48,
    )
    tensor = torch.ones(2, 3)
    taken = dlpack.take("x", tensor[1:])
    assert taken.address == tensor.data_ptr() + 12
    assert taken.device == (dlpack.CPU, 0)


def test_what_cannot_be_taken() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match="given list"):
        dlpack.take("x", [1.0])
    with pytest.raises(InputError, match="not C-contiguous"):
        dlpack.take("x", torch.ones(3, 4).T)
    with pytest.raises(InputError, match="DLPack code 4"):
        dlpack.take("x", torch.ones(3, dtype=torch.bfloat16))
