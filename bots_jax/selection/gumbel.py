"""Tempered selection without replacement, as a race of noisy scores.

Adding Gumbel noise to score / temperature and taking the B largest draws B tasks one
after the other with chances proportional to exp(score / temperature), each without
those already drawn: the law of `torch.multinomial(..., replacement=False)` on a
softmax, in the official code, without its limit of 2^24 tasks.

Source: Kool, van Hoof, Welling, "Stochastic beams and where to find them" (ICML 2019),
section 2; Vieira, "Gumbel-max trick and weighted reservoir sampling" (2014).
"""

import jax.numpy as jnp
from jax import Array, lax

from bots_jax import counter_bits
from bots_jax.types import PerTask, Scalar


def gumbel_noise(key: Array, num_tasks: int) -> PerTask:
    """Draws one standard Gumbel per task, keyed by task, fine where it is large.

    Args:
      key: consumed.
      num_tasks: N, up to 2^31 - 2.

    Returns:
      float32 [N], in [-2.9, 45].

    Example:
      >>> import jax
      >>> gumbel_noise(jax.random.key(0), 2).shape
      (2,)
    """
    ids = lax.iota(jnp.uint32, num_tasks)
    return -jnp.log(counter_bits.exponentials(key, ids))


def temper(key: Array, scores: PerTask, temperature: Scalar) -> PerTask:
    """Makes scores whose B largest are a tempered draw without replacement.

    noisy = scores + temperature * gumbel, which orders tasks as score / temperature
    + gumbel does, and is the scores themselves at temperature 0.

    Args:
      key: consumed.
      scores: float32 [N].
      temperature: >= 0; tau in the paper. Range-checked by the factory.

    Returns:
      float32 [N].

    Example:
      >>> import jax
      >>> temper(jax.random.key(0), jnp.float32([0.5, 0.1]), 0.0)
      Array([0.5, 0.1], dtype=float32)
    """
    noise = gumbel_noise(key, scores.shape[0])
    return scores + jnp.asarray(temperature, jnp.float32) * noise
