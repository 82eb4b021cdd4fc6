"""Lowering to ExecuTorch."""
