"""Continuous rewards: a Normal-gamma belief, and the tasks whose rewards vary.

belief   Normal-gamma per task (`posterior/normal_gamma.py`), in the rewards' own unit
rule     log of the expected reward variance, with Gumbel noise, rest after a visit
cost     O(N) per step
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax import checks
from bots_jax.evidence.collect import MomentRows, collect_moment_rows
from bots_jax.evidence.counts import empty_evidence
from bots_jax.evidence.rewards import MomentEvidence, as_moments
from bots_jax.posterior.explicit import lost_per_step
from bots_jax.posterior.normal_gamma import (
    NormalGamma,
    as_beta,
    expected_reward_variance,
    init_normal_gamma,
    update_normal_gamma,
)
from bots_jax.selection.coverage import Coverage
from bots_jax.selectors.common import fit
from bots_jax.selectors.rewarded import (
    TEMPERATURE,
    Family,
    check_rewarded,
    plain_evidence,
    reward_selector,
)
from bots_jax.shard import Cut, Shard
from bots_jax.types import TaskSelector

_PRIOR_VARIANCE = 0.08  # of the reward, in widths squared; 1 / 12 is the uniform law's
_LEAST_WIDTH = 1e-5
_ROUNDING = np.float32(1e-4)  # what float32 may add to moments of rewards in bounds


class Priors(NamedTuple):
    """What a Normal-gamma belief starts from; a number or [N] each.

    Attributes:
      reward_mean: in the rewards' unit.
      precision_count: >= 0.01, rewards that the mean is known by.
      precision_shape: >= 1.01.
      precision_rate: in the rewards' unit squared.
    """

    reward_mean: Any
    precision_count: Any
    precision_shape: Any
    precision_rate: Any


UNIT_PRIORS = Priors(0.5, 1.0, 2.0, 0.08)
"""For rewards in [0, 1]."""


def continuous(
    *,
    num_tasks: int,
    batch_size: int,
    low: Any,
    high: Any,
    forgetting: Any = 0.1,
    clock: str = "step",
    prior_reward_mean: Any = None,
    prior_precision_count: Any = 1.0,
    prior_precision_shape: Any = 2.0,
    prior_precision_rate: Any = None,
    temperature: Any = TEMPERATURE,
    coverage: Coverage | None = None,
    eligible: Any = True,
    group_ids: Any = None,
) -> TaskSelector:
    """Makes a selector for rewards that may be any number between two bounds.

    A task's rewards are believed to be Normal with an unknown mean and precision; how
    that moves, and fades to the prior, is in `posterior.normal_gamma`.

    Selection: the B highest of log(score) + temperature * Gumbel noise, where

      score = precision_rate / (precision_shape - 1)

    is the expected variance of the rewards in a group. At temperature 1 chances are
    proportional to the score, at T to score^(1 / T).

    `update` takes `MomentEvidence`, as `moment_evidence_from_rewards` makes it, or
    `Evidence`, whose successes are read as rewards of `high` and failures as rewards
    of `low`. `TaskSampler` has only the latter: a reward between the bounds becomes a
    fraction of a success, and the variance is overestimated. Rows whose mean is out of
    bounds, or whose spread is more than rewards in bounds can have, are dropped and
    counted as invalid.

    `info.update` gives mean rewards, rescaled to [0, 1], as success rates, and counts
    groups whose rewards differ as effective. `posterior` gives the Beta of the same
    mean and variance of a rescaled mean reward.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      low: the least reward, a number in [-1e15, 1e15].
      high: the greatest, at least 1e-5 above.
      forgetting: in [0, 1]; lambda in the paper.
      clock: when evidence fades: "step", in every step; "touch", when its task is
        rolled out again.
      prior_reward_mean: in [low, high], a scalar or [N]; the middle by default.
      prior_precision_count: in [0.01, 1e5], a scalar or [N]: how many rewards the
        prior mean counts for.
      prior_precision_shape: in [1.01, 1e5], likewise.
      prior_precision_rate: in [1e-12, 1e30], likewise, in the rewards' unit squared.
        By default the expected variance is that of rewards all over the interval,
        0.08 * (high - low)^2.
      temperature: of Gumbel noise on the log scores, in [0, 1e6].
      coverage: what keeps the whole pool in play; by default a task rests for a
        quarter of an epoch after it was rolled out.
      eligible: bool or bool [N]; False tasks are never chosen.
      group_ids: integers [N] >= 0, the group of each task, for quotas; None without.

    Returns:
      A selector whose state is a `ComposedState`.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> import bots_jax
      >>> selector = continuous(num_tasks=100, batch_size=2, low=-1, high=1)
      >>> rewards = np.array([[-1, 0.5, 1, -0.5], [0.5, 0.5, 0.5, 0.5]])
      >>> evidence = bots_jax.moment_evidence_from_rewards(
      ...     [7, 2], rewards, low=-1, high=1)
      >>> state, info = selector.update(selector.init(), evidence)
      >>> float(info.success_rate), float(info.effective_task_ratio)
      (0.625, 0.5)

    Source: DeGroot, "Optimal statistical decisions", 1970, section 9.6; forgetting as
    in arXiv 2510.26374; the score is derived for this project.
    """
    common = check_rewarded(
        num_tasks,
        batch_size,
        forgetting,
        clock,
        temperature,
        eligible,
        coverage,
        group_ids,
    )
    _check_bounds(low, high)
    lowest, highest = 1.01, checks.MAX_PRIOR
    name, shape = "prior_precision_shape", prior_precision_shape
    checks.check_setting(name, shape, common.num_tasks, lowest, highest)
    if not (checks.is_traced(low) or checks.is_traced(high)):
        if prior_reward_mean is not None:
            checks.check_in_range("prior_reward_mean", prior_reward_mean, low, high)
    mean, rate = _default_priors(low, high, shape)
    priors = Priors(
        reward_mean=mean if prior_reward_mean is None else prior_reward_mean,
        precision_count=prior_precision_count,
        precision_shape=shape,
        precision_rate=rate if prior_precision_rate is None else prior_precision_rate,
    )
    family = normal_gamma_family(common.num_tasks, low, high, forgetting, clock, priors)
    jax.eval_shape(family.init)  # refuses priors it cannot start from
    return reward_selector("continuous", common, family, temperature)


def normal_gamma_family(
    num_tasks: int,
    low: Any,
    high: Any,
    forgetting: Any,
    clock: str = "step",
    priors: Priors = UNIT_PRIORS,
) -> Family:
    """Lays out the Normal-gamma family.

    Args:
      num_tasks: N.
      low: the least reward.
      high: the greatest, > low.
      forgetting: in [0, 1].
      clock: "step" or "touch".
      priors: by default for rewards in [0, 1].

    Returns:
      The family; its posterior is a `NormalGamma`.

    Example:
      >>> family = normal_gamma_family(2, 0.0, 1.0, 0.1)
      >>> family.variance(family.init(), lambda x: x).round(4)
      Array([0.08, 0.08], dtype=float32)
    """

    def update(posterior: Any, rows: MomentRows, shard: Shard) -> NormalGamma:
        lost, on_touch = jnp.asarray(forgetting, jnp.float32), clock == "touch"
        return update_normal_gamma(posterior, rows, lost, shard, on_touch=on_touch)

    def variance(posterior: NormalGamma, cut: Cut) -> Array:
        shape, rate = cut(posterior.precision_shape), cut(posterior.precision_rate)
        _, width = _interval(low, high)
        return expected_reward_variance(shape, rate) / width**2

    def posterior_as_beta(posterior: NormalGamma, cut: Cut) -> tuple[Array, Array]:
        least, width = _interval(low, high)
        moments = (cut(x) for x in posterior[:4])
        return as_beta(*moments, low=least, high=least + width)

    def fitted(num_tasks: int) -> Family:
        its_priors = Priors(*(fit(prior, num_tasks) for prior in priors))
        return normal_gamma_family(num_tasks, low, high, forgetting, clock, its_priors)

    return Family(
        init=lambda: init_normal_gamma(num_tasks, *priors),
        update=update,
        variance=variance,
        as_beta=posterior_as_beta,
        collect=lambda evidence, num_tasks: _collect(evidence, num_tasks, low, high),
        rates=lambda rows: moment_rates(rows, low, high),
        fit=fitted,
        forgetting=lost_per_step(forgetting, clock),
    )


def moment_rates(rows: MomentRows, low: Any, high: Any) -> tuple[Array, Array]:
    """Reads mean rewards, rescaled to [0, 1], and which groups' rewards differ.

    Args:
      rows: one row per task.
      low: the least reward.
      high: the greatest, > low.

    Returns:
      float32 [B], 0 in rows that hold nothing, and bool [B].

    Example:
      >>> import bots_jax
      >>> rewards = np.array([[1, 5], [4, 4]])
      >>> evidence = bots_jax.moment_evidence_from_rewards(
      ...     [0, 1], rewards, low=1, high=5)
      >>> moment_rates(collect_moment_rows(evidence, 2), 1, 5)
      (Array([0.5 , 0.75], dtype=float32), Array([ True, False], dtype=bool))
    """
    least, width = _interval(low, high)
    rate = jnp.clip((rows.mean - least) / width, 0, 1)
    return jnp.where(rows.valid, rate, 0), rows.spread > 0


def _interval(low: Any, high: Any) -> tuple[Array, Array]:
    least = jnp.asarray(low, jnp.float32)
    return least, jnp.asarray(high, jnp.float32) - least


def _collect(evidence: Any, num_tasks: int, low: Any, high: Any) -> MomentRows:
    if not isinstance(evidence, MomentEvidence):
        plain = plain_evidence(evidence, MomentEvidence, num_tasks)
        return collect_moment_rows(as_moments(plain, low=low, high=high), num_tasks)
    collect_moment_rows(evidence, num_tasks)  # refuses shapes and dtypes, no more
    return collect_moment_rows(_in_bounds(evidence, low, high), num_tasks)


def _in_bounds(evidence: MomentEvidence, low: Any, high: Any) -> MomentEvidence:
    """Makes the mean of a row NaN that rewards in bounds cannot have given."""
    numbers = (jnp.asarray(x).astype(jnp.float32) for x in evidence[1:])
    number, mean, spread = numbers
    least, width = _interval(low, high)
    slack = _ROUNDING * width + np.float32(1e-6) * jnp.abs(least)
    is_near = (mean >= least - slack) & (mean <= least + width + slack)
    most = number / 4 * (width + 2 * slack) ** 2
    mean = jnp.where(is_near & (spread <= most), mean, jnp.nan)
    return MomentEvidence(evidence.task_ids, number, mean, spread)


def _default_priors(low: Any, high: Any, shape: Any) -> tuple[Any, Any]:
    """The middle, and the rate of an expected variance of 0.08 widths squared."""
    if any(checks.is_traced(x) for x in (low, high, shape)):
        low, high, shape = (jnp.asarray(x, jnp.float32) for x in (low, high, shape))
    else:
        low, high, shape = (np.asarray(x, np.float64) for x in (low, high, shape))
    width = high - low
    return low + width / 2, _PRIOR_VARIANCE * width**2 * (shape - 1)


def _check_bounds(low: Any, high: Any) -> None:
    as_moments(empty_evidence(0), low=low, high=high)  # refuses what is no interval
    if not (checks.is_traced(low) or checks.is_traced(high)):
        width = float(high) - float(low)
        checks.check_in_range("high - low", width, _LEAST_WIDTH, 2e15)
