"""Trains with any selectors side by side: same start, same tasks, same luck."""
