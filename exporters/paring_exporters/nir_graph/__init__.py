"""NIR graphs and PyTorch: networks become graphs, graphs become networks, spikes are compared."""
