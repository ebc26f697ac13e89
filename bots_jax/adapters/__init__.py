"""Thin layers over TaskSampler for other people's trainers; import the one you use.

No module here is imported by the rest of the package, and each can be imported without
its trainer.
"""
