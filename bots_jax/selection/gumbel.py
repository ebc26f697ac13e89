"""Tempered selection without replacement, as a race of noisy scores.

Adding Gumbel noise to score / temperature and taking the B largest draws B tasks one
after the other with chances proportional to exp(score / temperature), each without
those already drawn: the law of `torch.multinomial(..., replacement=False)` on a
softmax, in the official code, without its limit of 2^24 tasks.

Source: Kool, van Hoof, Welling, "Stochastic beams and where to find them" (ICML 2019),
section 2; Vieira, "Gumbel-max trick and weighted reservoir sampling" (2014).
"""

from typing import Any

import jax.numpy as jnp
from jax import Array

from bots_jax import counter_bits
from bots_jax.types import IdPerTask, PerTask, Scalar


def gumbel_noise(key: Array, task_ids: IdPerTask) -> PerTask:
    """Draws one standard Gumbel per task, keyed by task, fine where it is large.

    Args:
      key: consumed.
      task_ids: int32 [N], >= 0; equal ids give equal noise.

    Returns:
      float32 [N], in [-2.9, 45].

    Example:
      >>> import jax
      >>> gumbel_noise(jax.random.key(0), jnp.arange(2)).shape
      (2,)
    """
    return -jnp.log(counter_bits.exponentials(key, task_ids.astype(jnp.uint32)))


def is_zero(temperature: Any) -> bool:
    """Tells whether a temperature is a number 0, known before the program runs.

    Example:
      >>> is_zero(0.0), is_zero(jnp.float32(0))
      (True, False)
    """
    return isinstance(temperature, (int, float)) and temperature == 0


def temper(
    key: Array,
    scores: PerTask,
    temperature: Scalar,
    task_ids: IdPerTask,
) -> PerTask:
    """Makes scores whose B largest are a tempered draw without replacement.

    noisy = scores + temperature * gumbel, which orders tasks as score / temperature
    + gumbel does, and is the scores themselves at temperature 0.

    Args:
      key: consumed.
      scores: float32 [N].
      temperature: >= 0; tau in the paper. Range-checked by the factory. A Python 0
        saves the noise; an array 0 gives the same scores.
      task_ids: int32 [N], whose scores they are.

    Returns:
      float32 [N].

    Example:
      >>> import jax
      >>> temper(jax.random.key(0), jnp.float32([0.5, 0.1]), 0.0, jnp.arange(2))
      Array([0.5, 0.1], dtype=float32)
    """
    if is_zero(temperature):
        return scores
    noise = gumbel_noise(key, task_ids)
    return scores + jnp.asarray(temperature, jnp.float32) * noise
