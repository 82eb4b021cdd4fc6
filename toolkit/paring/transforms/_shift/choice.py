"""Which layers of a model can shift, what kind each is, and which of them a recipe names."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from torch import nn

from .. import _decoder
from .._opening import canonical
from .layer import is_patchwise

KINDS = ("mlp", "attention", "patch_embed", "head", "all")
MLP = {"mlp", "ffn", "feed_forward", "feedforward", "intermediate", "output", "fc1", "fc2"}
MLP |= {"linear1", "linear2", "gate_proj", "up_proj", "down_proj"}
HEADS = {"head", "heads", "head_dist", "lm_head", "classifier", "fc", "visual_projection", "text_projection"}


def skeleton(model: nn.Module) -> nn.Module:
    """What `canonical` would give, of a copy without values; `model` is left as it is."""
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.to("meta")
    return canonical(copy.deepcopy(model, memo))


def candidates(model: nn.Module) -> dict[str, nn.Module]:
    """By path, each linear layer and convolution whose forward is called, of an opened model.

    Not among them are those whose weights another module reads past them: nn.MultiheadAttention's output
    projection, and an opened decoder's head.
    """
    hidden: set[nn.Module] = set()
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            hidden.update(module.modules())
        elif isinstance(module, _decoder.Decoder):
            hidden.update(module.head.modules())
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, kinds) and module not in hidden
    }


def kind(path: str) -> str:
    """mlp, attention, patch_embed, head or other, by the names along a module's path."""
    names = path.split(".")
    if any("attn" in name or "attention" in name for name in names):
        return "attention"
    if any("patch_embed" in name for name in names):
        return "patch_embed"
    if MLP.intersection(names):
        return "mlp"
    return "head" if HEADS.intersection(names) or names[-1].endswith("classifier") else "other"


def matches(name: str, path: str, layer: nn.Module) -> bool:
    """Whether one entry of a recipe's list, a kind or a pattern, names the layer at `path`.

    Kinds name linear layers, and the convolutions that can shift; a pattern names whatever it fits.
    """
    if name == "all":
        return isinstance(layer, nn.Linear) or is_patchwise(layer)
    return kind(path) == name if name in KINDS else fnmatchcase(path, name)


def named(names: Iterable[str], layers: Mapping[str, nn.Module]) -> set[str]:
    """The paths of `layers` that any of `names` names."""
    wanted = tuple(names)
    return {path for path, layer in layers.items() if any(matches(name, path, layer) for name in wanted)}


def nearest(name: str, layers: Mapping[str, nn.Module]) -> str:
    """A hint for an entry that names nothing: the nearest path, or the kinds that there are."""
    near = difflib.get_close_matches(name, layers, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    there = sorted({kind(path) for path in layers})
    return f"its layers are of kind {', '.join(there)}, as {', '.join(list(layers)[:3])}; or take 'all'"
