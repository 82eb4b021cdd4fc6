"""What the ONNX exporter knows of ONNX graphs."""
