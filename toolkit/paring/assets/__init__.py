"""Files that ship with paring: the embedded model, its card and held-out images, the demo's recipe."""
