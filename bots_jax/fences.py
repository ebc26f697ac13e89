"""Fences that XLA's optimiser respects: what is computed once, and what comes first."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax


def _always(witness: Array) -> Array:
    """True whatever the witness holds, but XLA does not know."""
    bits = lax.bitcast_convert_type(witness.reshape(-1)[0], jnp.uint32)
    return (bits | np.uint32(1)) != 0


def computed_apart(witness: Array, function: Callable[[], Any]) -> Any:
    """Computes something once, and keeps it in memory.

    XLA on CPU duplicates an expensive producer into each fusion that reads it, where a
    gather also keeps the rest of the loop from being vectorised, and it drops
    optimisation barriers first. The body of a loop whose end depends on data is the
    fence that it respects: here a loop that runs once. Elsewhere this does nothing.

    Args:
      witness: an array with 32-bit elements, not empty, whose values only the run
        tells.
      function: what to compute; returns a pytree of arrays.

    Returns:
      What the function returns.

    Example:
      >>> computed_apart(jnp.arange(3), lambda: jnp.arange(2) + 1)
      Array([1, 2], dtype=int32)
    """

    def fence(witness: Array) -> Any:
        shapes = jax.eval_shape(function)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        once = lambda carry: (jnp.zeros_like(carry[0]), function())  # noqa: E731
        start = (_always(witness), nothing)
        return lax.while_loop(lambda carry: carry[0], once, start)[1]

    return lax.platform_dependent(witness, cpu=fence, default=lambda _: function())


def after(scalar: Array, witness: Array) -> Array:
    """Returns a scalar that is known only once the witness is.

    What is computed from it then comes after, so that it may overwrite what the
    witness was read from: XLA copies a whole array where it cannot see that a gather
    comes first.

    Args:
      scalar: of any dtype.
      witness: an array with 32-bit elements, not empty, from `computed_apart`.

    Returns:
      The scalar.

    Example:
      >>> after(jnp.float32(2), jnp.arange(3))
      Array(2., dtype=float32)
    """
    return jnp.where(_always(witness), scalar, jnp.zeros_like(scalar))
