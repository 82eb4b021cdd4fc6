"""Which operations a spiking network can take over, each recognised by itself.

An operation is *weights* (convolution, linear layer), *pool* (an average), *shape* (flattening), *affine*
(batch norm in inference, constants added or multiplied), *pad*, *max_pool*, *add*, *rectifier* (ReLU, ReLU6:
what becomes neurons), *identity*, or unsupported with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import Node

from .advice import advice
from .layers import Affine, MaxPool, ZeroPad, convolution, linear

Constants = Mapping[Node, torch.Tensor]


class Unsupported(Exception):
    """Not this form of it; the message says what is wrong and what would be right."""


@dataclass(frozen=True)
class Operation:
    """One operation of a network.

    Attributes:
        node: in the exported graph.
        place: the path of the module that ran it; a function called in a module's own code has a name behind
            that path, as in `layer1.0.functional_relu`.
        name: of the operation, as PyTorch has it: relu, conv2d, ...
        kind: see the module.
        inputs: the nodes of the activations that go in.
        modules: what computes it, one after the other; none for identity, add and unsupported.
        reason: why it is unsupported, else empty.
        macs: multiplications and additions for one input.
    """

    node: Node
    place: str
    name: str
    kind: str
    inputs: tuple[Node, ...]
    modules: tuple[nn.Module, ...] = ()
    reason: str = ""
    macs: int = 0


Made = tuple[str, tuple[nn.Module, ...]]
Rule = Callable[[Node, dict[str, Any], Constants], Made]
IDENTITIES = frozenset(
    {
        "dropout",
        "dropout_",
        "feature_dropout",
        "alias",
        "clone",
        "contiguous",
        "detach",
        "detach_",
        "lift_fresh",
    }
)


def recognised(node: Node, constants: Constants) -> Operation:
    """What one node of an exported graph does."""
    name = str(node.target).removeprefix("aten.").partition(".")[0]
    plain = name.removesuffix("_")
    inputs = tuple(given for given in node.all_input_nodes if given not in constants)
    place, macs = _place(node, plain), _macs(node, plain)
    try:
        if name in IDENTITIES:
            return Operation(node, place, plain, "identity", inputs)
        rule = RULES.get(plain)
        if rule is None:
            raise Unsupported(advice(plain))
        kind, modules = rule(node, bound(node), constants)
    except Unsupported as error:
        return Operation(node, place, plain, "unsupported", inputs, (), str(error), macs)
    return Operation(node, place, plain, kind, inputs, modules, "", macs)


def bound(node: Node) -> dict[str, Any]:
    """A node's arguments by their names, defaults among them."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {}
    names = [argument.name for argument in schema.arguments]
    found = {argument.name: argument.default_value for argument in schema.arguments}
    return {**found, **dict(zip(names, node.args, strict=False)), **node.kwargs}


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in node.meta["val"].shape)


def _place(node: Node, name: str) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return f"functional_{name}"
    path, kind = stack[-1]
    path = str(path).partition("@")[0]
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    own = kind.startswith("torch.nn.") or name in ("conv1d", "conv2d", "linear", "batch_norm")
    if own and path:
        return path
    return f"{path}.functional_{name}" if path else f"functional_{name}"


def _macs(node: Node, name: str) -> int:
    """Of convolutions, linear layers and products of two activations, for one input of the batch."""
    if name not in ("conv1d", "conv2d", "conv3d", "linear", "matmul", "bmm", "scaled_dot_product_attention"):
        return 0
    outputs = math.prod(_shape(node)[1:])
    if name == "scaled_dot_product_attention":  # q k^T and its product with v
        query, key = (_shape(node.args[at]) for at in (0, 1))
        return 2 * math.prod(query[1:]) * key[-2]
    given = node.args[1] if name != "matmul" and name != "bmm" else node.args[0]
    assert isinstance(given, Node)
    if name in ("matmul", "bmm"):
        return outputs * _shape(given)[-1]
    return outputs * math.prod(_shape(given)[1:])


def _constant(given: Any, constants: Constants, what: str) -> torch.Tensor | None:
    if given is None:
        return None
    if given not in constants:
        raise Unsupported(f"its {what} is computed from the input; only trained weights convert")
    return constants[given].float()


def _weights(given: dict[str, Any], constants: Constants) -> tuple[torch.Tensor, torch.Tensor | None]:
    weight = _constant(given["weight"], constants, "weight")
    assert weight is not None
    if given["input"] in constants:
        raise Unsupported("its input is a constant")
    return weight, _constant(given["bias"], constants, "bias")


def _convolution(node: Node, given: dict[str, Any], constants: Constants) -> Made:
    weight, bias = _weights(given, constants)
    rank = weight.ndim - 2
    dilation, padding = _each(given["dilation"], rank), given["padding"]
    before: tuple[nn.Module, ...] = ()
    if padding == "same":  # what is odd goes to the far side
        total = [gap * (size - 1) for gap, size in zip(dilation, weight.shape[2:], strict=True)]
        pad = [side for edge in reversed(total) for side in (edge // 2, edge - edge // 2)]
        before, padding = (ZeroPad(tuple(pad)),), 0
    how = {
        "stride": _each(given["stride"], rank),
        "padding": _each(0 if padding == "valid" else padding, rank),
        "dilation": dilation,
        "groups": given["groups"],
    }
    return "weights", (*before, convolution(weight, bias, **how))


def _each(value: Any, rank: int) -> tuple[int, ...]:
    """A number for each axis."""
    listed = [value] if isinstance(value, int) else list(value)
    return tuple(listed * rank if len(listed) == 1 else listed)


def _linear(node: Node, given: dict[str, Any], constants: Constants) -> Made:
    weight, bias = _weights(given, constants)
    if len(_shape(given["input"])) != 2:
        raise Unsupported("it is applied to every token of a sequence; [B, features] converts")
    return "weights", (linear(weight, bias),)


def _batch_norm(node: Node, given: dict[str, Any], constants: Constants) -> Made:
    mean = _constant(given["running_mean"], constants, "mean")
    variance = _constant(given["running_var"], constants, "variance")
    if mean is None or variance is None or given["training"]:
        raise Unsupported("it has no running statistics; track_running_stats=True converts")
    scale = (variance + given["eps"]).rsqrt()
    weight, bias = (_constant(given[key], constants, key) for key in ("weight", "bias"))
    scale = scale if weight is None else scale * weight
    shift = -mean * scale
    return "affine", (Affine(scale, shift if bias is None else shift + bias),)


def _rectifier(node: Node, given: dict[str, Any], constants: Constants) -> Made:
    low, high = given.get("min_val", given.get("min", 0)), given.get("max_val", given.get("max"))
    if low != 0 or (high is not None and not high > 0):
        raise Unsupported(f"it clips to {low}..{high}; a neuron's rate starts at 0: clip to 0..c")
    return "rectifier", (nn.ReLU() if high is None else nn.Hardtanh(0.0, float(high)),)


def _average(node: Node, given: dict[str, Any], constants: Constants) -> Made:
    kernel = tuple(given["kernel_size"])
    padding = _each(given["padding"], len(kernel))
    if given["ceil_mode"] or (any(padding) and not given["count_include_pad"]):
        raise Unsupported("its edges average fewer values; ceil_mode=False, count_include_pad=True converts")
    if given.get("divisor_override") is not None:
        raise Unsupported("divisor_override is no average; leave it out")
    stride = tuple(given["stride"]) or kernel
    return "pool", (_pool(kernel, _each(stride, len(kernel)), padding),)


def _pool(kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]) -> nn.Module:
    if len(kernel) == 1:
        return nn.AvgPool1d(kernel[0], stride[0], padding[0])
    return nn.AvgPool2d((kernel[0], kernel[1]), (stride[0], stride[1]), (padding[0], padding[1]))


def _adaptive_average(node: Node, given: dict[str, Any], constants: Constants) -> Made:
    before, after = _shape(given["self"])[2:], _shape(node)[2:]
    if before == after:
        return "identity", ()
    if any(size % wanted for size, wanted in zip(before, after, strict=True)):
        raise Unsupported(f"{list(before)} is no multiple of {list(after)}; a fixed kernel converts")
    kernel = tuple(size // wanted for size, wanted in zip(before, after, strict=True))
    return "pool", (_pool(kernel, kernel, (0,) * len(kernel)),)


def _mean(node: Node, given: dict[str, Any], constants: Constants) -> Made:
    shape = _shape(given["self"])
    axes = sorted(axis % len(shape) for axis in given["dim"] or ())
    if len(shape) not in (3, 4) or axes != list(range(2, len(shape))):
        raise Unsupported("it averages over other axes than the image's; the mean over H and W converts")
    flat: tuple[nn.Module, ...] = () if given["keepdim"] else (nn.Flatten(),)
    return "pool", (_pool(shape[2:], shape[2:], (0,) * len(axes)), *flat)


def _max_pool(node: Node, given: dict[str, Any], constants: Constants) -> Made:
    if given["ceil_mode"] or any(step != 1 for step in given["dilation"]):
        raise Unsupported("ceil_mode=False and dilation=1 convert")
    kernel = _each(given["kernel_size"], 2)
    stride = _each(tuple(given["stride"]) or kernel, 2)
    return "max_pool", (MaxPool(kernel, stride, _each(given["padding"], 2)),)


def _reshaped(node: Node, given: dict[str, Any], constants: Constants) -> Made:
    before, after = _shape(node.args[0]), _shape(node)
    if before == after:
        return "identity", ()
    if after != (before[0], math.prod(before[1:])):
        raise Unsupported(f"it makes {list(after[1:])} of {list(before[1:])}; flattening converts")
    return "shape", (nn.Flatten(),)


def _pad(node: Node, given: dict[str, Any], constants: Constants) -> Made:
    if given.get("mode", "constant") != "constant" or (given.get("value") or 0) != 0:
        raise Unsupported("it pads with something else than zeros; zeros convert")
    if min(given["pad"]) < 0 or len(given["pad"]) > 2 * (len(_shape(node)) - 2):
        raise Unsupported("it pads or crops other axes than the image's; zeros around an image convert")
    return "pad", (ZeroPad(tuple(given["pad"])),)


def _add(node: Node, given: dict[str, Any], constants: Constants) -> Made:
    left, right = given["self"], given["other"]
    both = [isinstance(one, Node) and one not in constants for one in (left, right)]
    if all(both):
        if given.get("alpha", 1) != 1 or _shape(left) != _shape(right):
            raise Unsupported("it adds scaled or broadcast values; values of one shape convert")
        return "add", ()
    if not both[0]:
        left, right = right, left
    one = torch.ones(_shape(left)[1])
    return "affine", (Affine(one, given.get("alpha", 1) * _per_channel(right, left, constants)),)


def _multiply(node: Node, given: dict[str, Any], constants: Constants) -> Made:
    left, right = given["self"], given["other"]
    if all(isinstance(one, Node) and one not in constants for one in (left, right)):
        raise Unsupported("it multiplies two activations; products with trained numbers convert")
    if not (isinstance(left, Node) and left not in constants):
        left, right = right, left
    factor = _per_channel(right, left, constants)
    return "affine", (Affine(factor, torch.zeros_like(factor)),)


def _divide(node: Node, given: dict[str, Any], constants: Constants) -> Made:
    if isinstance(given["other"], Node) and given["other"] not in constants:
        raise Unsupported("it divides by an activation; divisions by trained numbers convert")
    factor = 1 / _per_channel(given["other"], given["self"], constants)
    return "affine", (Affine(factor, torch.zeros_like(factor)),)


def _subtract(node: Node, given: dict[str, Any], constants: Constants) -> Made:
    left, right = given["self"], given["other"]
    if isinstance(right, Node) and right not in constants:
        raise Unsupported("it subtracts an activation; a sum, the sign in the weights before it, converts")
    one = torch.ones(_shape(left)[1])
    return "affine", (Affine(one, -given.get("alpha", 1) * _per_channel(right, left, constants)),)


def _per_channel(value: Any, beside: Node, constants: Constants) -> torch.Tensor:
    """A number, or a tensor with one for each channel of `beside` [B, C, ...], as [C]."""
    shape = _shape(beside)
    numbers = constants[value].float() if isinstance(value, Node) else torch.tensor(float(value))
    wide = numbers.expand(1, *shape[1:]) if numbers.numel() == 1 else numbers
    spread = numbers.numel() == 1 or (
        numbers.numel() == shape[1]
        and numbers.ndim >= len(shape) - 1
        and numbers.shape[1 - len(shape)] == shape[1]
    )
    if not spread:
        raise Unsupported(f"a constant of shape {list(numbers.shape)}; one number for each channel converts")
    return wide.flatten()[:1].expand(shape[1]) if numbers.numel() == 1 else numbers.flatten()


RULES: dict[str, Rule] = {
    "conv1d": _convolution,
    "conv2d": _convolution,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "relu": _rectifier,
    "relu6": _rectifier,
    "hardtanh": _rectifier,
    "clamp": _rectifier,
    "clamp_min": _rectifier,
    "avg_pool1d": _average,
    "avg_pool2d": _average,
    "adaptive_avg_pool1d": _adaptive_average,
    "adaptive_avg_pool2d": _adaptive_average,
    "mean": _mean,
    "max_pool2d": _max_pool,
    "flatten": _reshaped,
    "view": _reshaped,
    "reshape": _reshaped,
    "squeeze": _reshaped,
    "unsqueeze": _reshaped,
    "_unsafe_view": _reshaped,
    "to": _reshaped,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "add": _add,
    "sub": _subtract,
    "mul": _multiply,
    "div": _divide,
}
