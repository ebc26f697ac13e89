"""The B tasks that come next, by a sweep over all or by a race among points.

Each rule comes in both ways, with the same law:

    rule              sweep                              race
    nearest draws     draw for every task, B nearest     `race_nearest`
    tempered draws    the same, noise added to scores    arrivals at rate exp(-d / T)
    tempered score    noise added to scores              arrivals at rate exp(s / T)

A race that is given up is completed by a sweep, from what the race has left open.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bots_jax import counter_bits
from bots_jax.beta import beta_mean, sample_beta
from bots_jax.beta.density import density_bound
from bots_jax.selection.completion import Found, Selection, completed, swept
from bots_jax.selection.gumbel import temper
from bots_jax.selection.pool import Candidates, Pool
from bots_jax.selection.race import race_nearest
from bots_jax.selection.rates import race_rates
from bots_jax.selection.scores import (
    posterior_means,
    target_distance_scores,
    target_log_density,
)
from bots_jax.selection.sweep import Chosen, sweep
from bots_jax.types import EstimateFn, ScoreFn


def sweep_draws(
    key: Array,
    pool: Pool,
    batch_size: int,
    temperature: Any = 0.0,
    *,
    above_one: bool = False,
) -> Selection:
    """Draws a success chance for every task and takes the B nearest their targets.

    Args:
      key: consumed.
      pool: the tasks.
      batch_size: B.
      temperature: >= 0; above 0, Gumbel noise tempers the choice.
      above_one: promise that every alpha and beta is >= 1.

    Returns:
      The batch.

    Example:
      >>> ones = jnp.ones(8)
      >>> pool = Pool(8, lambda cut: (cut(ones), cut(ones)), jnp.float32(2),
      ...             jnp.float32(0.5), jnp.arange(8) == 3)
      >>> sweep_draws(jax.random.key(0), pool, 1).task_ids
      Array([3], dtype=int32)
    """
    draw_key, noise_key = (counter_bits.shared(k) for k in jax.random.split(key))

    def score(start: Array, size: int) -> tuple[Array, Array, Array]:
        task = pool.block(start, size)
        ids = pool.here.task_ids(start, size)
        draws = sample_beta(
            draw_key(), task.alpha, task.beta, ids, shapes_above_one=above_one
        )
        scores = target_distance_scores(draws, task.target)
        return temper(noise_key(), scores, temperature, ids), draws, task.eligible

    return swept(sweep(pool.here, batch_size, score))


def sweep_estimates(
    key: Array, pool: Pool, batch_size: int, estimate: EstimateFn, temperature: Any
) -> Selection:
    """Takes the B tasks whose estimated success chance lies nearest the target.

    Args:
      key: consumed.
      pool: the tasks.
      batch_size: B.
      estimate: (key, alpha, beta) -> success chances, of all N tasks at once.
      temperature: >= 0.

    Returns:
      The batch.

    Example:
      >>> from bots_jax.selection.scores import posterior_means
      >>> alpha = jnp.float32([1, 5, 9])
      >>> pool = Pool(3, lambda cut: (cut(alpha), cut(10 - alpha)), jnp.float32(10),
      ...             jnp.float32(0.5), jnp.array(True))
      >>> sweep_estimates(jax.random.key(0), pool, 1, posterior_means, 0.0).task_ids
      Array([1], dtype=int32)
    """
    estimate_key, noise_key = jax.random.split(key)
    noise_key = counter_bits.shared(noise_key)
    here = pool.here

    def estimates(alpha: Array, beta: Array) -> Array:
        if estimate is posterior_means:  # task by task
            return estimate(estimate_key, alpha, beta)
        whole = estimate(estimate_key, here.everyone(alpha), here.everyone(beta))
        return here.own(whole)

    def score(start: Array, size: int) -> tuple[Array, Array, Array]:
        task = pool.block(start, size)
        draws = estimates(task.alpha, task.beta)
        scores = target_distance_scores(draws, task.target)
        ids = pool.here.task_ids(start, size)
        return temper(noise_key(), scores, temperature, ids), draws, task.eligible

    return swept(sweep(here, batch_size, score, here.size))


def race_draws(
    key: Array, pool: Pool, batch_size: int, *, above_one: bool = False
) -> Selection:
    """Takes the B tasks whose Thompson draws are nearest, without drawing the others.

    Args:
      key: consumed.
      pool: the tasks.
      batch_size: B.
      above_one: promise that every alpha and beta is >= 1.

    Returns:
      The batch; its law is that of `sweep_draws` at temperature 0.

    Example:
      >>> ones = jnp.ones(4096)
      >>> pool = Pool(4096, lambda cut: (cut(ones), cut(ones)), jnp.float32(2),
      ...             jnp.float32(0.5), jnp.array(True))
      >>> int(race_draws(jax.random.key(0), pool, 4).path)
      1
    """
    race_key, draw_key = jax.random.split(key)
    draw_key = counter_bits.shared(draw_key)
    near = race_nearest(race_key, pool, batch_size, above_one=above_one)
    found = Found(near.task_ids, near.draws, near.num_found)

    def score(start: Array, size: int) -> tuple[Array, Array, Array]:
        task = pool.block(start, size)
        ids = pool.here.task_ids(start, size)
        draws = sample_beta(
            draw_key(),
            task.alpha,
            task.beta,
            ids,
            shapes_above_one=above_one,
            outside=(task.target, near.radius),
        )
        draws = draws.at[found.place(ids)].set(found.draws, mode="drop")
        return target_distance_scores(draws, task.target), draws, task.eligible

    return completed(
        Chosen(found.task_ids[:batch_size], found.draws[:batch_size]),
        found.num_found >= batch_size,
        near.num_points,
        lambda: sweep(pool.here, batch_size, score),
    )


def race_tempered_draws(
    key: Array,
    pool: Pool,
    batch_size: int,
    temperature: Any,
    *,
    above_one: bool = False,
    slots: tuple[int, ...] = (),
) -> Selection:
    """Tempered choice by distance: tasks arrive at rate exp(-|draw - target| / T).

    The order of such arrivals is the order of -distance / T plus Gumbel noise. A
    task's draw is keyed by the task, so it is the same whenever it is met.

    Args:
      key: consumed.
      pool: the tasks.
      batch_size: B.
      temperature: > 0; T, tau in the official code.
      above_one: promise that every alpha and beta is >= 1.
      slots: of each group that is to have some, as in `race_rates`.

    Returns:
      The batch; its law is that of `sweep_draws` at the same temperature.

    Example:
      >>> ones = jnp.ones(4096)
      >>> pool = Pool(4096, lambda cut: (cut(ones), cut(ones)), jnp.float32(2),
      ...             jnp.float32(0.5), jnp.array(True))
      >>> int(race_tempered_draws(jax.random.key(0), pool, 4, 0.1).path)
      1
    """
    draw_key, race_key = jax.random.split(key)
    draw_key = counter_bits.shared(draw_key)

    def judge(task: Candidates, ids: Array) -> tuple[Array, Array]:
        draws = sample_beta(
            draw_key(), task.alpha, task.beta, ids, shapes_above_one=above_one
        )
        return target_distance_scores(draws, task.target) / temperature, draws

    return race_rates(race_key, pool, batch_size, judge, jnp.float32(0), slots)


def sweep_scores(
    key: Array, pool: Pool, batch_size: int, score: ScoreFn, temperature: Any
) -> Selection:
    """Takes the B highest of score + temperature * Gumbel noise, over all tasks.

    Args:
      key: consumed.
      pool: the tasks.
      batch_size: B.
      score: (alpha, beta, target) -> float32, element by element.
      temperature: >= 0; at 0 the highest scores.

    Returns:
      The batch; `draws` are posterior means.

    Example:
      >>> alpha = jnp.float32([1, 5, 9])
      >>> pool = Pool(3, lambda cut: (cut(alpha), cut(10 - alpha)), jnp.float32(10),
      ...             jnp.float32(0.5), jnp.array(True))
      >>> sweep_scores(
      ...     jax.random.key(0), pool, 1, target_log_density, 0.0).task_ids
      Array([1], dtype=int32)
    """
    noise_key = counter_bits.shared(key)

    def judge(start: Array, size: int) -> tuple[Array, Array, Array]:
        task = pool.block(start, size)
        scores = score(task.alpha, task.beta, task.target)
        ids = pool.here.task_ids(start, size)
        scores = temper(noise_key(), scores, temperature, ids)
        return scores, beta_mean(task.alpha, task.beta), task.eligible

    return swept(sweep(pool.here, batch_size, judge))


def race_target_density(
    key: Array,
    pool: Pool,
    batch_size: int,
    temperature: Any = 1.0,
    *,
    above_one: bool = False,
) -> Selection:
    """Tempered choice by density: tasks arrive at rate density(target)^(1 / T).

    At temperature 1 the chance of a task is that its success chance is the target.

    Args:
      key: consumed.
      pool: the tasks.
      batch_size: B.
      temperature: > 0; T.
      above_one: promise that every alpha and beta is >= 1.

    Returns:
      The batch; its law is that of `sweep_scores` with `target_log_density`.

    Example:
      >>> ones = jnp.ones(4096)
      >>> pool = Pool(4096, lambda cut: (cut(ones), cut(ones)), jnp.float32(2),
      ...             jnp.float32(0.5), jnp.array(True))
      >>> int(race_target_density(jax.random.key(0), pool, 4).path)
      1
    """
    low, high = pool.target_range()
    bound = density_bound(pool.max_concentration, low, high, above_one=above_one)

    def judge(task: Candidates, ids: Array) -> tuple[Array, Array]:
        del ids
        scores = target_log_density(task.alpha, task.beta, task.target)
        return scores / temperature, beta_mean(task.alpha, task.beta)

    return race_rates(key, pool, batch_size, judge, jnp.log(bound) / temperature)
