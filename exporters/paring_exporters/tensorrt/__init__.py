"""TensorRT: what a release takes (`support`), what of a graph it would refuse (`lint`), how it is built.

Nothing here needs a GPU to be imported.
"""
