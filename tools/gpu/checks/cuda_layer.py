"""The CUDA layer that engines stand on: memory, streams, graphs, and arrays shared with PyTorch."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from . import Check
from ._needs import bindings, first, gpu, torch_cuda

ROUNDS = 20


def memory() -> dict[str, Any]:
    """Arrays of several types and sizes come back as they were; buffers grow and are freed."""
    from paring_runtimes.cuda.array import upload
    from paring_runtimes.cuda.calls import checked, cudart
    from paring_runtimes.cuda.memory import DeviceBuffer, Growing

    rng = np.random.default_rng(0)
    for shape in ((1,), (3, 5), (0, 4), (), (1 << 20,)):
        for dtype in ("float32", "float16", "int64", "bool"):
            array = (rng.standard_normal(shape) * 9).astype(dtype)
            np.testing.assert_array_equal(upload(array).numpy(), array)
    free = checked(cudart().cudaMemGetInfo())[0]
    growing = Growing(DeviceBuffer)
    for size in (1 << 20, 1 << 10, 256 << 20):
        assert growing.of(size).nbytes >= size
    used = free - checked(cudart().cudaMemGetInfo())[0]
    assert used >= 256 << 20
    del growing
    left = free - checked(cudart().cudaMemGetInfo())[0]
    assert left < 32 << 20, f"{left} bytes were not freed"
    return {"largest_bytes": 256 << 20, "not_freed_bytes": left}


def pinned() -> dict[str, Any]:
    """Copies from pinned memory against copies from ordinary memory."""
    from paring_runtimes.cuda.memory import DeviceBuffer, PinnedBuffer
    from paring_runtimes.cuda.stream import Stream

    nbytes = 64 << 20
    device, stream, lying = DeviceBuffer(nbytes), Stream(), PinnedBuffer(nbytes)
    plain = np.zeros(nbytes, np.uint8)
    lying.view((nbytes,), np.dtype(np.uint8))[:] = 7
    times = {}
    for name, address in (("pinned", lying.address), ("pageable", plain.ctypes.data)):
        rounds = [stream.milliseconds(lambda at=address: stream.upload(device.address, at, nbytes))
                  for _ in range(5)]  # fmt: skip
        times[f"{name}_gb_per_s"] = nbytes / 1e6 / sorted(rounds)[2]
    stream.upload(device.address, lying.address, nbytes)
    stream.download(plain.ctypes.data, device.address, nbytes)
    stream.wait()
    assert (plain == 7).all()
    return times


def graph() -> dict[str, Any]:
    """A captured graph does what was captured, on the inputs of the day, again and again."""
    from paring_runtimes.cuda.memory import DeviceBuffer, PinnedBuffer
    from paring_runtimes.cuda.stream import Stream
    from paring_runtimes.errors import EngineError

    nbytes, stream = 1 << 16, Stream()
    source, target = PinnedBuffer(nbytes), PinnedBuffer(nbytes)
    first_, second = DeviceBuffer(nbytes), DeviceBuffer(nbytes)
    views = [one.view((nbytes,), np.dtype(np.uint8)) for one in (source, target)]

    def work() -> None:
        stream.upload(first_.address, source.address, nbytes)
        stream.copy(second.address, first_.address, nbytes)
        stream.download(target.address, second.address, nbytes)

    views[1][:] = 0
    captured = stream.captured(work)
    assert (views[1] == 0).all(), "capturing ran it"
    for value in range(1, ROUNDS):
        views[0][:] = value
        captured.launch()
        stream.wait()
        assert (views[1] == value).all()
    try:
        stream.captured(stream.wait)  # waiting cannot be captured
    except EngineError:
        pass
    else:
        raise AssertionError("what cannot be captured was captured")
    again = Stream()
    return {
        "graph_us": 1e3 * min(stream.milliseconds(captured.launch) for _ in range(ROUNDS)),
        "calls_us": 1e3 * min(stream.milliseconds(work) for _ in range(ROUNDS)) if again.handle else 0.0,
    }


def shared_with_torch() -> dict[str, Any]:
    """PyTorch reads our arrays where they lie, and we read PyTorch's, without a copy."""
    import gc

    import torch

    from paring_runtimes.cuda import dlpack
    from paring_runtimes.cuda.array import upload
    from paring_runtimes.cuda.stream import Stream

    gc.collect()
    before = len(dlpack._given)
    for dtype in ("float32", "float16", "int64"):
        array = np.arange(24).reshape(2, 3, 4).astype(dtype)
        ours = upload(array)
        theirs = torch.from_dlpack(ours)
        assert theirs.data_ptr() == ours.address
        assert theirs.is_cuda
        np.testing.assert_array_equal(theirs.cpu().numpy(), array)
        theirs += 1
        torch.cuda.synchronize()
        np.testing.assert_array_equal(ours.numpy(), array + 1)
        tensor = torch.arange(10, device="cuda", dtype=theirs.dtype)
        taken = dlpack.take("x", tensor, Stream().handle)
        assert taken.address == tensor.data_ptr()
        assert taken.device == (dlpack.CUDA, 0)
        del ours, theirs, taken
    gc.collect()
    assert len(dlpack._given) == before, "what was lent was not let go"
    return {"torch": torch.__version__}


def threads() -> dict[str, Any]:
    """Several threads, each with its stream and buffers, at once."""
    from paring_runtimes.cuda.array import upload

    wrong: list[int] = []

    def one(number: int) -> None:
        rng = np.random.default_rng(number)
        for _ in range(ROUNDS):
            array = rng.standard_normal(4096, dtype=np.float32)
            if not np.array_equal(upload(array).numpy(), array):
                wrong.append(number)

    pool = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    assert not wrong
    return {"threads": len(pool), "rounds": ROUNDS}


def _needs() -> str | None:
    return first(gpu(), bindings())


def _needs_torch() -> str | None:
    return first(_needs(), torch_cuda())


CHECKS = (
    Check("cuda: memory", _needs, memory),
    Check("cuda: pinned memory", _needs, pinned),
    Check("cuda: graphs", _needs, graph),
    Check("cuda: threads", _needs, threads),
    Check("cuda: arrays shared with PyTorch", _needs_torch, shared_with_torch),
)
