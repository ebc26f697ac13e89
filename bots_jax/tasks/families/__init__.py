"""All task families, in the order in which a pool numbers them."""

from __future__ import annotations

from collections.abc import Sequence

from bots_jax.tasks.families.arithmetic import ARITHMETIC
from bots_jax.tasks.families.family import (
    MAX_ANSWER_CHARS,
    MAX_PROMPT_CHARS,
    Entry,
    Family,
)
from bots_jax.tasks.families.lists import LISTS
from bots_jax.tasks.families.logic import LOGIC
from bots_jax.tasks.families.number_theory import NUMBER_THEORY
from bots_jax.tasks.families.strings import STRINGS

FAMILIES: dict[str, Family] = {
    family.name: family
    # A pool stores indices: new families go to the end.
    for family in (*ARITHMETIC, *NUMBER_THEORY, *STRINGS, *LISTS, *LOGIC)
}
FAMILY_NAMES = tuple(FAMILIES)
NUM_LEVELS = 4
"""Every family has this many levels, so a table over (family, level) has no holes."""


def resolve_families(names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Checks family names and puts them in the order of FAMILY_NAMES.

    Args:
      names: the families wanted; None for all of them.

    Raises:
      ValueError: naming an unknown or repeated family, or if there are none.

    >>> resolve_families(["gcd", "chain_sum"])
    ('chain_sum', 'gcd')
    """
    if names is None:
        return FAMILY_NAMES
    if isinstance(names, str) or not names:
        raise ValueError(f"families must be a non-empty list of names, got {names!r}")
    for name in names:
        if name not in FAMILIES:
            allowed = ", ".join(FAMILY_NAMES)
            raise ValueError(f"families must be among {allowed}; got {name!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"families must not repeat, got {list(names)}")
    return tuple(name for name in FAMILY_NAMES if name in names)


__all__ = [
    "FAMILIES",
    "FAMILY_NAMES",
    "MAX_ANSWER_CHARS",
    "MAX_PROMPT_CHARS",
    "NUM_LEVELS",
    "Entry",
    "Family",
    "resolve_families",
]
