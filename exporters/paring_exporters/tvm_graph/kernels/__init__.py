"""Kernels of a whole model, for an open number of rows: each is a function of TIR for CPUs."""
