"""Frames and sentences into vectors: one protocol, a built-in pair, and the models of `transformers`."""
