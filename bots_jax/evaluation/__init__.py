"""Judges selectors without training a model: simulated students, paired comparisons."""
