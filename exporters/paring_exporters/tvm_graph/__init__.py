"""Whole models in TVM: an exported program becomes relax, its heavy operators kernels of ours."""
