"""An ONNX graph from elsewhere becomes an artifact: fixed, folded, exported, compared with itself.

A format that takes such graphs has a function `export_graph(request, folder) -> Exported` in its module.
"""
