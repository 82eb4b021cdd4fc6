"""What to put in the place of an operation that no integrate-and-fire network computes."""

from __future__ import annotations

RETRAIN = "the nearest that converts is {}, with the network trained anew"
NEAREST = {
    "sigmoid": RETRAIN.format("ReLU6"),
    "tanh": RETRAIN.format("ReLU6"),
    "silu": RETRAIN.format("ReLU or ReLU6"),
    "gelu": RETRAIN.format("ReLU"),
    "hardswish": RETRAIN.format("ReLU6"),
    "hardsigmoid": RETRAIN.format("ReLU6"),
    "leaky_relu": RETRAIN.format("ReLU"),
    "prelu": RETRAIN.format("ReLU"),
    "elu": RETRAIN.format("ReLU"),
    "selu": RETRAIN.format("ReLU"),
    "mish": RETRAIN.format("ReLU"),
    "softplus": RETRAIN.format("ReLU"),
    "softmax": "neurons have no softmax; outside of the network, after its outputs, it may stay",
    "log_softmax": "neurons have no softmax; outside of the network, after its outputs, it may stay",
    "layer_norm": RETRAIN.format("batch norm"),
    "group_norm": RETRAIN.format("batch norm"),
    "instance_norm": RETRAIN.format("batch norm"),
    "scaled_dot_product_attention": "it multiplies activations; spike_transformer converts transformers",
    "matmul": "it multiplies two activations; products with trained weights convert",
    "bmm": "it multiplies two activations; products with trained weights convert",
    "cat": "spikes of several layers side by side; a sum of layers with a convolution each converts",
    "adaptive_max_pool2d": "the maximum of spikes is not that of rates; adaptive_avg_pool2d converts",
    "max_pool1d": "the maximum of spikes is not that of rates; avg_pool1d or max_pool2d converts",
    "amax": "the maximum of spikes is not that of rates; the mean over H and W converts",
    "conv3d": "conv1d and conv2d convert",
    "conv_transpose2d": "conv1d and conv2d convert",
    "embedding": "inputs are images or features, no token ids",
    "upsample_nearest2d": "average pooling the other branch instead converts",
    "upsample_bilinear2d": "average pooling the other branch instead converts",
}


def advice(name: str) -> str:
    """For the operation `name`, as PyTorch calls it."""
    known = NEAREST.get(name)
    return known or "convolutions, linear layers, batch norm, ReLU, ReLU6, average pooling and sums convert"
