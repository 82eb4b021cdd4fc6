"""`paring::causal_attention` in ONNX: a Scan over chunks of queries, so that memory grows with S, not S x S.

A chunk's scores, [B, H, CHUNK, keys so far], are all that exists at a time; keys behind the chunk's end are
not read. The default domain only: no engine has to know a fused operator.
"""

from __future__ import annotations

from typing import Any

CHUNK = 128  # queries at a time


def causal_attention(query: Any, key: Any, value: Any, scale: float, window: int | None = None) -> Any:
    """See `paring.transforms._decoder.causal`. Queries are padded to whole chunks and cut again."""
    from onnxscript import opset18 as op

    heads, width = query.shape[1], query.shape[3]
    count = op.Shape(query, start=2, end=3)
    size = op.Constant(value_ints=[CHUNK])
    missing = op.Mod(op.Sub(size, op.Mod(count, size)), size)
    zeros = op.Constant(value_ints=[0, 0, 0, 0, 0, 0])
    ends = op.Concat(zeros, missing, op.Constant(value_ints=[0]), axis=0)
    scaled = op.Mul(query, op.CastLike(op.Constant(value_float=scale), query))
    chunks = op.Reshape(op.Pad(scaled, ends), op.Constant(value_ints=[0, heads, -1, CHUNK, width]))
    padded = op.Squeeze(op.Add(count, missing), op.Constant(value_ints=[0]))
    places = op.Range(op.Constant(value_int=0), padded, op.Constant(value_int=1))
    rows = op.Reshape(places, op.Constant(value_ints=[-1, CHUNK]))
    body = _body(query, op.Transpose(key, perm=[0, 1, 3, 2]), value, window)
    mixed = op.Scan(chunks, rows, body=body, num_scan_inputs=2, scan_input_axes=[2, 0], scan_output_axes=[2])
    whole = op.Reshape(mixed, op.Constant(value_ints=[0, heads, -1, width]))
    return op.Slice(whole, op.Constant(value_ints=[0]), count, op.Constant(value_ints=[2]))


def _body(query: Any, turned: Any, value: Any, window: int | None) -> Any:
    """One chunk [B, H, CHUNK, D] with its row numbers [CHUNK], over keys of the graph around it."""
    import onnx_ir as ir

    heads, groups, width = query.shape[1], value.shape[1], query.shape[3]
    chunk = ir.Value(name="chunk", type=query.type, shape=ir.Shape([query.shape[0], heads, CHUNK, width]))
    rows = ir.Value(name="rows", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([CHUNK]))
    tape = ir.tape.Tape()

    def ints(*values: int) -> Any:
        return tape.op("Constant", [], {"value_ints": list(values)})

    def single(number: int) -> Any:
        return tape.op("Constant", [], {"value_int": number})

    end = tape.op("Add", [tape.op("ReduceMax", [rows], {"keepdims": 1}), ints(1)])  # [1]
    seen_keys = tape.op("Slice", [turned, ints(0), end, ints(3)])
    seen_values = tape.op("Slice", [value, ints(0), end, ints(2)])
    # The heads of a group share their keys: [B, H, C, D] -> [B, G, H/G * C, D].
    scores = tape.op("MatMul", [tape.op("Reshape", [chunk, ints(0, groups, -1, width)]), seen_keys])
    scores = tape.op("Reshape", [scores, ints(0, heads, CHUNK, -1)])
    key_count = tape.op("Shape", [scores], {"start": 3, "end": 4})  # less than `end` behind the last token
    columns = tape.op("Range", [single(0), tape.op("Squeeze", [key_count, ints(0)]), single(1)])
    own = tape.op("Unsqueeze", [rows, ints(1)])
    seen = tape.op("LessOrEqual", [columns, own])
    if window is not None:
        oldest = tape.op("Sub", [own, single(window)])
        seen = tape.op("And", [seen, tape.op("Greater", [columns, oldest])])
    # Masked before it meets the heads: choosing among all scores took a fifth of the attention's time.
    zero, low = (
        tape.op("CastLike", [tape.op("Constant", [], {"value_float": number}), chunk])
        for number in (0.0, -30000.0)
    )
    mask = tape.op("Where", [seen, zero, low])  # [CHUNK, keys]
    weights = tape.op("Softmax", [tape.op("Add", [scores, mask])], {"axis": -1})
    folded = tape.op("Reshape", [weights, tape.op("Concat", [ints(0, groups, -1), key_count], {"axis": 0})])
    mixed = tape.op("Reshape", [tape.op("MatMul", [folded, seen_values]), ints(0, heads, CHUNK, width)])
    mixed.name, mixed.type, mixed.shape = "mixed", query.type, chunk.shape
    return ir.Graph([chunk, rows], [mixed], nodes=tape.nodes, name="chunk_of_queries")
