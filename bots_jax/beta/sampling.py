"""Exact draws from Beta(alpha, beta) for millions of tasks at once.

theta = x / (x + y) with x ~ Gamma(alpha), y ~ Gamma(beta), both by Marsaglia and
Tsang's rejection from a cubed normal. A proposal for a pair is kept only if both
halves are, which is rejection on the product space and so exact. One dense pass
proposes for every task (about 95 % are kept); the rejected ones are packed into
columns of 32 and retried there, so no loop runs once per draw, as it does in
`jax.random.beta`.

A draw depends on (key, task id, alpha, beta) alone: the try of a task is numbered by
its own earlier tries, not by a shared clock. Chunks, padding, shards and neighbours
do not move it.

Source: Marsaglia and Tsang, "A simple method for generating gamma variables", ACM
TOMS 26 (2000), with their section 6 for shapes below 1; Box and Muller (1958).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax import counter_bits
from bots_jax.types import PerTask

_REJECTED = np.float32(-1.0)
_LANES = 32  # tasks per column: one bit each in a uint32 of rejections
_BOOST_COUNTER = np.uint32(2**32 - 1)
_BLOCK = 2**20  # tasks drawn at once; XLA on CPU uses one core on much smaller loops
_TWO_DENSE_ROUNDS_BELOW = 2**17  # a second dense round is cheaper than launching loops


class _Key(NamedTuple):
    word0: Array
    word1: Array


def _signed(value: Array, bits: Array, position: int) -> Array:
    """Gives a float the sign that sits at one bit position of `bits`."""
    sign = (bits << np.uint32(31 - position)) & np.uint32(2**31)
    return lax.bitcast_convert_type(
        lax.bitcast_convert_type(value, jnp.uint32) ^ sign, jnp.float32
    )


def _unit_circle(bits: Array) -> tuple[Array, Array]:
    """A uniform point on the unit circle from 32 bits.

    Three bits choose the octant, the rest an angle in (0, pi/4), where two short
    polynomials (Cephes sinf and cosf, error below 1 ulp) need no range reduction.
    """
    fraction = (bits >> np.uint32(3)).astype(jnp.float32) * np.float32(2.0**-29)
    x = (fraction + np.float32(2.0**-30)) * np.float32(np.pi / 4)
    z = x * x
    sine = x * (
        1 + z * (-1.6666654611e-1 + z * (8.3321608736e-3 + z * -1.9515295891e-4))
    )
    cosine = (
        1
        - 0.5 * z
        + z * z * (4.166664568e-2 + z * (-1.388731625e-3 + z * 2.443315711e-5))
    )
    swap = (bits & np.uint32(1)) != 0
    first, second = jnp.where(swap, sine, cosine), jnp.where(swap, cosine, sine)
    return _signed(first, bits, 1), _signed(second, bits, 2)


def _gamma_proposal(shape: Array, normal: Array, uniform: Array) -> tuple[Array, Array]:
    """One Marsaglia-Tsang proposal for Gamma(shape), shape >= 1, and its verdict."""
    d = shape - np.float32(1 / 3)
    t = 1 + np.float32(1 / 3) * lax.rsqrt(d) * normal
    v = t * t * t
    log_t = jnp.log(jnp.maximum(t, np.float32(1e-10)))
    accepted = jnp.log(uniform) < 0.5 * normal * normal + d * (1 - v + 3 * log_t)
    return d * v, accepted & (t > 0)


def _log_boost(shape: Array, uniform: Array) -> Array:
    """Log of the factor that turns Gamma(shape + 1) into Gamma(shape), shape < 1."""
    return jnp.where(shape < 1, jnp.log(uniform) / shape, np.float32(0))


def _propose(
    key: _Key, ids: Array, attempt: Array, alpha: Array, beta: Array, above_one: bool
) -> Array:
    """Draws theta for one try of each task, or -1 where the try is rejected."""
    angle, radius_bits = counter_bits.threefry2x32(*key, ids, 2 * attempt)
    uniform_x, uniform_y = counter_bits.threefry2x32(*key, ids, 2 * attempt + 1)
    radius = jnp.sqrt(-2 * jnp.log(counter_bits.unit_interval(radius_bits)))
    cosine, sine = _unit_circle(angle)
    shape_x = alpha if above_one else jnp.where(alpha < 1, alpha + 1, alpha)
    shape_y = beta if above_one else jnp.where(beta < 1, beta + 1, beta)
    x, kept_x = _gamma_proposal(
        shape_x, radius * cosine, counter_bits.unit_interval(uniform_x)
    )
    y, kept_y = _gamma_proposal(
        shape_y, radius * sine, counter_bits.unit_interval(uniform_y)
    )
    if above_one:
        theta = x / (x + y)
    else:
        boosts = counter_bits.threefry2x32(
            *key, ids, jnp.full_like(ids, _BOOST_COUNTER)
        )
        log_x = jnp.log(x) + _log_boost(alpha, counter_bits.unit_interval(boosts[0]))
        log_y = jnp.log(y) + _log_boost(beta, counter_bits.unit_interval(boosts[1]))
        theta = 1 / (1 + jnp.exp(log_y - log_x))
    return jnp.where(kept_x & kept_y, theta, _REJECTED)


def _materialise(x: Array) -> Array:
    """Forces x into memory, so that XLA does not compute it again in every consumer.

    XLA on CPU duplicates an expensive producer into each fusion that reads it and
    drops optimisation barriers first; the carry of a loop whose end depends on data
    is the fence it respects. The loop runs once: draws are below 2.
    """
    if x.size == 0:
        return x
    start = (jnp.int32(0), x)
    once = lambda carry: (carry[0] < 1) & (carry[1][0] < 2.0)  # noqa: E731
    return lax.while_loop(once, lambda carry: (carry[0] + 1, carry[1]), start)[1]


def _lowest_set_bit(mask: Array) -> Array:
    """Index of the lowest set bit; 32 for 0."""
    return lax.population_count((mask & (~mask + np.uint32(1))) - np.uint32(1))


def _retry_rejected(
    key: _Key,
    theta: Array,
    ids: Array,
    alpha: Array,
    beta: Array,
    first: int,
    above: bool,
) -> Array:
    """Retries rejected draws, one per column of 32 at a time, until none is left."""
    columns = theta.shape[0] // _LANES
    column = lax.iota(jnp.uint32, columns)
    lanes = lax.iota(jnp.uint32, _LANES)[:, None]
    rejected = (theta.reshape(_LANES, columns) < 0).astype(jnp.uint32) << lanes
    waiting = jnp.sum(rejected, axis=0, dtype=jnp.uint32)

    def body(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        theta, waiting, attempt = carry
        position = _lowest_set_bit(waiting) * np.uint32(columns) + column
        position = jnp.where(waiting != 0, position, 0).astype(jnp.int32)
        draw = _materialise(
            _propose(
                key, ids[position], attempt, alpha[position], beta[position], above
            )
        )
        kept = (waiting != 0) & (draw >= 0)
        theta = theta.at[jnp.where(kept, position, theta.shape[0])].set(
            draw, mode="drop"
        )
        waiting = jnp.where(kept, waiting & (waiting - 1), waiting)
        return theta, waiting, jnp.where(kept, np.uint32(first), attempt + 1)

    start = (theta, waiting, jnp.full_like(column, first))
    return lax.while_loop(lambda carry: jnp.any(carry[1] != 0), body, start)[0]


def _draw_block(
    key: _Key, ids: Array, alpha: Array, beta: Array, above_one: bool
) -> Array:
    """Draws for one block of tasks; NaN where a shape is not positive and finite."""
    n = alpha.shape[0]
    valid = (alpha > 0) & (beta > 0) & jnp.isfinite(alpha) & jnp.isfinite(beta)
    floor = np.float32(1.0 if above_one else 1e-37)
    safe = lambda s: jnp.where(valid, jnp.maximum(s, floor), np.float32(1))  # noqa: E731
    padding = (0, -n % _LANES)
    shape_x = jnp.pad(safe(alpha), padding, constant_values=1)
    shape_y = jnp.pad(safe(beta), padding, constant_values=1)
    ids = jnp.pad(ids, padding)
    rounds = 2 if n < _TWO_DENSE_ROUNDS_BELOW else 1
    theta = jnp.full_like(shape_x, _REJECTED)
    for attempt in range(rounds):
        tries = jnp.full_like(ids, attempt)
        proposal = _propose(key, ids, tries, shape_x, shape_y, above_one)
        theta = jnp.where(theta < 0, proposal, theta)
    theta = _retry_rejected(
        key, _materialise(theta), ids, shape_x, shape_y, rounds, above_one
    )
    return jnp.where(valid, theta[:n], jnp.nan)


@functools.partial(jax.jit, static_argnames="shapes_above_one")
def sample_beta(
    key: Array,
    alpha: PerTask,
    beta: PerTask,
    task_ids: Array | None = None,
    *,
    shapes_above_one: bool = False,
) -> PerTask:
    """Draws theta ~ Beta(alpha, beta) for every task, exactly.

    Args:
      key: typed key of any implementation; consumed.
      alpha: float32 [n], in [0.01, 1e5], the range that the law is tested on.
      beta: float32 [n], likewise.
      task_ids: integers [n], the identity that the draw is keyed by; 0 to n - 1 by
        default. Give the global ids when drawing for a part of the tasks.
      shapes_above_one: promise that alpha and beta are >= 1, which saves a quarter of
        the time. Smaller shapes are then drawn as 1.

    Returns:
      float32 [n] in [0, 1]. Draws below 1e-38 flush to 0 and those within 3e-8 of 1
      round to 1. NaN where alpha or beta is not a positive finite number.

    Example:
      >>> import jax
      >>> draws = sample_beta(jax.random.key(0), jnp.full(4, 2.0), jnp.full(4, 3.0))
      >>> bool(((draws > 0) & (draws < 1)).all())
      True
      >>> part = sample_beta(
      ...     jax.random.key(0), jnp.full(1, 2.0), jnp.full(1, 3.0), jnp.array([2]))
      >>> bool(part[0] == draws[2])
      True
    """
    n = alpha.shape[0]
    if n == 0:
        return jnp.zeros((0,), jnp.float32)
    words = _Key(*counter_bits.key_words(key))
    if n <= _BLOCK:
        ids = lax.iota(jnp.uint32, n) if task_ids is None else task_ids
        return _draw_block(words, ids.astype(jnp.uint32), alpha, beta, shapes_above_one)

    num_blocks = -(-n // _BLOCK)
    size = -(-n // (num_blocks * _LANES)) * _LANES

    def draw(number: Array, draws: Array) -> Array:
        # The last block ends at n and overlaps the one before, whose draws it repeats.
        start = jnp.minimum(number * size, n - size)
        cut = lambda x: lax.dynamic_slice(x, (start,), (size,))  # noqa: E731
        ids = lax.iota(jnp.uint32, size) + start.astype(jnp.uint32)
        if task_ids is not None:
            ids = cut(task_ids).astype(jnp.uint32)
        block = _draw_block(words, ids, cut(alpha), cut(beta), shapes_above_one)
        return lax.dynamic_update_slice(draws, block, (start,))

    return lax.fori_loop(
        jnp.int32(0), jnp.int32(num_blocks), draw, jnp.zeros((n,), jnp.float32)
    )
