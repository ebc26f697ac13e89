"""What a task is worth, from what is believed of it: functions of type `ScoreFn`.

All but one look for tasks whose rollouts will differ and take no notice of the target.
Without noise they only exploit, and coverage collapses: give the selector a
temperature, or read the ratio with `bots_jax.coverage` beside it. Functions made with
the same settings are equal, and hash alike, unless a setting is an array.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax import checks
from bots_jax.beta.interval import log_interval_chance
from bots_jax.beta.moments import beta_mean, beta_variance
from bots_jax.beta.predictive import (
    information,
    mean_root_variance,
    mixed_group_chance,
)
from bots_jax.types import PerTask, Scalar, ScoreFn, Setting

MAX_GROUP_SIZE = 4096


@dataclasses.dataclass(frozen=True)
class _WithSettings:
    """A score function and its settings; equal to another with the same of both."""

    function: Callable[..., PerTask]
    settings: tuple[Any, ...]

    def __call__(self, alpha: PerTask, beta: PerTask, target: Setting) -> PerTask:
        return self.function(alpha, beta, target, *self.settings)


def _number(name: str, value: Any, low: float, high: float) -> Any:
    """Checks a scalar setting; a Python float if it can be one."""
    checks.check_number(name, value, low, high)
    return float(value) if isinstance(value, (int, float, np.generic)) else value


def _float32(value: Any) -> Array:
    return jnp.asarray(value, jnp.float32)


def expected_variance(alpha: PerTask, beta: PerTask, target: Setting) -> PerTask:
    """Scores tasks by the mean variance of a reward, E[p (1 - p)].

    score = alpha beta / ((alpha + beta) (alpha + beta + 1))

    Args:
      alpha: float32 [N], in [0.01, 1e5].
      beta: float32 [N], likewise.
      target: not used.

    Returns:
      float32 [N] in (0, 1/4), higher is better.

    Source: arXiv 2606.05606 (CERO).

    Example:
      >>> one = jnp.float32([1])
      >>> expected_variance(one, one, jnp.float32(0.5))  # 1 / 6
      Array([0.16666667], dtype=float32)
    """
    del target
    total = alpha + beta
    return (alpha / total) * (beta / (total + 1))


def expected_abs_advantage(alpha: PerTask, beta: PerTask, target: Setting) -> PerTask:
    """Scores tasks by the mean standard deviation of a reward, E[sqrt(p (1 - p))].

    score = B(alpha + 1/2, beta + 1/2) / B(alpha, beta)

    GRPO's advantages, scaled by the standard deviation of a group's rewards, have the
    mean absolute value 2 sqrt(p (1 - p)).

    Args:
      alpha: float32 [N], in [0.01, 1e5].
      beta: float32 [N], likewise.
      target: not used.

    Returns:
      float32 [N] in (0, 1/2), higher is better.

    Source: arXiv 2510.01037 (CurES), arXiv 2602.14868 (Goldilocks).

    Example:
      >>> one = jnp.float32([1])
      >>> score = expected_abs_advantage(one, one, jnp.float32(0.5))
      >>> round(float(score[0]), 4)  # pi / 8
      0.3927
    """
    del target
    return mean_root_variance(alpha, beta)


def mixed_group_prob(group_size: int) -> ScoreFn:
    """Makes a score: the chance that a group's rollouts are not all equal.

    score = 1 - prod_{i < G} (alpha + i) / (alpha + beta + i)
              - prod_{i < G} (beta + i) / (alpha + beta + i)

    Args:
      group_size: G, in [2, 4096].

    Returns:
      (alpha, beta, target) -> float32 [N] in (0, 1), higher is better; the target is
      not used. Exact for tiny chances as well.

    Raises:
      ValueError: for another group_size.

    Source: arXiv 2609.34990 (MaPP), V_G.

    Example:
      >>> one = jnp.float32([1])
      >>> chance = mixed_group_prob(4)(one, one, jnp.float32(0.5))
      >>> round(float(chance[0]), 4)  # 1 - 2 / 5
      0.6
    """
    size = checks.check_count("group_size", group_size, 2, MAX_GROUP_SIZE)
    return _WithSettings(_mixed_group_prob, (size,))


def _mixed_group_prob(
    alpha: PerTask, beta: PerTask, target: Setting, group_size: int
) -> PerTask:
    del target
    return mixed_group_chance(alpha, beta, group_size)


def log_of(score: ScoreFn) -> ScoreFn:
    """Makes a score: the log of another that is not negative.

    With Gumbel noise of temperature 1, tasks are then chosen in proportion to the
    score, as MaPP chooses them in proportion to `mixed_group_prob`.

    Args:
      score: its values below 1e-38, the smallest normal float32, count as that.

    Returns:
      (alpha, beta, target) -> float32 [N] >= -87.4, higher is better; NaN stays NaN.

    Raises:
      ValueError: for something that is not a function.

    Source: arXiv 2609.34990 (MaPP), the selection rule.

    Example:
      >>> one = jnp.float32([1])
      >>> score = log_of(expected_variance)(one, one, jnp.float32(0.5))
      >>> round(float(score[0]), 4)  # log 1/6
      -1.7918
    """
    checks.check_callable("score", score)
    return _WithSettings(_log_of, (score,))


def _log_of(alpha: PerTask, beta: PerTask, target: Setting, score: ScoreFn) -> PerTask:
    return jnp.log(jnp.maximum(score(alpha, beta, target), np.finfo(np.float32).tiny))


def information_gain(
    group_size: int, center: Scalar = 0.3, sharpness: Scalar = 1.0
) -> ScoreFn:
    """Makes a score: what a group tells about a task, weighted by its mean.

    score = m (1 - m) exp(-sharpness (m - center)^2) I,  m = alpha / (alpha + beta)
    I = H(Beta(alpha, beta)) - E_S[H(Beta(alpha + S, beta + G - S))]

    I is computed without the two entropies, which would cancel, by an identity that is
    exact for all concentrations: see `bots_jax.beta.predictive.information`. For large
    ones it is about G / (2 (alpha + beta)).

    Args:
      group_size: G, in [1, 4096]; K in the paper. The cost is O(G) per task, about
        three logs per rollout; `variance_drop` is the cheap stand-in.
      center: favoured mean, in [0, 1]; mu in the paper, 0.3 there.
      sharpness: in [0, 1e4]; eta in the paper. Its value is not known to us; 1 is our
        choice, a mild preference.

    Returns:
      (alpha, beta, target) -> float32 [N] > 0, higher is better; the target is not
      used.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Source: arXiv 2603.01907 (INSIGHT), weighted mutual information.

    Example:
      >>> one = jnp.float32([1])
      >>> score = information_gain(1, center=0.5)
      >>> score(one, one, jnp.float32(0.5)).round(4)  # (log 2 - 1/2) / 4
      Array([0.0483], dtype=float32)
    """
    size = checks.check_count("group_size", group_size, 1, MAX_GROUP_SIZE)
    center = _number("center", center, 0, 1)
    sharpness = _number("sharpness", sharpness, 0, 1e4)
    return _WithSettings(_information_gain, (size, center, sharpness))


def _information_gain(
    alpha: PerTask,
    beta: PerTask,
    target: Setting,
    group_size: int,
    center: Scalar,
    sharpness: Scalar,
) -> PerTask:
    del target
    mean, rest = beta_mean(alpha, beta), beta_mean(beta, alpha)
    offset = mean - _float32(center)
    weight = mean * rest * jnp.exp(-_float32(sharpness) * (offset * offset))
    return weight * information(alpha, beta, group_size)


def variance_drop(group_size: int) -> ScoreFn:
    """Makes a score: how much a group is expected to lower the posterior variance.

    score = Var[p] G / (alpha + beta + G)

    Args:
      group_size: G, in [1, 4096]; K in the paper.

    Returns:
      (alpha, beta, target) -> float32 [N] in (0, 1/4), higher is better; the target
      is not used.

    Raises:
      ValueError: for another group_size.

    Source: arXiv 2603.01907 (INSIGHT), the variance form.

    Example:
      >>> one = jnp.float32([1])
      >>> variance_drop(2)(one, one, jnp.float32(0.5)).round(4)  # 1/12 of which half
      Array([0.0417], dtype=float32)
    """
    size = checks.check_count("group_size", group_size, 1, MAX_GROUP_SIZE)
    return _WithSettings(_variance_drop, (size,))


def _variance_drop(
    alpha: PerTask, beta: PerTask, target: Setting, group_size: int
) -> PerTask:
    del target
    total = alpha + beta
    share = np.float32(group_size) / (total + np.float32(group_size))
    return beta_variance(alpha, beta) * share


def optimistic_variance(num_deviations: Scalar) -> ScoreFn:
    """Makes a score: the largest p (1 - p) within some deviations of the mean.

    score = max p (1 - p) over |p - mean| <= num_deviations sd, p in [0, 1]

    Args:
      num_deviations: in [0, 1e3]; 0 takes the mean's own p (1 - p).

    Returns:
      (alpha, beta, target) -> float32 [N] in (0, 1/4], higher is better; the target
      is not used. All tasks whose interval holds 1/2 score 1/4 alike.

    Raises:
      ValueError: for another num_deviations.

    Source: an upper confidence bound, Auer et al. (2002).

    Example:
      >>> alpha, beta = jnp.float32([1, 1]), jnp.float32([1, 9])
      >>> optimistic_variance(1.0)(alpha, beta, jnp.float32(0.5)).round(4)
      Array([0.25  , 0.1542], dtype=float32)
    """
    deviations = _number("num_deviations", num_deviations, 0, 1e3)
    return _WithSettings(_optimistic_variance, (deviations,))


def _optimistic_variance(
    alpha: PerTask, beta: PerTask, target: Setting, num_deviations: Scalar
) -> PerTask:
    del target
    # By symmetry the mean may be read as the smaller of m and 1 - m.
    smaller = jnp.minimum(alpha, beta) / (alpha + beta)
    reach = _float32(num_deviations) * jnp.sqrt(beta_variance(alpha, beta))
    best = jnp.minimum(smaller + reach, np.float32(0.5))
    return best * (1 - best)


def target_interval_log_prob(half_width: Scalar) -> ScoreFn:
    """Makes a score: the log of the chance to be near the target.

    score = log[F(target + half_width) - F(target - half_width)]

    As `target_log_density`, which is its limit for small intervals, but it does not
    prefer ever sharper beliefs: it ends at 0.

    Args:
      half_width: in [1e-3, 1].

    Returns:
      (alpha, beta, target) -> float32 [N] <= 0, higher is better, finite: the chance
      of a far tail may be below float32, its log is not, and still ranks tasks. NaN
      only where alpha or beta is not a positive finite number.

    Raises:
      ValueError: for another half_width.

    Example:
      >>> one = jnp.float32([1])
      >>> score = target_interval_log_prob(0.05)
      >>> round(float(jnp.exp(score(one, one, jnp.float32(0.5))[0])), 4)
      0.1
    """
    width = _number("half_width", half_width, 1e-3, 1)
    return _WithSettings(_target_interval_log_prob, (width,))


def _target_interval_log_prob(
    alpha: PerTask, beta: PerTask, target: Setting, half_width: Scalar
) -> PerTask:
    centre = jnp.broadcast_to(jnp.clip(target, 0, 1), alpha.shape)
    return log_interval_chance(alpha, beta, centre, _float32(half_width))


def pass_at_k_target(k: int) -> float:
    """Finds the success chance to aim at when pass@k is what counts: 1 / (2 k).

    It maximises k (1 - p)^(k - 1) sqrt(p (1 - p)): the slope of pass@k, times the size
    of the advantages. Harder tasks for larger k.

    Args:
      k: tries of which one must succeed, >= 1.

    Returns:
      A number in (0, 1/2], for `target_success_prob`.

    Raises:
      ValueError: for another k.

    Source: derived for this project.

    Example:
      >>> pass_at_k_target(1), pass_at_k_target(4)
      (0.5, 0.125)
    """
    return 1 / (2 * checks.check_count("k", k))
