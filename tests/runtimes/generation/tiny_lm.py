"""A small random language model as an artifact with both forms of its graph, and byte tokenizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from paring_runtimes import Manifest, TensorSpec
from paring_runtimes.artifact import hash_files, write_manifest

LAYERS, HEADS, KV_HEADS, HEAD_DIM, HIDDEN = 2, 4, 2, 8, 32
POSITIONS = 128
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
EOS = 256
VOCAB = 256 + len(SPECIAL)
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer() -> Tokenizer:
    """Return a byte-level BPE without merges: token i below 256 is one byte, then the special ones."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    return tokenizer


def fallback_tokenizer() -> Tokenizer:
    """Return a SentencePiece-like BPE: pieces with "▁" for a space, and bytes for all else."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁hello", "hello", "▁world", "!"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


class Graph:
    """Collects the nodes of one graph; `op` returns the name of its first output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def save(self, path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        types = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}

        def values(specs: tuple[TensorSpec, ...]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(s.name, types[s.dtype], s.shape) for s in specs]

        graph = helper.make_graph(self.nodes, "lm", values(inputs), values(outputs), self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
        onnx.save(model, path)


def weights_of(seed: int, dtype: str) -> dict[str, np.ndarray]:
    """Return random weights, large enough that what is generated depends on the whole prompt."""
    draw = np.random.default_rng(seed).standard_normal
    shapes: dict[str, tuple[int, ...]] = {"embed": (VOCAB, HIDDEN), "head": (HIDDEN, VOCAB)}
    for i in range(LAYERS):
        shapes |= {f"q{i}": (HIDDEN, HEADS * HEAD_DIM), f"o{i}": (HEADS * HEAD_DIM, HIDDEN)}
        shapes |= {f"{kind}{i}": (HIDDEN, KV_HEADS * HEAD_DIM) for kind in "kv"}
        shapes |= {f"up{i}": (HIDDEN, 64), f"down{i}": (64, HIDDEN)}
    return {
        name: (draw(shape) * (1.0 if name == "embed" else 1.5 / np.sqrt(shape[0]))).astype(dtype)
        for name, shape in shapes.items()
    }


class Layers:
    """What both forms share: embedding, rotation, projections, norms, feed-forward, head."""

    def __init__(self, seed: int, dtype: str) -> None:
        self.g = Graph()
        self.dtype = dtype
        self.w = {name: self.g.constant(value) for name, value in weights_of(seed, dtype).items()}
        self.ones = self.g.constant(np.ones(HIDDEN, dtype))
        angle = np.outer(np.arange(POSITIONS), 100.0 ** (-np.arange(HEAD_DIM // 2) / (HEAD_DIM // 2)))
        angle = np.concatenate([angle, angle], axis=1)
        self.tables = [self.g.constant(table(angle).astype(dtype)) for table in (np.cos, np.sin)]

    def norm(self, x: str) -> str:
        return self.g.op("RMSNormalization", x, self.ones, axis=-1)

    def heads(self, x: str, weight: str, count: int) -> str:
        """[B, S, HIDDEN] to [B, count, S, HEAD_DIM]."""
        split = self.g.constant(np.array([0, 0, count, HEAD_DIM]))
        y = self.g.op("Reshape", self.g.op("MatMul", x, self.w[weight]), split)
        return self.g.op("Transpose", y, perm=[0, 2, 1, 3])

    def rotate(self, x: str, positions: str) -> str:
        axis = self.g.constant(np.array([1]))
        cos, sin = (
            self.g.op("Unsqueeze", self.g.op("Gather", table, positions), axis) for table in self.tables
        )
        bounds = [self.g.constant(np.array([b])) for b in (0, HEAD_DIM // 2, HEAD_DIM)]
        last = self.g.constant(np.array([3]))
        left = self.g.op("Slice", x, bounds[0], bounds[1], last)
        right = self.g.op("Slice", x, bounds[1], bounds[2], last)
        turned = self.g.op("Concat", self.g.op("Neg", right), left, axis=3)
        return self.g.op("Add", self.g.op("Mul", x, cos), self.g.op("Mul", turned, sin))

    def finish(self, x: str, attended: str, i: int) -> str:
        """Residual, output projection and feed-forward; attended [B, HEADS, S, HEAD_DIM]."""
        merge = self.g.constant(np.array([0, 0, HEADS * HEAD_DIM]))
        y = self.g.op("Reshape", self.g.op("Transpose", attended, perm=[0, 2, 1, 3]), merge)
        x = self.g.op("Add", x, self.g.op("MatMul", y, self.w[f"o{i}"]))
        y = self.g.op("Tanh", self.g.op("MatMul", self.norm(x), self.w[f"up{i}"]))
        return self.g.op("Add", x, self.g.op("MatMul", y, self.w[f"down{i}"]))


def cache_specs(start: str, length: str, dtype: str) -> tuple[TensorSpec, ...]:
    shape = ("batch", KV_HEADS, length, HEAD_DIM)
    return tuple(
        TensorSpec(f"{start}.{i}.{k}", dtype, shape) for i in range(LAYERS) for k in ("key", "value")
    )


def save_concat(path: Path, seed: int, dtype: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Write the form that takes past keys and returns them with the new ones appended."""
    m = Layers(seed, dtype)
    g = m.g
    # mask [B, 1, S, past + S]: no padding, and key column j <= past + query row
    total = g.op("Gather", g.op("Shape", "attention_mask"), g.constant(np.array(1)))
    length = g.op("Gather", g.op("Shape", "input_ids"), g.constant(np.array(1)))
    zero, one = g.constant(np.array(0)), g.constant(np.array(1))
    columns = g.op("Range", zero, total, one)
    rows = g.op("Range", g.op("Sub", total, length), total, one)
    causal = g.op("LessOrEqual", columns, g.op("Unsqueeze", rows, g.constant(np.array([1]))))
    real = g.op("Cast", "attention_mask", to=TensorProto.BOOL)
    seen = g.op("And", causal, g.op("Unsqueeze", real, g.constant(np.array([1, 2]))))
    low = -1e4 if dtype == "float16" else -1e9
    bias = g.op("Where", seen, g.constant(np.array(0, dtype)), g.constant(np.array(low, dtype)))
    x = g.op("Gather", m.w["embed"], "input_ids")
    for i in range(LAYERS):
        n = m.norm(x)
        q = m.rotate(m.heads(n, f"q{i}", HEADS), "position_ids")
        k = m.rotate(m.heads(n, f"k{i}", KV_HEADS), "position_ids")
        past = f"past_key_values.{i}"
        k = g.op("Concat", f"{past}.key", k, axis=2, output=f"present.{i}.key")
        v = m.heads(n, f"v{i}", KV_HEADS)
        v = g.op("Concat", f"{past}.value", v, axis=2, output=f"present.{i}.value")
        index = g.constant(np.arange(HEADS) // (HEADS // KV_HEADS))
        k, v = g.op("Gather", k, index, axis=1), g.op("Gather", v, index, axis=1)
        scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]))
        scores = g.op("Mul", scores, g.constant(np.array(HEAD_DIM**-0.5, dtype)))
        attended = g.op("MatMul", g.op("Softmax", g.op("Add", scores, bias), axis=-1), v)
        x = m.finish(x, attended, i)
    g.op("MatMul", m.norm(x), m.w["head"], output="logits")
    ids = ("batch", "sequence")
    inputs = (
        TensorSpec("input_ids", "int64", ids),
        TensorSpec("attention_mask", "int64", ("batch", "total")),
        TensorSpec("position_ids", "int64", ids),
        *cache_specs("past_key_values", "past", dtype),
    )
    outputs = (TensorSpec("logits", dtype, (*ids, VOCAB)), *cache_specs("present", "total", dtype))
    g.save(path, inputs, outputs)
    return inputs, outputs


def save_in_place(path: Path, seed: int, dtype: str) -> None:
    """Write the form that writes new keys into rows of the cache."""
    m = Layers(seed, dtype)
    g = m.g
    one = g.constant(np.array([1]))
    first = g.op("Gather", "slots", g.constant(np.array(0)), axis=1)
    capacity = g.op("Gather", g.op("Shape", "cache.0.key"), g.constant(np.array(2)))
    columns = g.op("Range", g.constant(np.array(0)), capacity, g.constant(np.array(1)))
    seen = g.op("LessOrEqual", columns, g.op("Unsqueeze", "slots", g.constant(np.array([2]))))
    seen = g.op("Unsqueeze", seen, one)  # [B, 1, S, capacity]
    x = g.op("Gather", m.w["embed"], "input_ids")
    for i in range(LAYERS):
        n = m.norm(x)
        q = m.rotate(m.heads(n, f"q{i}", HEADS), "positions")
        k = m.rotate(m.heads(n, f"k{i}", KV_HEADS), "positions")
        v = m.heads(n, f"v{i}", KV_HEADS)
        k = g.op("TensorScatter", f"cache.{i}.key", k, first, axis=2, output=f"updated.{i}.key")
        v = g.op("TensorScatter", f"cache.{i}.value", v, first, axis=2, output=f"updated.{i}.value")
        x = m.finish(x, g.op("Attention", q, k, v, seen), i)
    index = g.op("Unsqueeze", "last", g.constant(np.array([1, 2])))
    index = g.op("Expand", index, g.constant(np.array([1, 1, HIDDEN])))
    x = g.op("Squeeze", g.op("GatherElements", x, index, axis=1), one)
    g.op("MatMul", m.norm(x), m.w["head"], output="logits")
    ids = ("batch", "sequence")
    inputs = (
        *(TensorSpec(name, "int64", ids) for name in ("input_ids", "positions", "slots")),
        TensorSpec("last", "int64", ("batch",)),
        *cache_specs("cache", "capacity", dtype),
    )
    outputs = (TensorSpec("logits", dtype, ("batch", VOCAB)), *cache_specs("updated", "capacity", dtype))
    g.save(path, inputs, outputs)


def save_filter(folder: Path, dtype: str) -> list[str]:
    """Write a filter whose scores are the ids of the tokens; layer 1's keys remember them, chunk by chunk."""
    files = ["filter.0.onnx", "filter.1.onnx"]
    for layer, name in enumerate(files):
        _save_filter_layer(folder / name, dtype, layer)
    return files


def _save_filter_layer(path: Path, dtype: str, layer: int) -> None:
    g = Graph()
    zero, one, two = (g.constant(np.array(value)) for value in (0, 1, 2))
    to = TensorProto.FLOAT16 if dtype == "float16" else TensorProto.FLOAT
    kind = "float16" if dtype == "float16" else "float32"
    parts = ("key",) if layer else ("key", "value")
    first = g.op("Gather", "positions", zero, axis=1)
    if layer == 0:  # ids -> [B, S, C], all columns alike
        ids = g.op("Cast", g.op("Unsqueeze", "input_ids", g.constant(np.array([2]))), to=to)
        hidden = g.op("Expand", ids, g.constant(np.array([1, 1, HIDDEN])), output="updated")
    else:
        hidden = "hidden"
    columns = g.op("Gather", hidden, g.constant(np.array([0])), axis=2)  # [B, S, 1]
    wide = g.op("Unsqueeze", columns, g.constant(np.array([1])))
    wide = g.op("Expand", wide, g.constant(np.array([1, KV_HEADS, 1, HEAD_DIM])))
    for part in parts:
        g.op("TensorScatter", f"cache.{part}", wide, first, axis=2, output=f"updated.{part}")
    if layer == 1:
        held = g.op("Gather", g.op("Gather", "updated.key", zero, axis=1), zero, axis=2)  # [B, capacity]
        places = g.op("Range", zero, g.op("Gather", g.op("Shape", "cache.key"), two), one)
        real = g.op("Less", places, g.op("Unsqueeze", "length", one))
        scores = g.op("Cast", held, to=TensorProto.FLOAT)
        g.op("Where", real, scores, g.constant(np.array(-1, np.float32)), output="scores")
    row, tokens = ("batch", "sequence"), ("batch", "sequence", HIDDEN)
    taken = TensorSpec("hidden", kind, tokens) if layer else TensorSpec("input_ids", "int64", row)
    given = ("scores", "float32", ("batch", "capacity")) if layer else ("updated", kind, tokens)
    rows = ("batch", KV_HEADS, "capacity", HEAD_DIM)
    index = (TensorSpec("positions", "int64", row), TensorSpec("length", "int64", ("batch",)))
    inputs = (taken, *index, *(TensorSpec(f"cache.{part}", kind, rows) for part in parts))
    outputs = (TensorSpec(*given), *(TensorSpec(f"updated.{part}", kind, rows) for part in parts))
    g.save(path, inputs, outputs)


def save_artifact(
    folder: Path,
    seed: int = 0,
    dtype: str = "float32",
    in_place: bool = True,
    told: dict[str, Any] | None = None,
    filter_k: int | None = None,
) -> Path:
    """Write the artifact; `told` replaces entries of the manifest's `generation`.

    With `filter_k` it has a filter that keeps so many tokens, the first one among them.
    """
    folder.mkdir()
    inputs, outputs = save_concat(folder / "model.onnx", seed, dtype)
    if in_place:
        save_in_place(folder / "in_place.onnx", seed, dtype)
    if filter_k is not None:
        own = {"files": save_filter(folder, dtype), "hidden_size": HIDDEN, "k": filter_k, "layer": 1}
        own |= {"pin_first": 1, "pin_last": 0}
        told = {"filter": own} | (told or {})
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    config = {"chat_template": CHAT, "eos_token": "<|im_end|>", "bos_token": None}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    generation = {
        "layers": LAYERS,
        "kv_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "vocab_size": VOCAB,
        "max_positions": POSITIONS,
        "eos_token_ids": [EOS],
        "bos_token_id": None,
        "pad_token_id": EOS,
        "in_place": "in_place.onnx" if in_place else None,
        "dtype": dtype,
    } | (told or {})
    graph = {"task": "text-generation", "generation": generation}
    manifest = Manifest("onnx", "model.onnx", inputs, outputs, hash_files(folder), graph=graph)
    write_manifest(folder, manifest)
    return folder
