"""Every class, member, flag and argument count of TensorRT that our code uses is in the releases we claim.

The lists in `tensorrt_api/` are read off NVIDIA's own bindings (tools/check/tensorrt_bindings.py). They prove
names and signatures, not behaviour.
"""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import paring_exporters.tensorrt.builder as builder
import paring_runtimes.tensorrt as runtime

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "check"))
bindings = importlib.import_module("tensorrt_bindings")

RELEASES = bindings.RELEASES
FILES = [Path(builder.__file__), *sorted(Path(runtime.__file__).parent.glob("*.py"))]
# What our code calls an object of each class, as a variable or as an attribute.
OBJECTS = {
    "builder": "Builder", "network": "INetworkDefinition", "parser": "OnnxParser", "error": "ParserError",
    "config": "IBuilderConfig", "profile": "IOptimizationProfile", "cache": "ITimingCache",
    "runtime": "Runtime", "engine": "ICudaEngine", "native": "IExecutionContext", "refitter": "Refitter",
    "reader": "OnnxParserRefitter",
}  # fmt: skip
# Names that are ours in these files, of other objects than TensorRT's.
OURS = {("engine", "facts"), ("engine", "plan"), ("engine", "timing_cache"), ("error", "strerror")}


@dataclass(frozen=True)
class Use:
    """One use of TensorRT: a class's member, and how many arguments it is called with (None: not called)."""

    owner: str
    member: str
    arguments: int | None
    place: str


def uses(source: str, name: str = "code") -> Iterator[Use]:
    """Every use in a source: `trt.Class.MEMBER`, and members of the objects above."""
    tree = ast.parse(source)
    calls = {id(node.func): _counted(node) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        place = f"{name}:{node.lineno}"
        arguments = calls.get(id(node))
        chain = _chain(node)
        if chain[0] == "trt" or chain[:2] == ["self", "trt"]:
            rest = chain[1:] if chain[0] == "trt" else chain[2:]
            if len(rest) == 1 and rest[0][0].isupper():
                yield Use(rest[0], "__init__", arguments, place)
            elif len(rest) == 2:
                unbound = rest[1] == "__init__" and arguments is not None  # self is among them
                yield Use(rest[0], rest[1], arguments - 1 if unbound else arguments, place)
        elif len(chain) >= 2 and chain[-2] in OBJECTS and (chain[-2], chain[-1]) not in OURS:
            yield Use(OBJECTS[chain[-2]], chain[-1], arguments, place)


def _counted(call: ast.Call) -> int | None:
    """How many arguments a call gives; None where one is a list of them."""
    starred = any(isinstance(one, ast.Starred) for one in call.args)
    return None if starred else len(call.args) + len(call.keywords)


def _chain(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Attribute):
        return [*_chain(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else [""]


def wrong(found: Iterator[Use], release: str) -> list[str]:
    """What of the uses a release does not have."""
    classes: dict[str, dict[str, Any]] = json.loads((HERE / "tensorrt_api" / f"{release}.json").read_text())[
        "classes"
    ]
    told = []
    for use in found:
        members = classes.get(use.owner)
        if members is None or use.member not in members:
            told.append(f"{use.place}: {release} has no {use.owner}.{use.member}")
            continue
        counts = members[use.member]
        if use.arguments is not None and counts and not counts[0] <= use.arguments <= counts[1]:
            told.append(
                f"{use.place}: {use.owner}.{use.member} takes {counts} arguments, not {use.arguments}"
            )
    return told


@pytest.mark.parametrize("release", RELEASES)
def test_all_that_our_code_uses_is_there(release: str) -> None:
    found = [use for file in FILES for use in uses(file.read_text(encoding="utf-8"), file.name)]
    assert wrong(iter(found), release) == []
    used = {(use.owner, use.member) for use in found}
    assert len(used) > 55
    assert {
        ("BuilderFlag", "STRIP_PLAN"), ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        ("IOptimizationProfile", "set_shape"), ("IBuilderConfig", "create_timing_cache"),
        ("ICudaEngine", "get_tensor_profile_shape"), ("IExecutionContext", "execute_async_v3"),
        ("IExecutionContext", "set_output_allocator"), ("OnnxParserRefitter", "refit_from_file"),
        ("Runtime", "deserialize_cuda_engine"), ("IBuilderConfig", "add_optimization_profile"),
    } <= used  # fmt: skip


def test_hardware_levels_that_are_named_by_text() -> None:
    for release in RELEASES:
        levels = json.loads((HERE / "tensorrt_api" / f"{release}.json").read_text())["classes"][
            "HardwareCompatibilityLevel"
        ]
        assert set(builder.HARDWARE.values()) <= set(levels)


@pytest.mark.parametrize(
    ("code", "on_10", "on_11"),
    [
        ("config.set_flag(trt.BuilderFlag.FP16)", True, False),
        ("config.set_flag(trt.BuilderFlag.INT8)", True, False),
        ("config.int8_calibrator = None", True, False),
        (
            "network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))",
            True,
            False,
        ),
        ("self.engine.device_memory_size", True, False),
        ("self.engine.get_engine_stat(trt.EngineStat.TOTAL_WEIGHTS_SIZE)", False, True),
        ("profile.set_shape('x', (1,), (2,))", False, False),
        ("self.native.execute_async_v3()", False, False),
        ("config.set_flag(trt.BuilderFlag.TF32)", True, True),
    ],
)
def test_it_goes_red_for_what_a_release_has_not(code: str, on_10: bool, on_11: bool) -> None:
    old, new = RELEASES
    assert (wrong(uses(code), old) == []) is on_10
    assert (wrong(uses(code), new) == []) is on_11


@pytest.mark.parametrize("release", RELEASES)
def test_the_kept_lists_are_the_bindings_own(release: str) -> None:
    """The real bindings, imported over stub libraries in a process of their own."""
    where = bindings.bindings(release)
    if where is None:
        pytest.skip(f"no bindings: python tools/check/tensorrt_bindings.py fetch {release}")
    kept = (HERE / "tensorrt_api" / f"{release}.json").read_text(encoding="utf-8")
    assert bindings.text(bindings.listed(release)) == kept
    native = next(where.glob("tensorrt_bindings/tensorrt.*")).read_bytes()
    for callback in ("reallocate_output_async", "reallocate_output", "notify_shape", "report_layer_time"):
        assert callback.encode() in native  # of classes that we subclass: they list no members


def test_arguments_are_counted() -> None:
    assert bindings.arity(["f(self: A, x: int, y: dict[str, int] = {}) -> None"]) == [1, 2]
    assert bindings.arity(["f(*args, **kwargs)", "1. f(self: A) -> int", "2. f(self: A, b: B) -> int"]) == [
        0,
        1,
    ]
    assert bindings.arity([]) is None
