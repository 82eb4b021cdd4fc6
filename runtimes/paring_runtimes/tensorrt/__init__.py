"""Runs TensorRT's engines: full runtime, lean runtime, TensorRT for RTX. See `engines/tensorrt.py`."""
