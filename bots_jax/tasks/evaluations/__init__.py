"""How well models do on a table: rolled out or logged, and written beside it."""
