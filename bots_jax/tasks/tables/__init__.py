"""Tables of tasks on the disk: rows at random, stable keys, pass rates as columns."""
