"""The study: whether choosing tasks makes a model learn sooner.

`protocol.json` states every number beforehand. `python -m benchmarks.study run` does
what is missing, seed by seed; `python -m benchmarks.study report` regenerates
README.md and the figures from the committed results.
"""
