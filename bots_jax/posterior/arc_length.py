"""Beliefs in arc length: a Kalman filter on psi = arcsin(sqrt(success chance)).

In arc length a pass rate's noise hardly depends on the chance itself. The belief about
a task is Normal(arc_mean, arc_variance). Tasks are kept as they were after their last
rollouts, and moved when they are looked at, by all of the steps since, `age` of them:

    mean     = clip(arc_mean + age * drift * sin(2 * arc_mean), 0, pi / 2)
    variance = arc_variance + age * noise

One Euler step of length age, whatever the age: the source does not say whether it steps
age times; this costs the same for every task and is the same for age = 1. A task
without rollouts counts its age from the start.

Rollouts of a task, n of them with s successes, show z with variance r:

    mixed:     z = arcsin(sqrt((s + 3/8) / (n + 3/4))), r = 1 / (4 n + 2)
    all wrong: z = 0,      r = 1 / (2 n)
    all right: z = pi / 2, r = 1 / (2 n)

Drift and noise are shared by all tasks, and learnt from what surprised: z - mean.

Source: arXiv 2609.38018 (ARCUS); its numbers are not confirmed by others.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32, Int32

from bots_jax import checks
from bots_jax.beta.matching import beta_of_moments
from bots_jax.evidence.counts import Rows
from bots_jax.fences import after, computed_apart
from bots_jax.posterior.moving import all_of
from bots_jax.posterior.recurrence import own_setting
from bots_jax.shard import Shard
from bots_jax.types import IdPerTask, PerRow, PerTask, Scalar

_RIGHT = np.float32(np.pi / 2)
_LEAST_SLOPE, _LEAST_NOISE = np.float32(0.05), np.float32(1e-5)
LEARNING_RATE = 0.1
"""Of drift and noise; b in the paper."""


class ArcLength(NamedTuple):
    """Normal beliefs of N tasks in arc length, as they were after their last rollouts.

    Attributes:
      arc_mean: float32 [N] in [0, pi/2]; mu in the paper.
      arc_variance: float32 [N], > 0; P in the paper.
      last_step: int32 [N], number of the step of the last rollouts; 0 before them.
      step: int32, number of steps so far.
      drift: float32, of the policy, per step; v in the paper.
      noise: float32, >= 1e-5, variance that a step adds; Q in the paper.
    """

    arc_mean: PerTask
    arc_variance: PerTask
    last_step: IdPerTask
    step: Int32[Array, ""]
    drift: Float32[Array, ""]
    noise: Float32[Array, ""]


def init_arc_length(
    num_tasks: int,
    prior_mean: Any = np.pi / 4,
    prior_variance: Any = np.pi**2 / 48,
    *,
    drift: Any = 0.0,
    noise: Any = 1e-3,
) -> ArcLength:
    """Builds a belief equal to its prior, in buffers of its own.

    Args:
      num_tasks: N.
      prior_mean: one number, or one per task, in [0, pi/2]. The default is the mean,
        and that of the variance the variance, of the uniform law on [0, pi/2].
      prior_variance: likewise, in [1e-6, 10].
      drift: in [-1, 1], to begin with.
      noise: in [1e-5, 1], to begin with; the source's value is not known.

    Returns:
      Arrays that share no buffer, so that the state can be donated.

    Raises:
      ValueError: for sizes, shapes or values that are not allowed.

    Example:
      >>> round(float(init_arc_length(2).arc_variance[1]), 4)
      0.2056
    """
    checks.check_count("num_tasks", num_tasks)
    checks.check_setting("prior_mean", prior_mean, num_tasks, 0.0, np.pi / 2)
    checks.check_setting("prior_variance", prior_variance, num_tasks, 1e-6, 10.0)
    checks.check_number("drift", drift, -1.0, 1.0)
    checks.check_number("noise", noise, float(_LEAST_NOISE), 1.0)
    everywhere = lambda prior: jnp.full((num_tasks,), own_setting(prior)) + 0  # noqa: E731
    return ArcLength(
        arc_mean=everywhere(prior_mean),
        arc_variance=everywhere(prior_variance),
        last_step=jnp.zeros((num_tasks,), jnp.int32),
        step=jnp.zeros((), jnp.int32),
        drift=own_setting(drift),
        noise=own_setting(noise),
    )


def predict_arcs(
    belief: ArcLength, cut: Callable[[Array], Array] = lambda x: x
) -> tuple[PerTask, PerTask]:
    """Predicts the arc lengths of the coming step, as the file's head says.

    Args:
      belief: N tasks.
      cut: takes the tasks wanted out of an array of all; all by default.

    Returns:
      Mean in [0, pi/2] and variance, float32 [P] each.

    Example:
      >>> mean, variance = predict_arcs(init_arc_length(1, drift=0.1))
      >>> round(float(mean[0]), 3)  # pi / 4 + 0.1
      0.885
    """
    mean, variance = cut(belief.arc_mean), cut(belief.arc_variance)
    age = _age(belief, cut(belief.last_step))
    moved = mean + age * belief.drift * jnp.sin(2 * mean)
    return jnp.clip(moved, 0, _RIGHT), variance + age * belief.noise


def _age(belief: ArcLength, last_step: Array) -> Array:
    return (belief.step + 1 - last_step).astype(jnp.float32)


def observed_arcs(successes: PerRow, failures: PerRow) -> tuple[PerRow, PerRow]:
    """Turns counts into an observed arc length and its variance; z and r above.

    Args:
      successes: float32 [B], >= 0.
      failures: float32 [B], >= 0.

    Returns:
      z and r, float32 [B]; r is inf in rows without rollouts.

    Example:
      >>> arc, noise = observed_arcs(jnp.float32([2, 0]), jnp.float32([2, 4]))
      >>> [round(float(x), 3) for x in (*arc, *noise)]  # pi / 4, 0; 1 / 18, 1 / 8
      [0.785, 0.0, 0.056, 0.125]
    """
    number = successes + failures
    wrong, right = successes == 0, failures == 0
    share = (successes + np.float32(0.375)) / (number + np.float32(0.75))
    arc = jnp.where(wrong, 0, jnp.where(right, _RIGHT, jnp.arcsin(jnp.sqrt(share))))
    return arc, jnp.where(wrong | right, 1 / (2 * number), 1 / (4 * number + 2))


def observe_arcs(
    belief: ArcLength,
    rows: Rows,
    shard: Shard | None = None,
    *,
    learning_rate: Scalar = LEARNING_RATE,
) -> ArcLength:
    """Moves the belief about the rolled-out tasks by one Kalman step; O(B).

    gain = variance / (variance + r)
    arc_mean' = clip(mean + gain * (z - mean), 0, pi/2)
    arc_variance' = (1 - gain) * variance

    drift' = drift + learning_rate * sum(z - mean) / sum(age * slope)
    noise' = max(1e-5, (1 - learning_rate) * noise
                       + learning_rate * max(0, noise + excess))
    slope = max(sin(2 * arc_mean), 0.05)
    excess = mean((z - mean)^2 - variance - r) / mean(age)

    mean and variance are the predicted ones. Drift and noise learn only from tasks that
    had rollouts before, since first rollouts show how wrong the prior was, not how the
    policy moves. Without such rows they stay.

    Args:
      belief: N tasks.
      rows: the evidence of the step, one row per task.
      shard: which of the tasks are here; all by default.
      learning_rate: in [0, 1]; b in the paper.

    Returns:
      The belief one step later.

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> rows = collect_rows(evidence_from_counts([1], [4], 4), 2)
      >>> new = observe_arcs(init_arc_length(2, noise=1e-5), rows)
      >>> [round(float(x), 3) for x in new.arc_mean], new.last_step.tolist()
      ([0.785, 1.274], [0, 1])
    """
    here = all_of(belief.arc_mean, shard)
    at_rows = here.at(rows.task_ids, "clip")

    def read() -> tuple[Array, ...]:
        before, last_step = at_rows(belief.arc_mean), at_rows(belief.last_step)
        return before, last_step, *predict_arcs(belief, at_rows)

    step = belief.step + 1
    stamp = step
    if rows.task_ids.size:  # read the rows first, so that all can be updated in place
        before, last_step, mean, variance = computed_apart(rows.task_ids, read)
        stamp = after(step, last_step)
    else:
        before, last_step, mean, variance = read()
    arc, noise = observed_arcs(rows.successes, rows.failures)
    surprise, total = arc - mean, variance + noise
    gain = variance / total
    place = here.rows_of(rows.task_ids)
    write = lambda x, row: x.at[place].set(row, mode="drop")  # noqa: E731
    drift, noise = _learnt(
        belief,
        rows.valid & (last_step > 0),
        _age(belief, last_step),
        jnp.maximum(jnp.sin(2 * before), _LEAST_SLOPE),
        surprise,
        total,
        jnp.asarray(learning_rate, jnp.float32),
    )
    return ArcLength(
        arc_mean=write(belief.arc_mean, jnp.clip(mean + gain * surprise, 0, _RIGHT)),
        arc_variance=write(belief.arc_variance, (1 - gain) * variance),
        last_step=write(belief.last_step, jnp.full_like(last_step, stamp)),
        step=step,
        drift=drift,
        noise=noise,
    )


def _learnt(
    belief: ArcLength,
    known: Array,
    age: Array,
    slope: Array,
    surprise: Array,
    total: Array,
    rate: Array,
) -> tuple[Array, Array]:
    """Drift and noise after matching the moments of the innovations."""
    add_up = lambda x: jnp.sum(jnp.where(known, x, 0))  # noqa: E731
    ages, is_any = add_up(age), jnp.any(known)
    over = lambda x, y: x / jnp.where(is_any, y, 1)  # noqa: E731
    drift = belief.drift + rate * over(add_up(surprise), add_up(age * slope))
    excess = over(add_up(surprise**2 - total), ages)
    raised = jnp.maximum(belief.noise + excess, 0)
    noise = jnp.maximum((1 - rate) * belief.noise + rate * raised, _LEAST_NOISE)
    return drift, jnp.where(is_any, noise, belief.noise)


def as_beta(mean: PerTask, variance: PerTask) -> tuple[PerTask, PerTask]:
    """Reads a Normal arc length as a Beta belief about the success chance.

    The success chance sin(psi)^2 = (1 - cos(2 psi)) / 2 has, for psi of that Normal law
    on the whole line, whose ends the square folds back,

    mean = (1 - exp(-2 P) * cos(2 mu)) / 2
    variance = (1 - exp(-4 P)) * (1 - exp(-4 P) * cos(4 mu)) / 8

    where mu and P are the Normal's moments. The Beta has the same two.

    Args:
      mean: float32 [N] in [0, pi/2].
      variance: float32 [N], >= 0.

    Returns:
      alpha and beta, float32 [N], in [0.01, 1e5].

    Example:
      >>> alpha, beta = as_beta(jnp.float32([np.pi / 4]), jnp.float32([0.05]))
      >>> round(float(alpha[0]), 2), round(float(beta[0]), 2)
      (2.53, 2.53)
    """
    # 1 - e cos(x) = (1 - e) + 2 e sin(x / 2)^2, which does not cancel
    gone, left = -jnp.expm1(-4 * variance), jnp.exp(-4 * variance)
    spread = gone * (gone + 2 * left * jnp.sin(2 * mean) ** 2) / 8
    chance = -jnp.expm1(-2 * variance) / 2
    chance = chance + jnp.exp(-2 * variance) * jnp.sin(mean) ** 2
    return beta_of_moments(chance, spread)
