"""The tests, and the type checker that jaxtyping's pytest hook calls.

It is beartype with the numeric tower of PEP 484: an int is a fine float. The hook
(see `addopts` in pyproject.toml) watches the rooms of the engine whose functions take
arrays. It leaves out `checks`, `evidence.counts`, `selectors` and the trainer: these
take what a person writes, and answer bad input with a `ValueError` of their own.
"""

from beartype import BeartypeConf, beartype

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))
