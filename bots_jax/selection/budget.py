"""How many rollouts every chosen task should get, when their sum is given."""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax import checks
from bots_jax.types import PerRow, RowMask


def allocate_rollouts(
    alpha: PerRow,
    beta: PerRow,
    budget: int,
    *,
    min_rollouts: int = 2,
    max_rollouts: int = 64,
    mask: RowMask | None = None,
) -> Array:
    """Shares rollouts among tasks so that most groups are expected to be mixed.

    maximise sum_k E[1 - p_k^n_k - (1 - p_k)^n_k]  subject to  sum_k n_k = budget,
    min_rollouts <= n_k <= max_rollouts, p_k ~ Beta(alpha_k, beta_k)

    One more rollout after n raises a term by E[p^n (1 - p) + (1 - p)^n p], which falls
    with n, so giving each next rollout to the largest gain is exact. The least gain
    that is still served is found by bisection over all float32 numbers: no sort, and
    the cost is O(B max_rollouts) whatever the budget.

    Args:
      alpha: float32 [B], in [0.01, 1e5].
      beta: float32 [B], likewise.
      budget: rollouts in all, static, in [B min_rollouts, B max_rollouts].
      min_rollouts: that every task gets, static, >= 1; a single one is never mixed.
      max_rollouts: that no task exceeds, static, >= min_rollouts.
      mask: bool [B], False = padding, which gets 0; B above is then the number of
        True rows.

    Returns:
      int32 [B], the number of rollouts of each task. Equal gains are served in the
      order of the rows. A row whose alpha or beta is NaN counts as without gain. If a
      traced mask leaves too few or too many rows for the budget, each gets
      max_rollouts or min_rollouts.

    Raises:
      ValueError: for a budget that cannot be met, and for sizes out of range.

    Source: the same objective as VIP and Knapsack RL without its weight.

    Example:
      >>> alpha, beta = jnp.float32([5, 1, 1]), jnp.float32([5, 1, 20])
      >>> allocate_rollouts(alpha, beta, 24)
      Array([7, 8, 9], dtype=int32)
    """
    low = checks.check_count("min_rollouts", min_rollouts)
    high = checks.check_count("max_rollouts", max_rollouts, low)
    budget = checks.check_count("budget", budget, 0)
    checks.check_shape("beta", beta, (alpha.shape,))
    if mask is None:
        mask = jnp.ones(alpha.shape, jnp.bool_)
    checks.check_shape("mask", mask, (alpha.shape,))
    if not checks.is_traced(mask):
        _check_budget(budget, int(np.sum(np.asarray(mask))), low, high)
    served = jnp.zeros(alpha.shape, jnp.int32)
    if high > low and alpha.size:
        gains = _marginal_gains(alpha, beta, low, high)
        gains = jnp.where(mask[:, None], gains, np.float32(-1))
        extra = np.int32(budget) - low * jnp.sum(mask, dtype=jnp.int32)
        served = _serve(gains, extra)
    return jnp.where(mask, low + served, 0)


def _check_budget(budget: int, num_tasks: int, low: int, high: int) -> None:
    least, most = num_tasks * low, num_tasks * high
    if not least <= budget <= most:
        raise ValueError(
            f"budget must be in [{least}, {most}], {low} to {high} rollouts for each "
            f"of {num_tasks} tasks, got {budget}, a budget that cannot be met."
        )


def _marginal_gains(alpha: Array, beta: Array, low: int, high: int) -> Array:
    """E[p^n (1 - p) + (1 - p)^n p] for low <= n < high: float32 [B, high - low].

    Rounding must not make a later gain exceed an earlier one, nor is NaN a gain.
    """
    total = alpha + beta

    def step(carry: tuple[Array, ...], n: Array) -> tuple[tuple[Array, ...], Array]:
        right, wrong, least = carry  # E[p^n], E[(1 - p)^n], the gain before
        seen = total + n
        gain = right * (beta / seen) + wrong * (alpha / seen)
        least = jnp.minimum(least, jnp.where(gain >= 0, gain, np.float32(0)))
        return (right * ((alpha + n) / seen), wrong * ((beta + n) / seen), least), least

    most = jnp.where(total > 0, np.float32(1), np.float32(0))
    start = (alpha / total, beta / total, most)
    steps = jnp.arange(1, high, dtype=jnp.int32).astype(jnp.float32)
    return lax.scan(step, start, steps)[1][low - 1 :].T


def _serve(gains: Array, num_rollouts: Array) -> Array:
    """Counts in each row of gains [B, L] those among the `num_rollouts` largest.

    Floats that are not negative are in the order of their bits, read as integers.
    Negative gains are never served.
    """
    bits = lax.bitcast_convert_type(gains + np.float32(0), jnp.int32)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        enough, short = ends  # at least num_rollouts gains reach the first of these
        middle = enough + (short - enough) // 2
        reached = jnp.sum(bits >= middle, dtype=jnp.int32) >= num_rollouts
        return jnp.where(reached, middle, enough), jnp.where(reached, short, middle)

    one = lax.bitcast_convert_type(np.float32(1), jnp.int32)
    least, _ = lax.fori_loop(0, 31, halve, (jnp.int32(0), one + np.int32(1)))
    above = jnp.sum(bits > least, axis=1, dtype=jnp.int32)
    equal = jnp.sum(bits == least, axis=1, dtype=jnp.int32)
    before = jnp.cumsum(equal, dtype=jnp.int32) - equal
    left = num_rollouts - jnp.sum(above, dtype=jnp.int32)
    return above + jnp.clip(left - before, 0, equal)
