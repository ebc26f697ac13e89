"""Benchmarks of bots_jax: one script answers one question; see README.md here."""
