"""Sentences about films: annotation files as they are published, splits, and the text half of a collection."""
