"""Whole trainings with other people's trainers, each a script that says what it needs.

No module here is imported by the rest of the package.
"""
