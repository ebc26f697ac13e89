"""Tests that need eight devices; `tests/test_mesh.py` runs them, in a process apart."""
