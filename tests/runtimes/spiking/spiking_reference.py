"""A spiking simulator in float64 that is slow and plain: every node, every neuron, every step, no events.

Written from NIR's equations, apart from the runtime: what it says is what the runtime must say.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def convolve(
    x: np.ndarray, weight: np.ndarray, stride: Any, padding: Any, dilation: Any, groups: int
) -> np.ndarray:
    """[B, C, H, W] with weight [O, C / groups, h, w]."""
    stride, padding, dilation = (np.broadcast_to(np.asarray(v), 2) for v in (stride, padding, dilation))
    batch = len(x)
    out, inner, tall, wide = weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    height = (padded.shape[2] - dilation[0] * (tall - 1) - 1) // stride[0] + 1
    width = (padded.shape[3] - dilation[1] * (wide - 1) - 1) // stride[1] + 1
    y = np.zeros((batch, out, height, width))
    for o in range(out):
        first = o // (out // groups) * inner
        for a, b in np.ndindex(tall, wide):
            rows = a * dilation[0] + stride[0] * np.arange(height)
            columns = b * dilation[1] + stride[1] * np.arange(width)
            seen = padded[:, first : first + inner][:, :, rows][:, :, :, columns]
            y[:, o] += np.einsum("bchw,c->bhw", seen, weight[o, :, a, b].astype(np.float64))
    return y


def _pool(x: np.ndarray, node: Any, mean: bool) -> np.ndarray:
    kernel, stride, padding = (
        np.broadcast_to(np.asarray(v).reshape(-1), 2) for v in (node.kernel_size, node.stride, node.padding)
    )
    channels = x.shape[1]
    weight = np.ones((channels, 1, *kernel)) / (kernel.prod() if mean else 1)
    return convolve(x, weight, stride, padding, 1, channels)


class Reference:
    """Runs a nir.NIRGraph; `late` are the edges that carry the step before's value."""

    def __init__(self, graph: Any, late: set[tuple[str, str]] = frozenset(), dt: float = 1.0) -> None:
        self.graph, self.late, self.dt = graph, late, dt
        self.state: dict[str, np.ndarray] = {}
        self.before: dict[str, np.ndarray] = {}
        self.past: dict[str, list[np.ndarray]] = {}
        self.order = self._order()

    def _order(self) -> list[str]:
        left, done = list(self.graph.nodes), []
        while left:
            for name in left:
                needs = [a for a, b in self.graph.edges if b == name and (a, b) not in self.late]
                if all(one in done for one in needs):
                    done.append(name)
                    left.remove(name)
                    break
        return done

    def run(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """[T, B, ...] -> every node's values, [T, B, ...] each."""
        kept: dict[str, list[np.ndarray]] = {name: [] for name in self.order}
        for x in inputs:
            values: dict[str, np.ndarray] = {}
            for name in self.order:
                given = [
                    self.before.get(a, 0.0) if (a, b) in self.late else values[a]
                    for a, b in dict.fromkeys(self.graph.edges)
                    if b == name
                ]
                values[name] = self._node(name, sum(given) if given else x.astype(np.float64))
                kept[name].append(values[name])
            self.before = values
        return {name: np.stack(found) for name, found in kept.items()}

    def _node(self, name: str, x: np.ndarray) -> np.ndarray:
        node = self.graph.nodes[name]
        kind = type(node).__name__
        if kind in ("Affine", "Linear"):
            flat = x.reshape(len(x), -1) @ np.asarray(node.weight, np.float64).T
            return flat + (node.bias if kind == "Affine" else 0)
        if kind == "Conv2d":
            y = convolve(x, node.weight, node.stride, node.padding, node.dilation, int(node.groups))
            return y + np.asarray(node.bias)[:, None, None]
        if kind == "Conv1d":
            y = convolve(
                x[:, :, None], node.weight[:, :, None], (1, int(node.stride)), (0, int(node.padding)),
                (1, int(node.dilation)), int(node.groups),
            )  # fmt: skip
            return y[:, :, 0] + np.asarray(node.bias)[:, None]
        if kind in ("AvgPool2d", "SumPool2d"):
            return _pool(x, node, kind == "AvgPool2d")
        if kind == "Flatten":
            return x.reshape(len(x), -1)
        if kind == "Scale":
            return x * node.scale
        if kind == "Threshold":
            return (x > node.threshold).astype(np.float64)
        if kind == "Delay":
            past = self.past.setdefault(name, [])
            past.append(x)
            steps = np.broadcast_to(np.round(node.delay / self.dt).astype(int), x.shape[1:])
            found = np.zeros_like(x)
            for d in np.unique(steps):
                if d < len(past):
                    found[:, steps == d] = past[-1 - d][:, steps == d]
            return found
        if kind in ("Input", "Output"):
            return x
        return self._neuron(name, node, kind, x)

    def _neuron(self, name: str, node: Any, kind: str, x: np.ndarray) -> np.ndarray:
        v = self.state.get(name, np.zeros(x.shape))
        dt = self.dt
        if kind in ("I", "IF"):
            v = v + dt * node.r * x
        else:
            tau = node.tau_mem if kind.startswith("Cuba") else node.tau
            if kind.startswith("Cuba"):
                i = self.state.get(f"{name}.i", np.zeros(x.shape))
                i = i + dt / node.tau_syn * (node.w_in * x - i)
                self.state[f"{name}.i"] = x = i
            v = v + dt / tau * (node.v_leak - v + node.r * x)
        if kind in ("I", "LI", "CubaLI"):
            self.state[name] = v
            return v
        fired = v > node.v_threshold
        reset = getattr(node, "v_reset", None)
        self.state[name] = np.where(fired, 0.0 if reset is None else reset, v)
        return fired.astype(np.float64)
