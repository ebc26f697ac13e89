"""Which rows repeat the task of an earlier row."""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool

from bots_jax.types import TaskIds

_SLOTS_PER_ROW = 8
_MULTIPLIERS = (2654435769, 2246822519, 3266489917, 668265263)  # odd, well mixed


def has_repeats(ids: TaskIds) -> Bool[Array, ""]:
    """Tells whether two rows hold the same id; one sort of a single array.

    Example:
      >>> has_repeats(jnp.int32([3, 1, 3]))
      Array(True, dtype=bool)
    """
    ordered = lax.sort(ids, is_stable=False)
    return jnp.any(ordered[1:] == ordered[:-1])


def first_occurrence(ids: TaskIds) -> TaskIds:
    """Finds, for each row, the first row that holds the same id.

    Rows are hashed into a table in which the earliest of a slot wins. A row that finds
    itself or its id there is done; the few that another id kept out try again with
    another hash. Much cheaper than a sort that carries positions along.

    Args:
      ids: int32 [B], any values.

    Returns:
      int32 [B], at most the row's own number; equal to it in first occurrences.

    Example:
      >>> first_occurrence(jnp.int32([5, 2, 5, 2, 7]))
      Array([0, 1, 0, 1, 4], dtype=int32)
    """
    rows = lax.iota(jnp.int32, ids.shape[0])

    def search(rows: Array) -> Array:
        bits = max(4, int(np.ceil(np.log2(_SLOTS_PER_ROW * rows.size))))
        multipliers = jnp.asarray(_MULTIPLIERS, jnp.uint32)

        def unfinished(carry: tuple[Array, Array]) -> Array:
            return jnp.any(carry[1] < 0)

        def body(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            number, first = carry
            # Every round takes part in full, so that a waiting row meets its first.
            hashed = (ids.astype(jnp.uint32) + number) * multipliers[number % 4]
            hashed = hashed ^ (hashed >> np.uint32(15))
            slot = ((hashed * np.uint32(2246822519)) >> np.uint32(32 - bits)).astype(
                jnp.int32
            )
            table = jnp.full((2**bits,), rows.size, jnp.int32).at[slot].min(rows)
            found = table.at[slot].get(mode="promise_in_bounds")
            same = ids.at[found].get(mode="promise_in_bounds") == ids
            return number + 1, jnp.where((first < 0) & same, found, first)

        start = (jnp.uint32(0), jnp.full_like(rows, -1))
        return lax.while_loop(unfinished, body, start)[1]

    if rows.size < 2:
        return rows
    return lax.cond(has_repeats(ids), search, lambda rows: rows, rows)
