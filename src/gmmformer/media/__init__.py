"""Films to frame features with their seconds, sentences to token features."""
