"""The B tasks nearest their target, without drawing the other N - B.

Write D_k = |theta_k - target_k| for the distance of task k's Thompson draw, f_k for its
density. Only the B smallest of N distances are wanted, and their joint law can be
sampled by itself:

  - Time runs from 0 to 1/4 and stands for a distance, r(t) = (1 - exp(-t)) / (2 M),
    where M bounds every density that can be met (`density_bound`).
  - Points fall at rate 1 per task and unit of time, each with a task, uniform over N,
    and a side, below or above the target: x = target -+ r(t).
  - A point is accepted with chance f_k(x) / M, times exp(-t) / P(D_k > r).

With dt = 2 M exp(t) dr, points on task k come at rate M exp(t) per unit of x on either
side, so that task k is first accepted at distance r with hazard f_k(x) / P(D_k > r) on
either side, which is the hazard of D_k. So the distance and side of the first
acceptance have the law of theta_k's, tasks do not influence each other, and the first B
distinct tasks accepted are the Thompson top-B, in order, with their draws.

The second factor asks for a probability mass, but only its outcome is needed. Imagine
that only the task's first point counted: it comes after t with chance exp(-t), and it
comes before t and is accepted with chance P(D_k < r). Given that the latter did not
happen, it comes after t with chance exp(-t) / P(D_k > r). So: imagine first points
until one is not accepted before t, and keep the point in question iff that one comes
after t. There is no quadrature.

The walk ends when B tasks are found, or early when it is plain that time 1/4 comes
first. Rejected points say nothing about the draws, so that the tasks not found then
have their posterior's law given D_k > r, and a sweep can complete the batch
(`choose.race_draws`): the result is exact either way.

Source: thinning of a Poisson process, Lewis and Shedler (1979), applied to the hazard
of a random variable.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax import counter_bits
from bots_jax.beta.density import density_bound, log_beta_density
from bots_jax.selection.pool import Candidates, Pool
from bots_jax.selection.walk import Points, Words, upper_uniform, walk

TIME_LIMIT = np.float32(0.25)
"""Beyond it, a point per four tasks, drawing everyone is cheaper."""


class Nearest(NamedTuple):
    """The tasks nearest their target.

    Attributes:
      task_ids: int32 [C], C > B, distinct in the first `num_found`, nearest first.
      draws: float32 [C], the success chances drawn for them.
      num_found: int32; B or more unless the race was given up.
      radius: float32, no other task's draw is nearer than this; -1 if nothing is known.
      num_points: int32, points that were looked at.
    """

    task_ids: Array
    draws: Array
    num_found: Array
    radius: Array
    num_points: Array


def _position(target: Array, radius: Array, bits: Array) -> tuple[Array, Array]:
    """Returns x and 1 - x, a radius from the target on the side of the lowest bit."""
    signed = jnp.where((bits & np.uint32(1)) == 0, radius, -radius)
    return target + signed, (1 - target) - signed


def _comes_first(
    key: Words,
    points: Points,
    times: Array,
    numbers: Array,
    density: Callable[[Array, Array], Array],
) -> Array:
    """Keeps accepted points with the chance exp(-t) / (1 - P(D < r)) of the header.

    Args:
      key: the walk's.
      points: what their words say.
      times: float32 [C].
      numbers: int32 [C].
      density: (times, bits) -> density of each point's task, relative to the bound.

    Returns:
      bool [C].
    """
    counter = numbers.astype(jnp.uint32)
    wait = lambda word: -jnp.log(counter_bits.unit_interval(word))  # noqa: E731

    def body(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        round_, arrival, in_doubt, keep = carry
        bits, fresh = counter_bits.threefry2x32(*key, counter, 2 + round_)
        accepted = upper_uniform(bits) < density(arrival, bits)
        keep &= accepted | ~in_doubt
        arrival = jnp.where(in_doubt, wait(fresh), arrival)
        return round_ + 1, arrival, in_doubt & accepted & (arrival <= times), keep

    arrival = wait(points.spare)
    start = (jnp.uint32(0), arrival, arrival <= times, jnp.ones_like(times, bool))
    return lax.while_loop(lambda carry: jnp.any(carry[2]), body, start)[3]


def race_nearest(
    key: Array,
    pool: Pool,
    batch_size: int,
    *,
    above_one: bool = False,
) -> Nearest:
    """Finds the B eligible tasks whose Thompson draws are nearest their targets.

    Args:
      key: consumed.
      pool: the tasks. Were its `max_concentration` too small, and a point showed it,
        nothing is found and the radius is -1.
      batch_size: B.
      above_one: promise that every alpha and beta is >= 1; needed for targets at or
        near 0 and 1, where other densities have no bound and nothing is found.

    Returns:
      The nearest tasks, or, if `num_found` < B, what was found within `radius`.

    Example:
      >>> import jax
      >>> ones = jnp.ones(10**6)
      >>> pool = Pool(
      ...     10**6, lambda cut: (cut(ones), cut(ones)), jnp.float32(2),
      ...     jnp.float32(0.5), jnp.array(True))
      >>> found = race_nearest(jax.random.key(0), pool, 4)
      >>> bool(found.num_found >= 4), bool(abs(found.draws[0] - 0.5) < 1e-4)
      (True, True)
    """
    words = counter_bits.key_words(key)
    low, high = pool.target_range()
    farthest = -jnp.expm1(-TIME_LIMIT) / 2
    bounded = functools.partial(
        density_bound, pool.max_concentration, above_one=above_one
    )
    reach = farthest / bounded(low, high)
    bound = bounded(low - reach, high + reach)
    usable = jnp.isfinite(bound) & (bound > 0)
    bound = jnp.where(usable, bound, 1)
    radius_at = lambda time: -jnp.expm1(-time) / (2 * bound)  # noqa: E731

    def density(task: Candidates, time: Array, bits: Array) -> Array:
        """Density relative to the bound."""
        x, one_minus_x = _position(task.target, radius_at(time), bits)
        log_density = log_beta_density(
            task.alpha, task.beta, x, one_minus_x, above_one=above_one
        )
        return jnp.where(task.eligible, jnp.exp(log_density - jnp.log(bound)), 0)

    def chance(task_ids: Array, times: Array, bits: Array) -> Array:
        return density(pool.at(task_ids), times, bits)

    def settle(points: Points, times: Array, numbers: Array) -> Array:
        task = pool.at(jnp.maximum(points.task_ids, 0))
        return _comes_first(
            words, points, times, numbers, lambda t, bits: density(task, t, bits)
        )

    limit = jnp.where(usable, TIME_LIMIT, 0)
    found = walk(words, pool.num_tasks, batch_size, limit, chance, settle)
    targets = pool.target_at(jnp.maximum(found.task_ids, 0))
    draws, _ = _position(targets, radius_at(found.times), found.bits)
    nothing = found.exceeded | ~usable
    return Nearest(
        task_ids=found.task_ids,
        draws=jnp.clip(draws, 0, 1),
        num_found=jnp.where(nothing, 0, found.num_found),
        radius=jnp.where(nothing, np.float32(-1), radius_at(found.end)),
        num_points=found.num_points,
    )
