"""Beliefs about continuous rewards: Normal-gamma, with evidence that fades.

A task's rewards are Normal with an unknown mean and an unknown precision, which is
Gamma(precision_shape, precision_rate); given the precision, the mean is Normal around
reward_mean, as well known as by precision_count rewards. One step mixes the belief
with its prior in the weights 1 - forgetting and forgetting, as densities to those
powers, and adds n rewards of mean m and spread (sum of squared deviations) s:

    precision_count' = (1 - forgetting) * precision_count + forgetting * prior + n
    reward_mean'     = mean of the two means and of m, weighted by those three terms
    precision_shape' = (1 - forgetting) * precision_shape + forgetting * prior + n / 2
    precision_rate'  = (1 - forgetting) * precision_rate + forgetting * prior
                       + (s + between) / 2

between is the weighted sum of squared distances of the three means from reward_mean'.
With forgetting = 0 this is the textbook's conjugate update.

Source: DeGroot, "Optimal statistical decisions", 1970, section 9.6; discounted as in
arXiv 2510.26374.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from bots_jax import checks
from bots_jax.beta.matching import beta_of_moments
from bots_jax.evidence.collect import MomentRows
from bots_jax.posterior.moving import all_of, move_tasks
from bots_jax.posterior.recurrence import discount, own_setting, prior_of
from bots_jax.shard import Shard
from bots_jax.types import PerTask, Scalar, Setting


class NormalGamma(NamedTuple):
    """Beliefs about the rewards of N tasks, and the prior they fade to.

    Attributes:
      reward_mean: float32 [N], expected reward; mu in the textbook.
      precision_count: float32 [N], >= its prior; kappa.
      precision_shape: float32 [N], >= its prior; a.
      precision_rate: float32 [N], >= its prior; b.
      prior_reward_mean: float32 [] or [N].
      prior_precision_count: float32 [] or [N], > 0.
      prior_precision_shape: float32 [] or [N], > 1.
      prior_precision_rate: float32 [] or [N], > 0.
    """

    reward_mean: PerTask
    precision_count: PerTask
    precision_shape: PerTask
    precision_rate: PerTask
    prior_reward_mean: Setting
    prior_precision_count: Setting
    prior_precision_shape: Setting
    prior_precision_rate: Setting


def init_normal_gamma(
    num_tasks: int,
    prior_reward_mean: Any = 0.5,
    prior_precision_count: Any = 1.0,
    prior_precision_shape: Any = 2.0,
    prior_precision_rate: Any = 0.08,
) -> NormalGamma:
    """Builds a belief equal to its prior, in buffers of its own.

    The defaults are for rewards in [0, 1]: variance 0.08 expected, about that of the
    uniform law, and as much for the mean.

    Args:
      num_tasks: N.
      prior_reward_mean: one number, or one per task, in [-1e15, 1e15].
      prior_precision_count: likewise, in [0.01, 1e5].
      prior_precision_shape: likewise, in [1.01, 1e5], so that variances are finite.
      prior_precision_rate: likewise, in [1e-12, 1e30].

    Returns:
      float32 arrays that share no buffer, so that the state can be donated.

    Raises:
      ValueError: for sizes, shapes or values that are not allowed.

    Example:
      >>> init_normal_gamma(2, 0.25).reward_mean
      Array([0.25, 0.25], dtype=float32)
    """
    checks.check_count("num_tasks", num_tasks)
    named = {
        "prior_reward_mean": (prior_reward_mean, -1e15, 1e15),
        "prior_precision_count": (prior_precision_count, 0.01, 1e5),
        "prior_precision_shape": (prior_precision_shape, 1.01, 1e5),
        "prior_precision_rate": (prior_precision_rate, 1e-12, 1e30),
    }
    for name, (value, low, high) in named.items():
        checks.check_setting(name, value, num_tasks, low, high)
    priors = [own_setting(value) for value, _, _ in named.values()]
    mean, count, shape, rate = (jnp.full((num_tasks,), x) + 0 for x in priors)
    return NormalGamma(mean, count, shape, rate, *priors)


def update_normal_gamma(
    belief: NormalGamma,
    rows: MomentRows,
    forgetting: Scalar,
    shard: Shard | None = None,
    *,
    on_touch: bool = False,
) -> NormalGamma:
    """Moves the belief about all N tasks, or about those that were rolled out.

    Args:
      belief: N tasks.
      rows: the evidence of the step, one row per task.
      forgetting: in [0, 1]; lambda in the paper.
      shard: which of the tasks are here; all by default.
      on_touch: True forgets only in the tasks of the rows; False in every task, every
        step.

    Returns:
      The belief one step later. Its counts stop growing near 2^24, where float32 ends.

    Example:
      >>> from bots_jax.evidence.collect import collect_moment_rows
      >>> from bots_jax.evidence.rewards import moment_evidence_from_rewards
      >>> rewards = moment_evidence_from_rewards([1], [[1, 2, 3]], low=0, high=9)
      >>> start = init_normal_gamma(2, prior_reward_mean=6.0)
      >>> new = update_normal_gamma(start, collect_moment_rows(rewards, 2), 0.0)
      >>> new.reward_mean, new.precision_count, new.precision_shape
      (Array([6., 3.], dtype=float32), Array([1., 4.], dtype=float32),
       Array([2. , 3.5], dtype=float32))
      >>> float(new.precision_rate[1])  # 0.08 + (2 + 1 * 3^2 + 3 * 1^2) / 2
      7.079999923706055
    """
    here = all_of(belief.reward_mean, shard)
    at_rows = here.at(rows.task_ids, "clip")
    priors = belief[4:]
    observed = rows.num_rewards, rows.mean, rows.spread
    forgetting = jnp.asarray(forgetting, jnp.float32)

    def of_rows(old: tuple[Array, ...]) -> tuple[Array, ...]:
        its_priors = tuple(prior_of(prior, at_rows) for prior in priors)
        return _moved(old, its_priors, forgetting, observed)

    def of_everyone(old: tuple[Array, ...], forgetting: Array) -> tuple[Array, ...]:
        nothing = jnp.float32(0)
        return _moved(old, priors, forgetting, (nothing, nothing, nothing))

    moved = move_tasks(
        tuple(belief[:4]),
        rows.task_ids,
        of_rows,
        None if on_touch else of_everyone,
        forgetting,
        here,
    )
    mean, count, shape, rate = moved
    return NormalGamma(mean, count, shape, rate, *priors)


def _moved(
    old: tuple[Array, ...],
    priors: tuple[Array, ...],
    forgetting: Array,
    observed: tuple[Array, Array, Array],
) -> tuple[Array, ...]:
    """One step of mean, count, shape and rate; means as distances from the old one."""
    mean, count, shape, rate = old
    prior_mean, prior_count, prior_shape, prior_rate = priors
    number, reward, spread = observed
    to_prior = prior_mean - mean
    to_reward = jnp.where(number > 0, reward - mean, 0)
    from_prior = forgetting * prior_count
    new_count = discount(count, prior_count, forgetting) + number
    step = (from_prior * to_prior + number * to_reward) / new_count
    between = (
        (1 - forgetting) * count * step**2
        + from_prior * (to_prior - step) ** 2
        + number * (to_reward - step) ** 2
    )
    return (
        mean + step,
        new_count,
        discount(shape, prior_shape, forgetting) + number / 2,
        discount(rate, prior_rate, forgetting) + (spread + between) / 2,
    )


def expected_reward_variance(
    precision_shape: PerTask, precision_rate: PerTask
) -> PerTask:
    """Expected variance of the rewards in a group: what GRPO learns from.

    precision_rate / (precision_shape - 1)

    Args:
      precision_shape: float32 [N]; a in the textbook. The result is inf where it is 1
        or less.
      precision_rate: float32 [N], > 0; b.

    Returns:
      float32 [N], > 0.

    Example:
      >>> expected_reward_variance(jnp.float32([3, 1]), jnp.float32([4, 4]))
      Array([ 2., inf], dtype=float32)
    """
    known = precision_shape > 1
    return jnp.where(
        known, precision_rate / jnp.where(known, precision_shape - 1, 1), jnp.inf
    )


def mean_variance(
    precision_count: PerTask, precision_shape: PerTask, precision_rate: PerTask
) -> PerTask:
    """Variance of the belief about a task's mean reward.

    precision_rate / (precision_count * (precision_shape - 1))

    Args:
      precision_count: float32 [N], > 0; kappa in the textbook.
      precision_shape: float32 [N]; a. The result is inf where it is 1 or less.
      precision_rate: float32 [N], > 0; b.

    Returns:
      float32 [N], > 0.

    Example:
      >>> one = jnp.float32([1])
      >>> mean_variance(4 * one, 3 * one, 4 * one)
      Array([0.5], dtype=float32)
    """
    return expected_reward_variance(precision_shape, precision_rate) / precision_count


def as_beta(
    reward_mean: PerTask,
    precision_count: PerTask,
    precision_shape: PerTask,
    precision_rate: PerTask,
    *,
    low: Scalar = 0.0,
    high: Scalar = 1.0,
) -> tuple[PerTask, PerTask]:
    """Reads the mean reward, rescaled from [low, high] to [0, 1], as a success chance.

    The Beta has the mean and the variance of the belief about the mean reward.

    Args:
      reward_mean: float32 [N], clipped to [low, high].
      precision_count: float32 [N], > 0.
      precision_shape: float32 [N], > 1.
      precision_rate: float32 [N], > 0.
      low: the least reward.
      high: the greatest, > low.

    Returns:
      alpha and beta, float32 [N], in [0.01, 1e5]. A belief wider than any Beta of its
      mean gets the widest.

    Example:
      >>> one = jnp.float32([1])
      >>> alpha, beta = as_beta(5 * one, 5 * one, 2 * one, 10 * one, low=0, high=10)
      >>> round(float(alpha[0]), 3), round(float(beta[0]), 3)  # variance 2 / 10^2
      (5.75, 5.75)
    """
    least = jnp.asarray(low, jnp.float32)
    width = jnp.asarray(high, jnp.float32) - least
    variance = mean_variance(precision_count, precision_shape, precision_rate)
    return beta_of_moments((reward_mean - least) / width, variance / width**2)
