"""CUDA for engines on NVIDIA GPUs: memory, streams, graphs, arrays; through `cuda.bindings`, not PyTorch."""
