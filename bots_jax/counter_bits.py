"""Random words that depend on nothing but (key, task, counter).

A task's word is the same whatever the layout of the array it is drawn in: chunks,
shards, padding and neighbours do not move it. The generator is Threefry-2x32 with 20
rounds, written without a loop so that XLA fuses it into its consumer.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3"
(SC 2011); known answers from the Random123 distribution.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float32, UInt32

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA

Words = UInt32[Array, "*shape"]


def _rotate_left(x: Array, distance: int) -> Array:
    return (x << np.uint32(distance)) | (x >> np.uint32(32 - distance))


def threefry2x32(
    key0: Array, key1: Array, counter0: Array, counter1: Array
) -> tuple[Array, Array]:
    """Encrypts a two-word counter with a two-word key, 20 rounds.

    Args:
      key0: uint32, broadcastable against the counters.
      key1: uint32, the key's second word.
      counter0: uint32 of any shape.
      counter1: uint32, same shape as counter0 or a scalar.

    Returns:
      Two uint32 words of the broadcast shape.

    Example:
      >>> zero = jnp.uint32(0)
      >>> [hex(int(w)) for w in threefry2x32(zero, zero, zero, zero)]
      ['0x6b200159', '0x99ba4efe']
    """
    keys = (key0, key1, key0 ^ key1 ^ np.uint32(_PARITY))
    x0, x1 = counter0 + keys[0], counter1 + keys[1]
    for round_ in range(20):
        x0 = x0 + x1
        x1 = _rotate_left(x1, _ROTATIONS[(round_ // 4) % 2][round_ % 4]) ^ x0
        if round_ % 4 == 3:
            block = round_ // 4 + 1
            x0 = x0 + keys[block % 3]
            x1 = x1 + keys[(block + 1) % 3] + np.uint32(block)
    return x0, x1


def key_words(key: Array) -> tuple[Array, Array]:
    """Turns a JAX key of any implementation into two words; the key is consumed.

    Example:
      >>> [word.dtype.name for word in key_words(jax.random.key(0))]
      ['uint32', 'uint32']
    """
    words = jax.random.bits(key, (2,), jnp.uint32)
    return words[0], words[1]


def shared(key: Array) -> Callable[[], Array]:
    """Makes a key that may be used in every block of tasks.

    What is drawn here is keyed by (key, task), so that blocks of tasks share a key and
    do not repeat each other; JAX's check for reused keys cannot know that.

    Args:
      key: consumed.

    Returns:
      A function that gives the same key each time.

    Example:
      >>> again = shared(jax.random.key(7))
      >>> bool(again() == again())
      True
    """
    impl, data = jax.random.key_impl(key), jax.random.key_data(key)
    return lambda: jax.random.wrap_key_data(data, impl=impl)


def unit_interval(words: Words) -> Float32[Array, "*shape"]:
    """Maps words to (0, 1], with steps of 2**-32 near 0.

    Example:
      >>> [float(u) for u in unit_interval(jnp.uint32([0, 2**31, 2**32 - 1]))]
      [1.1641532182693481e-10, 0.5, 1.0]
    """
    return (words.astype(jnp.float32) + np.float32(0.5)) * np.float32(2.0**-32)


def exponentials(
    key: Array, task_ids: UInt32[Array, "*shape"]
) -> Float32[Array, "*shape"]:
    """Draws one standard exponential per task, exact where it is small.

    The two words of a task make one 64-bit uniform v, and the draw is -log1p(-v), so
    the smallest of 2**31 tasks is still one of many distinct numbers: this is what
    lets a race among more than 2**24 tasks be decided without ties.

    Args:
      key: consumed.
      task_ids: uint32 of any shape; equal ids give equal draws.

    Returns:
      float32 in (0, 16.7].

    Example:
      >>> exponentials(jax.random.key(0), jnp.uint32([0, 1, 2])).shape
      (3,)
    """
    high, low = threefry2x32(*key_words(key), task_ids, jnp.zeros_like(task_ids))
    fine = unit_interval(low) * np.float32(2.0**-32)
    v = high.astype(jnp.float32) * np.float32(2.0**-32) + fine
    return -lax.log1p(-jnp.minimum(v, np.float32(1 - 2.0**-24)))
